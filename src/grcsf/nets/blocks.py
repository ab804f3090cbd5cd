"""Convolution blocks of the backbone, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

__all__ = [
    "BLOCKS",
    "PlainBlock",
    "ResidualBlock",
    "conv",
    "crop_end",
    "norm",
    "pad_end",
    "transposed_conv",
    "whole_steps",
]

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORM = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_DROPOUT = {2: nn.Dropout2d, 3: nn.Dropout3d}


def conv(dims: int, cin: int, cout: int, kernel: int = 3, stride: Sequence[int] | int = 1) -> nn.Module:
    """Convolution that keeps the size at stride 1."""
    step = tuple(stride) if isinstance(stride, Sequence) else stride
    return _CONV[dims](cin, cout, kernel, stride=step, padding=kernel // 2)  # type: ignore[arg-type]


def transposed_conv(dims: int, cin: int, cout: int, stride: Sequence[int]) -> nn.Module:
    """Transposed convolution that multiplies each side by its stride."""
    return _TRANSPOSED[dims](cin, cout, tuple(stride), stride=tuple(stride))  # type: ignore[arg-type]


def norm(dims: int, channels: int) -> nn.Module:
    """Instance norm with scale and shift."""
    return _NORM[dims](channels, affine=True)


def crop_end(x: Float[Tensor, "b c *space"], size: Sequence[int]) -> Float[Tensor, "b c *cropped"]:
    """The first ``size`` voxels along each axis; inverse of :func:`pad_end`."""
    for axis, edge in enumerate(size, start=2):
        x = x.narrow(axis, 0, edge)
    return x


def pad_end(x: Float[Tensor, "b c *space"], padding: Sequence[int]) -> Float[Tensor, "b c *padded"]:
    """Repeat the last voxel ``padding`` times at the end of each axis."""
    if not any(padding):
        return x
    return nn.functional.pad(x, [n for more in reversed(padding) for n in (0, more)], mode="replicate")


def whole_steps(size: Sequence[int], deepest: Sequence[int]) -> list[int]:
    """Voxels to add to each axis: up to whole steps of the deepest level, and two of them for its norms.

    >>> whole_steps((9, 14), (4, 4)), whole_steps((3, 4), (4, 4))
    ([3, 2], [1, 4])
    """
    padding = [(-edge) % stride for edge, stride in zip(size, deepest, strict=True)]
    if all(edge + more == stride for edge, more, stride in zip(size, padding, deepest, strict=True)):
        padding[-1] += deepest[-1]
    return padding


class PlainBlock(nn.Module):
    """Two times convolution, instance norm, leaky ReLU."""

    def __init__(self, dims: int, cin: int, cout: int, stride: Sequence[int] | int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(dims, cin, cout, stride=stride),
            norm(dims, cout),
            nn.LeakyReLU(0.01, inplace=True),
            _DROPOUT[dims](dropout) if dropout else nn.Identity(),
            conv(dims, cout, cout),
            norm(dims, cout),
            nn.LeakyReLU(0.01, inplace=True),
        )

    def forward(self, x: Float[Tensor, "b cin *space"]) -> Float[Tensor, "b cout *out"]:
        """Features at the block's stride."""
        return self.body(x)  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """Two convolutions with instance norm and a shortcut.

    Source: standard (He et al. 2016, arXiv 1512.03385), as in residual-encoder U-Nets.
    """

    def __init__(self, dims: int, cin: int, cout: int, stride: Sequence[int] | int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(dims, cin, cout, stride=stride),
            norm(dims, cout),
            nn.LeakyReLU(0.01, inplace=True),
            _DROPOUT[dims](dropout) if dropout else nn.Identity(),
            conv(dims, cout, cout),
            norm(dims, cout),
        )
        same = cin == cout and (stride == 1 or (not isinstance(stride, int) and all(s == 1 for s in stride)))
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(conv(dims, cin, cout, kernel=1, stride=stride), norm(dims, cout))
        )
        self.activation = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, x: Float[Tensor, "b cin *space"]) -> Float[Tensor, "b cout *out"]:
        """Features at the block's stride."""
        return self.activation(self.body(x) + self.shortcut(x))  # type: ignore[no-any-return]


BLOCKS: dict[str, type[nn.Module]] = {"residual-unet": ResidualBlock, "plain-unet": PlainBlock}
