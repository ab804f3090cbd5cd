"""Region Compensation Unit: residual maps tell the decoder where to look."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from grcsf.nets.blocks import conv, crop_end, pad_end

__all__ = ["RegionCompensationUnit"]


def _patch_codes(grid: Sequence[int], width: int, like: Tensor, scale: Sequence[float] = (1.0, 1.0, 1.0)) -> Tensor:
    """Sine-cosine codes of patch coordinates about the grid's centre, times ``scale`` per axis, (1, n, width)."""
    axes = [
        (torch.arange(n, device=like.device, dtype=torch.float32) - (n - 1) / 2) * step
        for n, step in zip(grid, scale, strict=False)
    ]
    where = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(grid))
    bands = width // (2 * len(grid))
    waves = torch.logspace(0.5, 2.0, bands, device=like.device)
    angles = where.unsqueeze(-1) * (2 * math.pi / waves)
    codes = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)
    return nn.functional.pad(codes, (0, width - codes.shape[-1])).unsqueeze(0).to(like.dtype)


class RegionCompensationUnit(nn.Module):
    """Patch cross-attention from decoder features to residual maps, added to the decoder feature.

    Both are cut into the same patch grid; queries come from decoder patches, keys and values from the patches of
    each residual map, sine-cosine positions on both. Keys are normalised, values are not: how strong a residual is
    tells as much as its form. The importance of a patch is the sigmoid of an MLP over its value and the pooled
    deepest feature. With w_r a learnable weight per map:
    out = d + fuse(sum_r w_r importance_r attended_r, pixel-level residual features).
    ``fuse`` works position by position (3 x 3 would be two thirds of the unit's cost); its last layer starts at
    zero, so a fresh unit is the identity.
    Source: paper (parts), own (their form; docs/decisions/0004).

    Args:
        dims: 2 or 3.
        channels: channels of the decoder feature.
        deepest_channels: channels of the deepest feature.
        maps: number of residual maps.
        map_channels: channels of each map.
        level_stride: stride of this decoder level against the input, per axis.
        patch: edge of a patch in voxels of the input grid; rounded down to whole steps of the level, at least one.
        width: width of the attention.
        heads: attention heads.
        importance: patch importance scoring on or off.
        learned_weights: learnable weights per map, else their plain mean.
        pixel_path: pixel-level residual features on or off.
        token_width: width of the encoder tokens that stand beside the patches as keys and values; 0: none.
        token_patch: edge of their patches in voxels of the input grid.
    """

    def __init__(
        self,
        dims: int,
        channels: int,
        deepest_channels: int,
        *,
        maps: int,
        map_channels: int,
        level_stride: Sequence[int],
        patch: int = 8,
        width: int = 64,
        heads: int = 4,
        importance: bool = True,
        learned_weights: bool = True,
        pixel_path: bool = True,
        token_width: int = 0,
        token_patch: int = 8,
    ) -> None:
        super().__init__()
        self.dims, self.maps, self.map_channels, self.width = dims, maps, map_channels, width
        self.level_stride = tuple(level_stride)
        edge = [max(1, patch // stride) for stride in level_stride]
        cell = [small * stride for small, stride in zip(edge, level_stride, strict=True)]
        self.edge, self.cell = tuple(edge), tuple(cell)
        convolution = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        transposed = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dims]
        self.query = convolution(channels, width, tuple(edge), stride=tuple(edge))  # type: ignore[arg-type]
        self.tokens = convolution(map_channels, width, tuple(cell), stride=tuple(cell))  # type: ignore[arg-type]
        self.query_norm, self.token_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.token_patch = token_patch
        self.encoded = nn.Sequential(nn.Linear(token_width, width), nn.LayerNorm(width)) if token_width else None
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
            conv(dims, channels + pixel_channels, channels, 1), nn.LeakyReLU(0.01), conv(dims, channels, channels, 1)
        )
        for parameter in self.fuse[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(
        self,
        decoder: Float[Tensor, "b c *space"],
        residual: Float[Tensor, "b maps_k *full"],
        deepest: Float[Tensor, "b e *deep"],
        tokens: Float[Tensor, "b w *grid"] | None = None,
    ) -> Float[Tensor, "b c *space"]:
        """Compensated decoder feature, same shape as ``decoder``.

        ``residual`` stands on the input grid (maps x map_channels channels, map slowest). Patches that reach over the
        end of the image see its last voxel repeated. ``tokens`` are those of the autoencoder's encoder, where the
        unit was made with a ``token_width``.

        Raises:
            ValueError: no tokens for a unit that reads them, or residual maps that are not ``level_stride`` times as
                large as ``decoder``.
        """
        self._check(decoder, residual)
        if self.encoded is not None and tokens is None:
            raise ValueError("this unit reads encoder tokens; got none")
        query: Tensor = self.query(pad_end(decoder, _missing(decoder, self.edge)))
        codes = _patch_codes(query.shape[2:], self.width, query)
        queries = self.query_norm(_in_rows(query)) + codes
        total = torch.zeros_like(queries)
        extra = self._extra_keys(tokens) if self.encoded is not None and tokens is not None else None
        for weight, attended, importance in self._attend(queries, codes, residual, deepest, extra):
            total = total + weight * importance * attended
        spread: Tensor = self.spread(total.transpose(1, 2).reshape(query.shape))
        parts = [crop_end(spread, decoder.shape[2:])]
        if self.pixels is not None:
            parts.append(self.pixels(self._at_level(residual)))
        return decoder + self.fuse(torch.cat(parts, dim=1))  # type: ignore[no-any-return]

    def importance_maps(
        self, residual: Float[Tensor, "b maps_k *full"], deepest: Float[Tensor, "b e *deep"]
    ) -> Float[Tensor, "b maps *grid"]:
        """Importance of each patch of each map, in [0, 1]; ones where scoring is off."""
        maps = []
        for feature in self._features(residual):
            importance = self._importance(_in_rows(feature), deepest)
            maps.append(importance.transpose(1, 2).reshape(feature.shape[0], 1, *feature.shape[2:]))
        return torch.cat(maps, dim=1)

    def _features(self, residual: Tensor) -> list[Tensor]:
        """Patch features of each map."""
        whole = pad_end(residual, _missing(residual, self.cell))
        return [self.tokens(one) for one in torch.split(whole, self.map_channels, dim=1)]

    def _extra_keys(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of encoder tokens, with positions in units of the unit's own patches."""
        assert self.encoded is not None
        values: Tensor = self.encoded(tokens.flatten(2).transpose(1, 2))
        scale = [self.token_patch / edge for edge in self.cell]
        return values + _patch_codes(tokens.shape[2:], self.width, values, scale), values

    def _attend(
        self, queries: Tensor, codes: Tensor, residual: Tensor, deepest: Tensor, extra: tuple[Tensor, Tensor] | None
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        result = []
        for weight, feature in zip(self.weights, self._features(residual), strict=True):
            patches = _in_rows(feature)
            keys, values = self.token_norm(patches) + codes, patches
            if extra is not None:
                keys, values = torch.cat([keys, extra[0]], dim=1), torch.cat([values, extra[1]], dim=1)
            with torch.autocast(queries.device.type, enabled=False):  # bfloat16 takes twice as long for so few tokens
                attended, _ = self.attention(queries.float(), keys.float(), values.float(), need_weights=False)
            result.append((weight, attended, self._importance(patches, deepest)))
        return result

    def _importance(self, patches: Tensor, deepest: Tensor) -> Tensor:
        if self.score is None:
            return torch.ones_like(patches[..., :1])
        context = deepest.flatten(2).mean(2).unsqueeze(1).expand(-1, patches.shape[1], -1)
        return self.score(torch.cat([patches, context], dim=-1)).sigmoid()  # type: ignore[no-any-return]

    def _at_level(self, residual: Tensor) -> Tensor:
        pool = nn.functional.avg_pool2d if self.dims == 2 else nn.functional.avg_pool3d
        return residual if all(step == 1 for step in self.level_stride) else pool(residual, self.level_stride)

    def _check(self, decoder: Tensor, residual: Tensor) -> None:
        channels = self.maps * self.map_channels
        size = tuple(edge * step for edge, step in zip(decoder.shape[2:], self.level_stride, strict=True))
        if residual.shape[1] != channels or tuple(residual.shape[2:]) != size:
            raise ValueError(
                f"expected residual maps of {channels} channels on grid {size}, got shape {tuple(residual.shape)}; "
                f"the decoder grid is {tuple(decoder.shape[2:])} at stride {self.level_stride}"
            )


def _in_rows(feature: Float[Tensor, "b w *grid"]) -> Float[Tensor, "b n w"]:
    """One row for each patch."""
    return feature.flatten(2).transpose(1, 2)


def _missing(x: Tensor, multiple: Sequence[int]) -> list[int]:
    return [(-edge) % whole for edge, whole in zip(x.shape[2:], multiple, strict=True)]
