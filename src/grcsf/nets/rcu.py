"""Region Compensation Unit: residual maps tell the decoder where to look."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from grcsf.nets.blocks import conv

__all__ = ["RegionCompensationUnit"]


def _patch_codes(grid: Sequence[int], width: int, like: Tensor) -> Tensor:
    """Sine-cosine codes of patch coordinates about the grid's centre, (1, n, width)."""
    axes = [torch.arange(n, device=like.device, dtype=torch.float32) - (n - 1) / 2 for n in grid]
    where = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(grid))
    bands = width // (2 * len(grid))
    waves = torch.logspace(0.5, 2.0, bands, device=like.device)
    angles = where.unsqueeze(-1) * (2 * math.pi / waves)
    codes = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)
    return nn.functional.pad(codes, (0, width - codes.shape[-1])).unsqueeze(0).to(like.dtype)


class RegionCompensationUnit(nn.Module):
    """Patch cross-attention from decoder features to residual maps, added to the decoder feature.

    Both are cut into the same patch grid; queries come from decoder patches, keys and values from the patches of
    each residual map, sine-cosine positions on both. The importance of a patch is the sigmoid of an MLP over
    its residual token and the pooled deepest feature. With w_r a learnable weight per map:
    out = d + fuse(sum_r w_r importance_r attended_r, pixel-level residual features).
    The last layer of ``fuse`` starts at zero, so a fresh unit is the identity.
    Source: paper (parts), own (their form; docs/decisions/0004).

    Args:
        dims: 2 or 3.
        channels: channels of the decoder feature.
        deepest_channels: channels of the deepest feature.
        maps: number of residual maps.
        map_channels: channels of each map.
        level_stride: stride of this decoder level against the input, per axis.
        patch: edge of a patch in voxels of the input grid.
        width: width of the attention.
        heads: attention heads.
        importance: patch importance scoring on or off.
        learned_weights: learnable weights per map, else their plain mean.
        pixel_path: pixel-level residual features on or off.
    """

    def __init__(
        self,
        dims: int,
        channels: int,
        deepest_channels: int,
        maps: int,
        map_channels: int,
        level_stride: Sequence[int],
        patch: int = 8,
        width: int = 64,
        heads: int = 4,
        importance: bool = True,
        learned_weights: bool = True,
        pixel_path: bool = True,
    ) -> None:
        super().__init__()
        self.dims, self.maps, self.map_channels, self.width = dims, maps, map_channels, width
        self.level_stride = tuple(level_stride)
        edge = [max(1, patch // stride) for stride in level_stride]
        cell = [small * stride for small, stride in zip(edge, level_stride, strict=True)]
        convolution = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        transposed = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dims]
        self.query = convolution(channels, width, tuple(edge), stride=tuple(edge))  # type: ignore[arg-type]
        self.tokens = convolution(map_channels, width, tuple(cell), stride=tuple(cell))  # type: ignore[arg-type]
        self.query_norm, self.token_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.score = (
            nn.Sequential(nn.Linear(width + deepest_channels, width), nn.GELU(), nn.Linear(width, 1))
            if importance
            else None
        )
        self.weights = nn.Parameter(torch.full((maps,), 1.0 / maps), requires_grad=learned_weights)
        self.spread = transposed(width, channels, tuple(edge), stride=tuple(edge))  # type: ignore[arg-type]
        pixel_channels = channels // 2 if pixel_path else 0
        self.pixels = (
            nn.Sequential(conv(dims, maps * map_channels, pixel_channels), nn.LeakyReLU(0.01, inplace=True))
            if pixel_path
            else None
        )
        self.fuse = nn.Sequential(
            conv(dims, channels + pixel_channels, channels), nn.LeakyReLU(0.01), conv(dims, channels, channels, 1)
        )
        for parameter in self.fuse[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(
        self,
        decoder: Float[Tensor, "b c *space"],
        residual: Float[Tensor, "b maps_k *full"],
        deepest: Float[Tensor, "b e *deep"],
    ) -> Float[Tensor, "b c *space"]:
        """Compensated decoder feature, same shape as ``decoder``.

        ``residual`` stands on the input grid (maps x map_channels channels, map slowest).
        """
        query = self.query(decoder)
        grid = query.shape[2:]
        codes = _patch_codes(grid, self.width, query)
        queries = self.query_norm(query.flatten(2).transpose(1, 2)) + codes
        total = torch.zeros_like(queries)
        for weight, attended, importance in self._attend(queries, codes, residual, deepest):
            total = total + weight * importance * attended
        parts = [self.spread(total.transpose(1, 2).reshape(query.shape))]
        if self.pixels is not None:
            parts.append(self.pixels(self._at_level(residual, decoder.shape[2:])))
        return decoder + self.fuse(torch.cat(parts, dim=1))  # type: ignore[no-any-return]

    def importance_maps(
        self, residual: Float[Tensor, "b maps_k *full"], deepest: Float[Tensor, "b e *deep"]
    ) -> Float[Tensor, "b maps *grid"]:
        """Importance of each patch of each map, in [0, 1]; ones where scoring is off."""
        maps = []
        for one in residual.split(self.map_channels, dim=1):
            feature = self.tokens(one)
            tokens = self.token_norm(feature.flatten(2).transpose(1, 2))
            maps.append(self._importance(tokens, deepest).transpose(1, 2).reshape(one.shape[0], 1, *feature.shape[2:]))
        return torch.cat(maps, dim=1)

    def _attend(
        self, queries: Tensor, codes: Tensor, residual: Tensor, deepest: Tensor
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        result = []
        for index, one in enumerate(residual.split(self.map_channels, dim=1)):
            tokens = self.token_norm(self.tokens(one).flatten(2).transpose(1, 2))
            keys = tokens + codes
            attended, _ = self.attention(queries, keys, tokens, need_weights=False)
            result.append((self.weights[index], attended, self._importance(tokens, deepest)))
        return result

    def _importance(self, tokens: Tensor, deepest: Tensor) -> Tensor:
        if self.score is None:
            return torch.ones_like(tokens[..., :1])
        context = deepest.flatten(2).mean(2).unsqueeze(1).expand(-1, tokens.shape[1], -1)
        return self.score(torch.cat([tokens, context], dim=-1)).sigmoid()  # type: ignore[no-any-return]

    def _at_level(self, residual: Tensor, size: Sequence[int]) -> Tensor:
        pool = nn.functional.avg_pool2d if self.dims == 2 else nn.functional.avg_pool3d
        pooled = residual if all(s == 1 for s in self.level_stride) else pool(residual, self.level_stride)  # type: ignore[arg-type]
        if tuple(pooled.shape[2:]) != tuple(size):
            raise ValueError(f"residual grid {tuple(residual.shape[2:])} does not fit decoder grid {tuple(size)}")
        return pooled
