"""Networks of MONAI behind the same call as our own, so that only the network differs in a comparison."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from monai.networks.nets.attentionunet import AttentionUnet
from monai.networks.nets.basic_unet import BasicUNet
from monai.networks.nets.basic_unetplusplus import BasicUNetPlusPlus
from monai.networks.nets.dynunet import DynUNet
from monai.networks.nets.segresnet import SegResNet
from monai.networks.nets.swin_unetr import SwinUNETR
from monai.networks.nets.unetr import UNETR
from torch import Tensor, nn

from grcsf.config import NetworkSettings
from grcsf.errors import SettingsError
from grcsf.nets.blocks import crop_end, pad_end, whole_steps
from grcsf.nets.network import GrcsfNet, cumulative_strides

__all__ = ["PEERS", "LesionNetwork", "PeerNet", "PeerShape", "build_peer"]


@dataclass(frozen=True)
class PeerShape:
    """What a plan says about a network.

    Attributes:
        in_channels: channels of the image.
        out_channels: labels without background.
        strides: stride of each down-sampling step per axis, for the peers that let us choose them.
        patch_size: training patch, voxels.
    """

    in_channels: int
    out_channels: int
    strides: tuple[tuple[int, ...], ...]
    patch_size: tuple[int, ...]

    @property
    def dims(self) -> int:
        """Spatial axes, 2 or 3."""
        return len(self.patch_size)


class PeerNet(nn.Module):
    """A network of others, called as ours is.

    The image is padded by repeating its last voxels to what the network needs, and the logits are cropped back.

    Args:
        net: the network; gives logits on the grid of its input.
        shape: channels, labels and axes.
        step: each side of the input must be a multiple of it.
    """

    uses_residual = False
    window: tuple[int, ...] | None = None
    """The only input size of the network, voxels; none where it takes any multiple of its step."""

    def __init__(self, net: nn.Module, shape: PeerShape, step: Sequence[int]) -> None:
        super().__init__()
        self.net = net
        self.dims, self.in_channels = shape.dims, shape.in_channels
        self.maps = self.map_channels = 0
        self.step = tuple(step)

    def forward(self, image: Float[Tensor, "b c *space"], residual: object = None) -> Float[Tensor, "b labels *space"]:
        """Logits on the image's own grid, whatever its size; residual maps are not used.

        Raises:
            ValueError: channels or axes that do not fit.
        """
        return self.all_heads(image, residual)[0]

    def all_heads(self, image: Float[Tensor, "b c *space"], residual: object = None) -> list[Tensor]:
        """Logits of every head, finest first, each on the image grid divided by its stride (rounded up)."""
        if image.shape[1] != self.in_channels or image.dim() != self.dims + 2:
            raise ValueError(
                f"expected an image of {self.in_channels} channels and {self.dims} axes, got shape {tuple(image.shape)}"
            )
        size = image.shape[2:]
        padded = pad_end(image, self._padding(size))
        return [
            crop_end(
                head,
                [
                    -(-edge * part // whole)
                    for edge, part, whole in zip(size, head.shape[2:], padded.shape[2:], strict=True)
                ],
            )
            for head in self._heads(padded)
        ]

    def _padding(self, size: Sequence[int]) -> list[int]:
        return whole_steps(size, self.step)

    def _heads(self, padded: Tensor) -> list[Tensor]:
        return [self.net(padded)]


class _PlusPlus(PeerNet):
    """U-Net++: every head stands on the full grid; without deep supervision only the last one is kept."""

    def __init__(self, net: BasicUNetPlusPlus, shape: PeerShape, step: Sequence[int]) -> None:
        super().__init__(net, shape, step)
        if not net.deep_supervision:  # MONAI makes them all, and throws away what they say
            for name in ("final_conv_0_1", "final_conv_0_2", "final_conv_0_3"):
                setattr(net, name, nn.Identity())

    def _heads(self, padded: Tensor) -> list[Tensor]:
        return self.net(padded)[::-1]  # type: ignore[no-any-return]


class _Dynamic(PeerNet):
    """DynUNet: auxiliary heads on their own grids, where MONAI enlarges and stacks them (in training only)."""

    net: DynUNet

    def _heads(self, padded: Tensor) -> list[Tensor]:
        finest = self.net.output_block(self.net.skip_layers(padded))
        if not self.net.deep_supervision:
            return [finest]
        others = list(self.net.heads)
        self.net.heads[:] = [torch.zeros(1)] * len(others)  # what hangs on a graph cannot be copied
        return [finest, *others]


class _FixedWindow(PeerNet):
    """UNETR: one learnt position per patch of one window, so it sees windows of that size alone.

    Smaller images are padded to it; larger ones are covered by evenly spread windows whose logits are averaged.
    No position is interpolated.
    """

    def __init__(self, net: UNETR, shape: PeerShape, window: Sequence[int]) -> None:
        super().__init__(net, shape, window)
        self.window = tuple(window)

    def _padding(self, size: Sequence[int]) -> list[int]:
        return [max(0, wide - edge) for edge, wide in zip(size, self.step, strict=True)]

    def _heads(self, padded: Tensor) -> list[Tensor]:
        size = tuple(padded.shape[2:])
        if size == self.window:
            return [self.net(padded)]
        starts = [_spread(edge, wide) for edge, wide in zip(size, self.step, strict=True)]
        total, count = padded.new_zeros(()), padded.new_zeros(1, 1, *size)
        for start in itertools.product(*starts):
            where = (slice(None), slice(None), *(slice(s, s + wide) for s, wide in zip(start, self.step, strict=True)))
            around = [
                n
                for s, wide, edge in reversed(list(zip(start, self.step, size, strict=True)))
                for n in (s, edge - s - wide)
            ]
            total = total + nn.functional.pad(self.net(padded[where]), around)
            count[where] += 1
        return [total / count]


def _spread(edge: int, wide: int) -> list[int]:
    """Starts of the fewest windows that cover an axis, evenly spread."""
    more = -(-edge // wide) - 1
    return [round(index * (edge - wide) / more) for index in range(more + 1)] if more else [0]


def _basic_unet(settings: NetworkSettings, shape: PeerShape) -> PeerNet:
    features = (*settings.features, settings.features[0])
    net = BasicUNet(shape.dims, shape.in_channels, shape.out_channels, features, dropout=settings.dropout)
    return PeerNet(net, shape, (16,) * shape.dims)


def _plus_plus(settings: NetworkSettings, shape: PeerShape) -> PeerNet:
    net = BasicUNetPlusPlus(
        shape.dims,
        shape.in_channels,
        shape.out_channels,
        (*settings.features, settings.features[0]),
        deep_supervision=settings.has_coarse_heads,
        dropout=settings.dropout,
    )
    return _PlusPlus(net, shape, (16,) * shape.dims)


def _attention_unet(settings: NetworkSettings, shape: PeerShape) -> PeerNet:
    net = AttentionUnet(
        shape.dims,
        shape.in_channels,
        shape.out_channels,
        settings.features,
        shape.strides,  # type: ignore[arg-type]  # one stride per axis works, and is what thick slices need
        dropout=settings.dropout,
    )
    return PeerNet(net, shape, cumulative_strides(shape.strides)[-1])


def _dynunet(settings: NetworkSettings, shape: PeerShape) -> PeerNet:
    levels = len(settings.features)
    net = DynUNet(
        shape.dims,
        shape.in_channels,
        shape.out_channels,
        kernel_size=[(3,) * shape.dims] * levels,
        strides=[(1,) * shape.dims, *shape.strides],
        upsample_kernel_size=shape.strides,
        filters=settings.features,
        dropout=settings.dropout or None,
        deep_supervision=settings.has_coarse_heads,
        deep_supr_num=levels - 2,
    )
    return _Dynamic(net, shape, cumulative_strides(shape.strides)[-1])


def _segresnet(settings: NetworkSettings, shape: PeerShape) -> PeerNet:
    net = SegResNet(
        shape.dims,
        settings.features[0],
        shape.in_channels,
        shape.out_channels,
        dropout_prob=settings.dropout or None,
    )
    return PeerNet(net, shape, (8,) * shape.dims)


def _swin_unetr(settings: NetworkSettings, shape: PeerShape) -> PeerNet:
    net = SwinUNETR(
        shape.in_channels,
        shape.out_channels,
        feature_size=settings.features[0],
        drop_rate=settings.dropout,
        spatial_dims=shape.dims,
    )
    return PeerNet(net, shape, (32,) * shape.dims)


def _unetr(settings: NetworkSettings, shape: PeerShape) -> PeerNet:
    window = [16 * -(-edge // 16) for edge in shape.patch_size]
    hidden = 4 * settings.features[-1]
    net = UNETR(
        shape.in_channels,
        shape.out_channels,
        window,
        feature_size=settings.features[0],
        hidden_size=hidden,
        mlp_dim=4 * hidden,
        num_heads=max(1, hidden // 64) if hidden % 64 == 0 else 1,
        dropout_rate=settings.dropout,
        spatial_dims=shape.dims,
    )
    for block in net.vit.blocks:
        block.norm_cross_attn = nn.Identity()  # a norm of cross-attention that UNETR does not have
    return _FixedWindow(net, shape, window)


PEERS: dict[str, Callable[[NetworkSettings, PeerShape], PeerNet]] = {
    "basic-unet": _basic_unet,
    "attention-unet": _attention_unet,
    "basic-unet-plus-plus": _plus_plus,
    "dynunet": _dynunet,
    "segresnet": _segresnet,
    "swin-unetr": _swin_unetr,
    "unetr": _unetr,
}

LesionNetwork = GrcsfNet | PeerNet
"""What training and prediction take."""


def build_peer(settings: NetworkSettings, shape: PeerShape) -> PeerNet:
    """The peer that ``settings.backbone`` names, with MONAI's defaults but for its widths (docs/how-to/peers.md).

    Source: MONAI 1.6.1. U-Net (Falk et al. 2019), Attention U-Net (arXiv 1804.03999), U-Net++ (1807.10165),
    DynUNet (after nnU-Net, 1904.08128), SegResNet (1810.11654), Swin UNETR (2201.01266), UNETR (2103.10504).

    Raises:
        SettingsError: a transformer without the package einops.
    """
    name = settings.backbone
    if name in {"swin-unetr", "unetr"} and importlib.util.find_spec("einops") is None:
        raise SettingsError(f"network.backbone={name} needs the package einops: pip install 'grcsf[peers]'")
    return PEERS[name](settings, shape)
