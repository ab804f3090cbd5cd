"""Every setting of the chain: frozen models, documented per field, unknown keys refused.

One YAML file or any number of ``a.b=value`` pairs change them; what was used is written beside every output.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from grcsf.config_parts import (
    WINDOWS_HU,
    Frozen,
    WindowName,
    explain,
    parse_value,
    read_yaml,
    refuse_below_one,
    refuse_peer_widths,
    refuse_ratios,
    refuse_remainder,
    refuse_window,
    settings_file,
)
from grcsf.errors import SettingsError

__all__ = [
    "WINDOWS_HU",
    "EvaluationSettings",
    "Frozen",
    "InferenceSettings",
    "MaeSettings",
    "NetworkSettings",
    "PeerName",
    "PreprocessSettings",
    "ResidualKind",
    "ResidualSettings",
    "Settings",
    "TrainingSettings",
    "WindowName",
    "load_settings",
    "read_yaml",
]

ResidualKind = Literal["signed", "absolute", "cosine"]
PeerName = Literal[
    "basic-unet", "attention-unet", "basic-unet-plus-plus", "dynunet", "segresnet", "swin-unetr", "unetr"
]


class PreprocessSettings(Frozen):
    """From a scan to an array."""

    dimensions: Literal["auto", "2d", "3d"] = Field(
        "auto", description="2d: native slices, or slices of volumes; 3d: volumes; auto: 3d if the data are volumes."
    )
    context: int = Field(0, ge=0, le=4, description="2d only: neighbouring slices on each side as extra channels.")
    spacing_mm: tuple[float, ...] | None = Field(
        None, description="Target spacing in plane order of the array (2 or 3 numbers); none: median of the data set."
    )
    crop: bool = Field(True, description="Crop to the box around the content (non-background voxels).")
    normalisation: Literal["auto", "ct", "zscore", "none"] = Field(
        "auto", description="ct: clip to data-set percentiles and z-score; zscore: per image inside its foreground."
    )
    window_hu: WindowName | tuple[float, float] | None = Field(
        None, description="CT only: clip to these HU, by name or as two numbers; none: percentiles of the data set."
    )
    candidate_hu: float | None = Field(
        None, description="CT only: a further channel, 1 where a voxel is at least this bright, HU; none: no channel."
    )
    patch_size: tuple[int, ...] | None = Field(
        None, description="Training patch in voxels of the target grid; none: whole slices up to 256, volumes 64."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> PreprocessSettings:
        for name, window in (("window_hu", self.window_hu), ("candidate_hu", self.candidate_hu)):
            if window is not None and self.normalisation not in {"auto", "ct"}:
                raise ValueError(f"{name} is for CT; expected normalisation auto or ct, found {self.normalisation}")
        refuse_window("window_hu", self.window_hu)
        return self


class MaeSettings(Frozen):
    """The masked autoencoder and its pre-training."""

    patch: int = Field(8, ge=2, description="Edge of a patch in voxels.")
    dim: int = Field(128, ge=16, description="Width of the encoder.")
    depth: int = Field(4, ge=1, description="Transformer blocks of the encoder.")
    heads: int = Field(4, ge=1, description="Attention heads of encoder and decoder.")
    decoder_dim: int = Field(96, ge=16, description="Width of the decoder.")
    decoder_depth: int = Field(2, ge=1, description="Transformer blocks of the decoder.")
    ratios: tuple[float, ...] = Field((0.5, 0.75), description="Mask ratios; each step draws one of them.")
    networks: Literal["one", "per-ratio"] = Field("one", description="One network for all ratios, or one for each.")
    window: tuple[int, ...] | None = Field(None, description="Window in voxels; none: the training patch of the plan.")
    normative: bool = Field(True, description="Leave labelled lesion voxels of the training fold out of the loss.")
    steps: int = Field(1500, ge=1, description="Optimiser steps.")
    batch_size: int = Field(16, ge=1, description="Windows in a batch.")
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of AdamW (cosine, warm-up).")
    weight_decay: float = Field(0.05, ge=0, description="AdamW weight decay.")
    minutes: float | None = Field(None, gt=0, description="Wall-clock budget; ends pre-training before `steps`.")
    steps_per_epoch: int = Field(100, ge=1, description="Steps between checkpoints.")

    @model_validator(mode="after")
    def _fits_together(self) -> MaeSettings:
        refuse_ratios(self.ratios)
        for name in ("dim", "decoder_dim"):
            refuse_remainder(name, getattr(self, name), "heads", self.heads)
        refuse_below_one("window", self.window or ())
        return self


class ResidualSettings(Frozen):
    """Residual maps from an image and its reconstruction."""

    kind: ResidualKind = Field("signed", description="signed: x - rebuilt; absolute: its magnitude; cosine: 1 - cos.")
    ratios: tuple[float, ...] | None = Field(None, description="Mask ratios, one map each; none: those of the MAE.")
    cosine_window: int = Field(5, ge=3, description="Edge of the local window of the cosine kind, voxels; odd.")
    overlap: float = Field(
        0.25, ge=0, lt=1, description="Overlap of neighbouring windows where an image needs several."
    )
    smoothing_voxels: float = Field(
        0.0, ge=0, description="Standard deviation of a Gaussian that smooths the maps; within slices in 2-D; 0: off."
    )
    source: Literal["own", "shuffled"] = Field(
        "own",
        description="own: a case's maps are its own; shuffled: those of another case (a control, how-to/controls).",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> ResidualSettings:
        if self.ratios is not None:
            refuse_ratios(self.ratios)
        if self.cosine_window % 2 == 0:
            raise ValueError(
                f"cosine_window: expected an odd number, whose window has a middle; found {self.cosine_window}"
            )
        return self


class NetworkSettings(Frozen):
    """The U-shaped network and its two units, or a peer of MONAI in its place."""

    backbone: Literal["residual-unet", "plain-unet", PeerName] = Field(
        "residual-unet",
        description="residual-unet, plain-unet: ours, by convolution block; the others: networks of MONAI, without "
        "our units (`gcu: off`, `rcu: false`).",
    )
    features: tuple[int, ...] = Field(
        (24, 48, 96, 144, 192), min_length=2, description="Channels per level; what peers make of it: how-to/peers."
    )
    gcu: Literal["off", "lost", "kept", "difference"] = Field("lost", description="Global Compensation Unit form.")
    rcu: bool = Field(True, description="Region Compensation Unit on or off.")
    residual_input: Literal["rcu", "concat", "both"] = Field(
        "rcu", description="concat: maps beside the image, no RCU (a control; needs `rcu: false`); both: beside it too."
    )
    rcu_levels: tuple[int, ...] = Field((1, 2), description="Decoder levels (0 = finest) that carry an RCU.")
    rcu_patch: int = Field(8, ge=1, description="Edge of a patch of the RCU in voxels of the input grid.")
    rcu_dim: int = Field(64, ge=8, description="Width of the cross-attention.")
    rcu_heads: int = Field(4, ge=1, description="Attention heads of the RCU.")
    rcu_importance: bool = Field(True, description="Patch importance scoring.")
    rcu_learned_weights: bool = Field(True, description="Learnable weight per residual map.")
    rcu_pixel_path: bool = Field(True, description="Pixel-level residual features beside the patch attention.")
    rcu_tokens: bool = Field(False, description="Tokens of the MAE's encoder as further keys of the cross-attention.")
    deep_supervision: bool | None = Field(
        None,
        description="Auxiliary heads on the coarser decoder levels, in training; none: in our networks, not in peers.",
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Dropout in the blocks of the coarsest level; a peer's own dropout."
    )

    @property
    def is_peer(self) -> bool:
        """Whether the backbone is a network of others, which takes none of our units."""
        return self.backbone in get_args(PeerName)

    @property
    def has_coarse_heads(self) -> bool:
        """Whether coarser decoder levels have heads of their own."""
        return not self.is_peer if self.deep_supervision is None else self.deep_supervision

    @property
    def uses_residual(self) -> bool:
        """Whether residual maps go into the network, by an RCU or as channels."""
        return self.rcu or self.residual_input == "concat"

    @model_validator(mode="after")
    def _fits_together(self) -> NetworkSettings:
        refuse_below_one("features", self.features)
        if self.is_peer:
            _refuse_peer_misfit(self)
            return self
        if self.rcu and self.residual_input == "concat":
            raise ValueError("residual_input concat stands in the place of an RCU; add --set network.rcu=false")
        if not self.rcu and self.residual_input == "both":
            raise ValueError("residual_input both needs the RCU; use concat with --set network.rcu=false")
        wrong = [level for level in self.rcu_levels if not 0 <= level < len(self.features) - 1]
        if wrong:
            raise ValueError(f"rcu_levels {wrong}: decoder levels go from 0 to {len(self.features) - 2}")
        refuse_remainder("rcu_dim", self.rcu_dim, "rcu_heads", self.rcu_heads)
        return self


def _refuse_peer_misfit(network: NetworkSettings) -> None:
    name = network.backbone
    missing = [
        *(["--set network.gcu=off"] if network.gcu != "off" else []),
        *(["--set network.rcu=false"] if network.rcu else []),
    ]
    if missing:
        raise ValueError(f"backbone {name} is a peer that takes none of our units; add {' '.join(missing)}")
    if network.residual_input != "rcu":
        raise ValueError(f"backbone {name} is a peer that takes no residual maps; expected residual_input rcu")
    refuse_peer_widths(name, network.features)
    if network.deep_supervision and name not in {"dynunet", "basic-unet-plus-plus"}:
        raise ValueError(f"backbone {name} has one head; expected deep_supervision false")


class TrainingSettings(Frozen):
    """Training of the segmentation network."""

    steps: int = Field(2500, ge=1, description="Optimiser steps.")
    minutes: float | None = Field(None, gt=0, description="Wall-clock budget; ends training before `steps`.")
    batch_size: int | None = Field(
        None, ge=1, description="Patches in a batch; none: 16 in 2-D and 2 in 3-D, where a patch is so much larger."
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of AdamW (warm-up, cosine).")
    units_rate_times: float = Field(
        1.0, gt=0, description="Learning rate of GCU and RCU as a multiple of the rest's; 1: the same."
    )
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay.")
    warmup: float = Field(0.03, ge=0, lt=1, description="Share of the training spent warming up.")
    dice: Literal["lesion", "sample", "batch"] = Field(
        "lesion",
        description="lesion: per sample with a lesion (small ones count as much as large ones); the others teach by "
        "focal loss alone. sample: per sample, empty ones too. batch: over the batch.",
    )
    focal_weight: float = Field(1.0, ge=0, description="Weight of the focal loss beside Dice.")
    focal_gamma: float = Field(2.0, ge=0, description="Focusing exponent of the focal loss.")
    lesion_fraction: float = Field(0.5, ge=0, le=1, description="Share of a batch that is centred on a lesion.")
    lesion_sampling: Literal["size", "case"] = Field(
        "size",
        description="How those centres are drawn: size: each present size class (factor 4) as likely as any other; "
        "case: each case with a lesion as likely as any other, then a lesion by its share of the case's lesion voxels.",
    )
    augmentation: Literal["off", "light", "full"] = Field("full", description="Augmentation strength.")
    carve_mix: float = Field(
        0.5, ge=0, le=1, description="Share of the samples that get a lesion of another case put in (CarveMix); 0: off."
    )
    map_dropout: float = Field(
        0.3, ge=0, le=1, description="Share of the samples with residual maps of zero: the image alone must do."
    )
    ema_decay: float = Field(0.99, ge=0, lt=1, description="Decay of the averaged weights that are shipped; 0: off.")
    gradient_clip: float = Field(1.0, gt=0, description="Gradient norm limit.")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "auto", description="auto: 16-mixed on CUDA, bf16-mixed on CPUs that compute in bfloat16, else 32-true."
    )
    selection_fraction: float = Field(
        0.05, ge=0, lt=0.5, description="Share of the training patients held out to watch training (never the fold)."
    )
    keep: Literal["best", "last"] = Field(
        "last", description="Which weights are shipped: the last, or those of the best selection score."
    )
    patience: int = Field(0, ge=0, description="Epochs without improvement before an early stop; 0: off.")
    steps_per_epoch: int = Field(50, ge=1, description="Steps between checkpoints.")
    label_fraction: float = Field(1.0, gt=0, le=1, description="Share of the labelled training patients to use.")

    def patches(self, spatial_dims: int) -> int:
        """Patches in a batch of a network of so many dimensions."""
        return self.batch_size or {2: 16, 3: 2}[spatial_dims]


class InferenceSettings(Frozen):
    """Prediction."""

    overlap: float = Field(0.5, ge=0, lt=1, description="Overlap of sliding windows.")
    batch_size: int = Field(8, ge=1, description="Windows or slices at a time.")
    mirroring: bool = Field(
        True, description="Average with the copy mirrored left-right, where a slice or volume has that axis."
    )
    threshold: float = Field(0.5, gt=0, lt=1, description="Probability above which a voxel is lesion.")
    min_lesion_mm: float = Field(0.0, ge=0, description="Remove components below this size (mm2 or mm3); 0: keep all.")
    min_lesion_peak: float = Field(
        0.8, ge=0, lt=1, description="Remove components whose highest probability is not above this; 0: keep all."
    )
    unknown_anatomy: Literal["without-maps", "as-is"] = Field(
        "without-maps",
        description="An image with a larger residual than is usual in training: predicted with maps of zero, where the "
        "network was trained for that (training.map_dropout), or as any other.",
    )
    candidate_hu: float | None = Field(
        None, description="CT only: keep mask voxels at least this bright on the scanner's grid, HU; none: keep all."
    )
    candidate_rule: Literal["voxels", "components"] | None = Field(
        None,
        description="With candidate_hu. voxels (none): those above the threshold of probability; components: connected "
        "bright voxels as a whole, where their mean probability is above it.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> InferenceSettings:
        if self.candidate_rule is not None and self.candidate_hu is None:
            raise ValueError(f"candidate_rule {self.candidate_rule} needs candidate_hu, such as 130 for calcium")
        return self


class EvaluationSettings(Frozen):
    """Scoring."""

    when_empty: Literal["skip", "one", "zero"] = Field(
        "skip", description="Score of a case whose reference and prediction are both empty; skip leaves it out."
    )
    preset: str = Field(
        "any-overlap",
        description="Rules of lesion-wise scores: any-overlap, atlas2022, isles2022, orcascore, panoptica-iou0.5, "
        "or the path of a YAML file of your own.",
    )
    metrics: tuple[Literal["surface", "volume"], ...] = Field(
        (), description="Further scores: surface (HD, HD95, ASSD, NSD), volume (specificity, differences of sizes)."
    )
    nsd_tolerances_mm: tuple[float, ...] = Field((1.0, 2.0), min_length=1, description="Tolerances of NSD, mm.")
    when_missed: Literal["diagonal", "infinite", "skip"] = Field(
        "diagonal", description="Distances of a case with one empty mask: diagonal of the image, infinite, or left out."
    )


class Settings(Frozen):
    """All settings of the chain."""

    seed: int = Field(0, ge=0, description="Seed of every random draw.")
    workers: int = Field(0, ge=0, description="Worker processes; 0 runs everything in this one.")
    preprocess: PreprocessSettings = PreprocessSettings()
    mae: MaeSettings = MaeSettings()
    residual: ResidualSettings = ResidualSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    inference: InferenceSettings = InferenceSettings()
    evaluation: EvaluationSettings = EvaluationSettings()


def load_settings(
    path: str | Path | None = None, overrides: Iterable[str] = (), base: Settings | None = None
) -> Settings:
    """Settings from a YAML file, then ``a.b=value`` pairs (values in YAML syntax), over ``base``.

    Args:
        path: YAML file with any part of the settings tree, or the name of one that the package brings (``calcium``).
        overrides: pairs such as ``training.steps=100`` or ``network.features=[16,32]``.
        base: what the file and pairs change; the defaults if none.

    Raises:
        SettingsError: an unreadable file, an unknown key (the known ones are listed) or a value that does not fit.
    """
    tree: dict[str, Any] = base.model_dump(mode="json") if base else {}
    if path is not None:
        _merge(tree, read_yaml(settings_file(path)), str(path))
    for pair in overrides:
        key, separator, text = pair.partition("=")
        if not separator:
            raise SettingsError(f"--set {pair}: expected KEY=VALUE, for example --set training.steps=500")
        value: Any = parse_value(key, text)
        for part in reversed(key.strip().split(".")):
            value = {part: value}
        _merge(tree, value, f"--set {pair}")
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(explain(error)) from None


def _merge(into: dict[str, Any], update: dict[str, Any], source: str, prefix: str = "") -> None:
    for key, value in update.items():
        model = _model_at(prefix)
        if model is not None and key not in model.model_fields:
            raise SettingsError(
                f"{source}: unknown setting '{prefix}{key}'; known here: {', '.join(model.model_fields)}"
            )
        if value is None and _model_at(f"{prefix}{key}."):
            continue  # a heading of a YAML file with nothing below it
        if isinstance(value, dict):
            if not isinstance(into.get(key), dict):
                into[key] = {}
            _merge(into[key], value, source, f"{prefix}{key}.")
        else:
            into[key] = value


def _model_at(prefix: str) -> type[BaseModel] | None:
    model: Any = Settings
    for part in filter(None, prefix.split(".")):
        field = model.model_fields.get(part)
        model = field.annotation if field else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return None
    return model  # type: ignore[no-any-return]
