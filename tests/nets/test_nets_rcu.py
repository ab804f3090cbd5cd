"""The Region Compensation Unit: the identity when fresh, its textbook formula when not."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from grcsf.nets.rcu import RegionCompensationUnit

CHANNELS, DEEPEST, MAPS, PER_MAP, WIDTH, HEADS = 6, 5, 2, 2, 8, 2
GRIDS = {2: ((2, 2), (4, 6)), 3: ((1, 2, 2), (4, 2, 4))}  # level stride, decoder grid


def unit(dims: int, random_end: bool = True, patch: int = 4, **switches: int) -> RegionCompensationUnit:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = RegionCompensationUnit(
            dims,
            CHANNELS,
            DEEPEST,
            maps=MAPS,
            map_channels=PER_MAP,
            level_stride=GRIDS[dims][0],
            patch=patch,
            width=WIDTH,
            heads=HEADS,
            **switches,
        )
        if random_end:
            for parameter in made.parameters():
                nn.init.normal_(parameter, std=0.3)
    return made.eval()


def inputs(dims: int, grid: tuple[int, ...] | None = None, seed: int = 0) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    stride, usual = GRIDS[dims]
    grid = grid or usual
    full = [edge * step for edge, step in zip(grid, stride, strict=True)]
    return (
        torch.randn(2, CHANNELS, *grid, generator=draw),
        torch.randn(2, MAPS * PER_MAP, *full, generator=draw),
        torch.randn(2, DEEPEST, *[2] * dims, generator=draw),
    )


def codes(grid: list[int]) -> torch.Tensor:
    """Sine, then cosine, of each coordinate about the centre, axis by axis."""
    bands = WIDTH // (2 * len(grid))
    waves = torch.logspace(0.5, 2.0, bands).tolist()
    rows = []
    for corner in itertools.product(*(range(count) for count in grid)):
        where = [at - (count - 1) / 2 for at, count in zip(corner, grid, strict=True)]
        row = []
        for x in where:
            row += [math.sin(2 * math.pi * x / wave) for wave in waves]
            row += [math.cos(2 * math.pi * x / wave) for wave in waves]
        rows.append(row + [0.0] * (WIDTH - len(row)))
    return torch.tensor(rows)


def attend(block: nn.MultiheadAttention, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Scaled dot-product attention, one head and one query at a time."""
    weight, bias, size = block.in_proj_weight, block.in_proj_bias, WIDTH // HEADS
    q, k, v = (
        x @ weight[i * WIDTH : (i + 1) * WIDTH].T + bias[i * WIDTH : (i + 1) * WIDTH]
        for i, x in enumerate((query, key, value))
    )
    out = torch.zeros_like(q)
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        for index in range(len(q)):
            logits = torch.stack([q[index, part] @ k[other, part] / math.sqrt(size) for other in range(len(k))])
            shares = logits.exp() / logits.exp().sum()
            out[index, part] = sum(share * v[other, part] for other, share in enumerate(shares))
    return out @ block.out_proj.weight.T + block.out_proj.bias


def patches_of(x: torch.Tensor, edge: tuple[int, ...]) -> list[torch.Tensor]:
    """Flattened patches (channel slowest) of one item ``(c, *space)``, row by row."""
    counts = [size // small for size, small in zip(x.shape[1:], edge, strict=True)]
    return [
        x[(slice(None), *(slice(at * e, (at + 1) * e) for at, e in zip(corner, edge, strict=True)))].flatten()
        for corner in itertools.product(*(range(count) for count in counts))
    ]


def textbook(
    made: RegionCompensationUnit,
    decoder: torch.Tensor,
    residual: torch.Tensor,
    deepest: torch.Tensor,
    extra: torch.Tensor | None = None,
) -> torch.Tensor:
    """The class docstring, item by item and patch by patch."""
    grid = [size // edge for size, edge in zip(decoder.shape[2:], made.edge, strict=True)]
    spread = torch.zeros_like(decoder)
    for item in range(decoder.shape[0]):
        embed = made.query.weight.flatten(1)
        query = torch.stack([embed @ p + made.query.bias for p in patches_of(decoder[item], made.edge)])
        query = made.query_norm(query) + codes(grid)
        total = torch.zeros_like(query)
        for r in range(MAPS):
            one = residual[item, r * PER_MAP : (r + 1) * PER_MAP]
            embed = made.tokens.weight.flatten(1)
            values = tokens = torch.stack([embed @ p + made.tokens.bias for p in patches_of(one, made.cell)])
            keys = made.token_norm(tokens) + codes(grid)
            if extra is not None:
                more = made.encoded(extra[item].flatten(1).T)
                keys, values = torch.cat([keys, more + codes(grid)]), torch.cat([values, more])
            attended = attend(made.attention, query, keys, values)
            context = deepest[item].flatten(1).mean(1)
            for index in range(len(total)):
                importance = made.score(torch.cat([tokens[index], context])).sigmoid()
                total[index] += made.weights[r] * importance * attended[index]
        for index, corner in enumerate(itertools.product(*(range(count) for count in grid))):
            where = (item, slice(None), *(slice(a * e, (a + 1) * e) for a, e in zip(corner, made.edge, strict=True)))
            patch = (total[index] @ made.spread.weight.flatten(1)).reshape(CHANNELS, *made.edge)
            spread[where] = patch + made.spread.bias.reshape(-1, *[1] * len(grid))
    pool = nn.functional.avg_pool2d if len(grid) == 2 else nn.functional.avg_pool3d
    pixels = made.pixels(pool(residual, made.level_stride))
    return decoder + made.fuse(torch.cat([spread, pixels], dim=1))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_unit_equals_its_textbook_twin(dims):
    made, given = unit(dims), inputs(dims)
    out = made(*given)
    assert out.shape == given[0].shape
    assert torch.allclose(out, textbook(made, *given), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(out, given[0], atol=0.1)


@pytest.mark.parametrize("dims", [2, 3])
def test_encoder_tokens_are_further_keys_and_values(dims):
    made, given = unit(dims, token_width=3, token_patch=unit(dims).cell[-1]), inputs(dims)
    grid = [size // edge for size, edge in zip(given[0].shape[2:], made.edge, strict=True)]
    tokens = torch.randn(2, 3, *grid, generator=torch.Generator().manual_seed(4))
    cubic = all(edge == made.token_patch for edge in made.cell)  # else the codes are scaled per axis
    out = made(*given, tokens)
    if cubic:
        assert torch.allclose(out, textbook(made, *given, tokens), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(out, made(*given, 0 * tokens), atol=1e-3)
    with pytest.raises(ValueError, match="reads encoder tokens; got none"):
        made(*given)


def test_positions_of_tokens_are_measured_in_the_patches_of_the_unit():
    made, given = unit(2, token_width=3, token_patch=2), inputs(2)
    values = made.encoded(torch.zeros(1, 8, 3))
    keys, _ = made._extra_keys(torch.zeros(1, 3, 2, 4))  # patches of 2 voxels beside cells of 4: half a cell apart
    first = (keys - values)[0, 0]
    where, waves = (-0.25, -0.75), torch.logspace(0.5, 2.0, 2)
    expected = [torch.cat([(2 * math.pi * x / waves).sin(), (2 * math.pi * x / waves).cos()]) for x in where]
    assert torch.allclose(first, torch.cat(expected), atol=1e-5)
    assert made.cell == (4, 4)
    assert made(*given, torch.zeros(2, 3, 5, 7)).shape == given[0].shape  # any grid of tokens


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("switch", ["importance", "learned_weights", "pixel_path"])
def test_a_fresh_unit_is_the_identity_and_can_learn(dims, switch):
    made, (decoder, residual, deepest) = unit(dims, random_end=False, **{switch: False}), inputs(dims)
    out = made(decoder, residual, deepest)
    assert torch.equal(out, decoder)
    (out - torch.randn(out.shape)).square().sum().backward()
    assert made.fuse[-1].weight.grad.abs().sum() > 0


def test_switches_take_their_parameters_with_them():
    plain = unit(2, importance=False, learned_weights=False, pixel_path=False)
    names = {name.split(".")[0] for name, parameter in plain.named_parameters() if parameter.requires_grad}
    assert names.isdisjoint({"score", "weights", "pixels"})
    assert plain.weights.shape == (MAPS,)
    whole = {name.split(".")[0] for name, _ in unit(2).named_parameters()}
    assert whole == names | {"score", "weights", "pixels"}
    assert torch.equal(unit(2, random_end=False).weights, torch.full((MAPS,), 1 / MAPS))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("patch", [1, 3, 4, 7, 16])
def test_any_patch_fits_any_grid(dims, patch):
    grid = (5, 3, 7)[:dims]
    made, given = unit(dims, patch=patch), inputs(dims, grid)
    assert made(*given).shape == given[0].shape
    counts = [math.ceil(edge / small) for edge, small in zip(grid, made.edge, strict=True)]
    assert made.importance_maps(*given[1:]).shape == (2, MAPS, *counts)


def test_importance_is_a_share():
    importance = unit(2).importance_maps(*inputs(2)[1:])
    assert importance.shape == (2, MAPS, 2, 3)
    assert 0 < importance.min() < importance.max() < 1
    assert (unit(2, importance=False).importance_maps(*inputs(2)[1:]) == 1).all()


def test_the_strength_of_a_residual_is_not_normalised_away():
    """Without biases a key says nothing of it, a value says all."""
    made, (decoder, residual, deepest) = unit(2, pixel_path=False, importance=False), inputs(2)
    made.fuse = nn.Identity()
    with torch.no_grad():
        for bias in (made.tokens.bias, made.attention.in_proj_bias, made.attention.out_proj.bias, made.spread.bias):
            bias.zero_()
    once, twice = (made(decoder, scale * residual, deepest) - decoder for scale in (1.0, 2.0))
    assert torch.allclose(2 * once, twice, rtol=1e-3, atol=1e-3)


def test_a_map_of_weight_zero_has_no_say_in_the_attention():
    made, (decoder, residual, deepest) = unit(2, pixel_path=False), inputs(2)
    with torch.no_grad():
        made.weights.copy_(torch.tensor([1.0, 0.0]))
    other = residual.clone()
    other[:, PER_MAP:] += 5.0
    assert torch.allclose(made(decoder, residual, deepest), made(decoder, other, deepest))
    other[:, :PER_MAP] += 5.0
    assert not torch.allclose(made(decoder, residual, deepest), made(decoder, other, deepest))


def test_maps_that_do_not_fit_are_refused():
    made, (decoder, residual, deepest) = unit(2), inputs(2)
    for wrong in (residual[:, :-1], residual[..., :-1], decoder):
        with pytest.raises(ValueError, match=r"expected residual maps of 4 channels on grid \(8, 12\)"):
            made(decoder, wrong, deepest)


def test_attention_is_in_single_precision_where_the_rest_is_mixed() -> None:
    made, seen = unit(2), list[torch.dtype]()

    def look(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        seen.extend([*(one.dtype for one in given), given[0].bmm(given[0].transpose(1, 2)).dtype])

    made.attention.register_forward_pre_hook(look)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = made(*inputs(2))
    assert set(seen) == {torch.float32}  # what goes in, and what a product in there gives
    torch.testing.assert_close(mixed.float(), made(*inputs(2)), rtol=0.05, atol=0.05)
