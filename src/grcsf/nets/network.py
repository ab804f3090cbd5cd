"""The GRCSF network: a U-shaped backbone, GCU on its skips, RCU on chosen decoder levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from grcsf.config import NetworkSettings
from grcsf.nets.blocks import BLOCKS, conv, crop_end, pad_end, transposed_conv, whole_steps
from grcsf.nets.gcu import GlobalCompensationUnit
from grcsf.nets.rcu import RegionCompensationUnit

__all__ = ["GrcsfNet", "TokenEncoder", "cumulative_strides", "level_strides"]


def level_strides(
    patch_size: Sequence[int], spacing_mm: Sequence[float], levels: int, smallest: int = 4
) -> tuple[tuple[int, ...], ...]:
    """Stride of each down-sampling step per axis.

    An axis is halved while at least ``smallest`` voxels of the training patch remain and its spacing is within twice
    the finest one of the axes that can still be halved, so that thick slices are not mixed before the plane has
    caught up.
    Source: standard (the rule of nnU-Net, Isensee et al. 2021), simplified.
    """
    size, spacing = list(patch_size), [float(value) for value in spacing_mm]
    strides = []
    for _ in range(levels - 1):
        finest = min((mm for edge, mm in zip(size, spacing, strict=True) if edge // 2 >= smallest), default=0.0)
        step = tuple(
            2 if edge // 2 >= smallest and mm <= 2 * finest + 1e-6 else 1
            for edge, mm in zip(size, spacing, strict=True)
        )
        size = [edge // s for edge, s in zip(size, step, strict=True)]
        spacing = [mm * s for mm, s in zip(spacing, step, strict=True)]
        strides.append(step)
    return tuple(strides)


def cumulative_strides(strides: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Stride of every level against the input, finest first.

    >>> cumulative_strides([(2, 2), (2, 2)])
    [(1, 1), (2, 2), (4, 4)]
    """
    total = [tuple(1 for _ in strides[0])]
    for step in strides:
        total.append(tuple(a * b for a, b in zip(total[-1], step, strict=True)))
    return total


class TokenEncoder(nn.Module):
    """Gives tokens (b, width, *grid) of an image, one for each patch; a network does not know where they come from.

    Attributes:
        width: of a token.
        patch: edge of a patch, voxels.
    """

    width: int
    patch: int


class GrcsfNet(nn.Module):
    """Segment lesions from an image and its residual maps.

    Backbone: residual or plain convolution blocks with instance norm. Each unit can be off, and a fresh unit is
    the identity, so that a fresh network equals its plain backbone exactly.
    Source: paper (the three parts), own (their wiring).

    Args:
        settings: widths and units.
        in_channels: channels of the image.
        out_channels: labels without background; one logit each.
        strides: stride of each down-sampling step per axis; its inner length is the number of axes (2 or 3).
        maps: residual maps given to ``forward``; 0 if there is no RCU and no map is put beside the image.
        map_channels: channels of each map.
        tokens: encoder whose tokens the RCUs read beside the maps; none: they read the maps alone.
    """

    window: tuple[int, ...] | None = None
    """The only input size that a network takes; ours takes any."""

    def __init__(
        self,
        settings: NetworkSettings,
        in_channels: int,
        out_channels: int,
        strides: Sequence[Sequence[int]],
        *,
        maps: int = 0,
        map_channels: int = 1,
        tokens: TokenEncoder | None = None,
    ) -> None:
        super().__init__()
        dims, widths = len(strides[0]), settings.features
        if len(strides) != len(widths) - 1:
            raise ValueError(f"{len(widths)} levels need {len(widths) - 1} strides, got {len(strides)}")
        self.dims, self.uses_residual = dims, settings.uses_residual and maps > 0
        self.concat = self.uses_residual and settings.residual_input in ("concat", "both")
        first = in_channels + (maps * map_channels if self.concat else 0)
        self.in_channels, self.maps, self.map_channels = in_channels, maps, map_channels
        self.widths, self.strides = tuple(widths), tuple(tuple(step) for step in strides)
        block, last = BLOCKS[settings.backbone], len(widths) - 1
        self.encoder = nn.ModuleList(
            block(
                dims,
                first if level == 0 else widths[level - 1],
                widths[level],
                1 if level == 0 else strides[level - 1],
                settings.dropout if level == last else 0.0,
            )
            for level in range(len(widths))
        )
        self.up = nn.ModuleList(transposed_conv(dims, widths[i + 1], widths[i], strides[i]) for i in range(last))
        self.decoder = nn.ModuleList(block(dims, 2 * widths[i], widths[i]) for i in range(last))
        heads = range(last if settings.has_coarse_heads else 1)
        self.heads = nn.ModuleList(conv(dims, widths[i], out_channels, kernel=1) for i in heads)
        total = cumulative_strides(strides)
        self.gcu = nn.ModuleDict()
        self.rcu = nn.ModuleDict()
        self.tokens = tokens
        if settings.gcu != "off":
            for i in range(last):
                self.gcu[str(i)] = GlobalCompensationUnit(dims, widths[i], widths[i + 1], settings.gcu)
        if self.uses_residual and settings.rcu:
            for i in settings.rcu_levels:
                self.rcu[str(i)] = self._region_unit(settings, i, total[i])
        self.total_strides = tuple(total)

    def _region_unit(self, settings: NetworkSettings, level: int, stride: Sequence[int]) -> RegionCompensationUnit:
        return RegionCompensationUnit(
            self.dims,
            self.widths[level],
            self.widths[-1],
            maps=self.maps,
            map_channels=self.map_channels,
            level_stride=stride,
            patch=settings.rcu_patch,
            width=settings.rcu_dim,
            heads=settings.rcu_heads,
            importance=settings.rcu_importance,
            learned_weights=settings.rcu_learned_weights,
            pixel_path=settings.rcu_pixel_path,
            token_width=self.tokens.width if self.tokens else 0,
            token_patch=self.tokens.patch if self.tokens else 8,
        )

    def forward(
        self,
        image: Float[Tensor, "b c *space"],
        residual: Float[Tensor, "b maps_k *space"] | None = None,
    ) -> Float[Tensor, "b labels *space"]:
        """Logits on the image's own grid, whatever its size.

        Raises:
            ValueError: channels that do not fit, or no residual maps for a network that uses them.
        """
        return self.all_heads(image, residual)[0]

    def all_heads(
        self, image: Float[Tensor, "b c *space"], residual: Float[Tensor, "b maps_k *space"] | None = None
    ) -> list[Tensor]:
        """Logits of every head, finest first, each on the image grid divided by its level's stride (rounded up)."""
        self._check(image, residual)
        size = image.shape[2:]
        padding = whole_steps(size, self.total_strides[-1])
        use = pad_end(residual, padding) if residual is not None and self.uses_residual else None
        padded = pad_end(image, padding)
        features = self._encode(torch.cat([padded, use], dim=1) if self.concat and use is not None else padded)
        tokens = self.tokens(padded) if self.tokens is not None else None
        outputs = self._decode(features, use, tokens)
        return [
            crop_end(head, [-(-edge // step) for edge, step in zip(size, stride, strict=True)])
            for head, stride in zip(outputs, self.total_strides, strict=False)
        ]

    def _encode(self, image: Tensor) -> list[Tensor]:
        features = []
        for level in self.encoder:
            image = level(image)
            features.append(image)
        return features

    def _decode(self, features: list[Tensor], residual: Tensor | None, tokens: Tensor | None) -> list[Tensor]:
        deepest = features[-1]
        x, outputs = deepest, []
        for i in reversed(range(len(self.decoder))):
            skip = features[i]
            if str(i) in self.gcu:
                skip = self.gcu[str(i)](skip, features[i + 1])
            x = self.decoder[i](torch.cat([self.up[i](x), skip], dim=1))
            if residual is not None and str(i) in self.rcu:
                x = self.rcu[str(i)](x, residual, deepest, tokens)
            if i < len(self.heads):
                outputs.append(self.heads[i](x))
        return outputs[::-1]

    def _check(self, image: Tensor, residual: Tensor | None) -> None:
        if image.shape[1] != self.in_channels or image.dim() != self.dims + 2:
            raise ValueError(
                f"expected an image of {self.in_channels} channels and {self.dims} axes, got shape {tuple(image.shape)}"
            )
        if not self.uses_residual:
            return
        if residual is None:
            raise ValueError(f"this network needs {self.maps} residual maps; got none")
        expected = (image.shape[0], self.maps * self.map_channels, *image.shape[2:])
        if tuple(residual.shape) != expected:
            raise ValueError(f"expected residual maps of shape {expected}, got {tuple(residual.shape)}")
