"""The masked autoencoder: a ViT that rebuilds an image from some of its patches."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from grcsf.config import MaeSettings
from grcsf.mae.patches import patch_grid, patchify, unpatchify
from grcsf.mae.positions import centred_grid, sincos_codes

__all__ = ["MaskedAutoencoder", "build_mae", "ratio_name"]


def _blocks(width: int, heads: int, depth: int) -> nn.ModuleList:
    return nn.ModuleList(
        nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        for _ in range(depth)
    )


class MaskedAutoencoder(nn.Module):
    """Rebuild every patch of an image from its visible patches, in 2-D or 3-D, for any grid size.

    Encoder over visible patches only, light decoder over all, plain pixel targets without per-patch
    normalisation, because the reconstruction itself is used.
    Source: standard (He et al. 2022, arXiv 2111.06377); own: the visible set is an argument (docs/decisions/0001).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        *,
        patch: int = 8,
        dim: int = 128,
        depth: int = 4,
        heads: int = 4,
        decoder_dim: int = 96,
        decoder_depth: int = 2,
    ) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels, self.patch = spatial_dims, in_channels, patch
        self.dim, self.decoder_dim = dim, decoder_dim
        values = in_channels * patch**spatial_dims
        self.embed = nn.Linear(values, dim)
        self.position = nn.Linear(dim, dim)
        self.encoder = _blocks(dim, heads, depth)
        self.encoder_norm = nn.LayerNorm(dim)
        self.to_decoder = nn.Linear(dim, decoder_dim)
        self.decoder_position = nn.Linear(decoder_dim, decoder_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_dim))
        self.decoder = _blocks(decoder_dim, heads, decoder_depth)
        self.decoder_norm = nn.LayerNorm(decoder_dim)
        self.to_pixels = nn.Linear(decoder_dim, values)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(
        self,
        image: Float[Tensor, "b c *space"],
        visible: Int[Tensor, "b v"],
        origin: Float[Tensor, "b dims"] | None = None,
    ) -> Float[Tensor, "b c *space"]:
        """Rebuilt image, every patch predicted (visible ones too, from the decoder).

        Args:
            image: normalised intensities; each side a multiple of ``patch``.
            visible: indices of the visible patches of each item, row-major in the patch grid.
            origin: centre of each window relative to the centre of its image, in voxels; none: the same centre.

        Raises:
            ValueError: a size that is not a multiple of the patch.
        """
        grid = patch_grid(image.shape[2:], self.patch)
        coordinates = self._coordinates(grid, image, origin)
        tokens = self.encode(image, visible, origin)
        return self._decode(tokens, visible, coordinates, grid)

    def encode(
        self,
        image: Float[Tensor, "b c *space"],
        visible: Int[Tensor, "b v"],
        origin: Float[Tensor, "b dims"] | None = None,
    ) -> Float[Tensor, "b v width"]:
        """Encoder tokens of the visible patches."""
        grid = patch_grid(image.shape[2:], self.patch)
        codes = self.position(sincos_codes(self._coordinates(grid, image, origin), self.dim))
        tokens: Tensor = self.embed(_take(patchify(image, self.patch), visible)) + _take(codes, visible)
        for block in self.encoder:
            tokens = block(tokens)
        return self.encoder_norm(tokens)  # type: ignore[no-any-return]

    def _decode(self, tokens: Tensor, visible: Tensor, coordinates: Tensor, grid: tuple[int, ...]) -> Tensor:
        filled = self.mask_token.expand(tokens.shape[0], coordinates.shape[1], -1)
        index = visible.unsqueeze(-1).expand(-1, -1, self.decoder_dim)
        filled = filled.scatter(1, index, self.to_decoder(tokens).to(filled.dtype))
        filled = filled + self.decoder_position(sincos_codes(coordinates, self.decoder_dim))
        for block in self.decoder:
            filled = block(filled)
        return unpatchify(self.to_pixels(self.decoder_norm(filled)), grid, self.patch, self.in_channels)

    def _coordinates(self, grid: tuple[int, ...], image: Tensor, origin: Tensor | None) -> Tensor:
        coordinates = centred_grid(grid, image.device).expand(image.shape[0], -1, -1)
        return coordinates if origin is None else coordinates + origin.unsqueeze(1) / self.patch


def build_mae(settings: MaeSettings, spatial_dims: int, in_channels: int) -> nn.ModuleDict:
    """The network of each ratio, keyed ``r50``, ``r75``...; with ``networks: one`` a single entry ``all``."""
    names = ["all"] if settings.networks == "one" else [ratio_name(ratio) for ratio in settings.ratios]
    return nn.ModuleDict(
        {
            name: MaskedAutoencoder(
                spatial_dims,
                in_channels,
                patch=settings.patch,
                dim=settings.dim,
                depth=settings.depth,
                heads=settings.heads,
                decoder_dim=settings.decoder_dim,
                decoder_depth=settings.decoder_depth,
            )
            for name in names
        }
    )


def ratio_name(ratio: float) -> str:
    """Name of a mask ratio in files and modules.

    >>> ratio_name(0.75)
    'r75'
    """
    return f"r{round(100 * ratio)}"


def _take(tokens: Tensor, index: Tensor) -> Tensor:
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
