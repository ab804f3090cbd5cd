"""The Global Compensation Unit: the identity when fresh, its textbook formula when not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from grcsf.nets.gcu import GlobalCompensationUnit, SqueezeExcitation, cosine_over_channels

SIZES = {2: ((5, 7), (3, 4)), 3: ((4, 5, 3), (2, 3, 2))}


def features(dims: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    fine, coarse = SIZES[dims]
    return torch.randn(2, 6, *fine, generator=draw), torch.randn(2, 10, *coarse, generator=draw)


def unit(dims: int, form: str, gate: float) -> GlobalCompensationUnit:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = GlobalCompensationUnit(dims, 6, 10, form)
        nn.init.normal_(made.gate, std=gate)
    return made.eval()


@torch.no_grad()
def textbook_excitation(se: SqueezeExcitation, x: torch.Tensor) -> torch.Tensor:
    squeeze, _, excite, _ = se.gate
    out = torch.empty_like(x)
    for item in range(x.shape[0]):
        means = torch.stack([channel.mean() for channel in x[item]])
        hidden = (squeeze.weight @ means + squeeze.bias).clamp(min=0)
        weights = 1 / (1 + torch.exp(-(excite.weight @ hidden + excite.bias)))
        for channel, weight in enumerate(weights):
            out[item, channel] = x[item, channel] * weight
    return out


@torch.no_grad()
def textbook(made: GlobalCompensationUnit, form: str, fine: torch.Tensor, coarser: torch.Tensor) -> torch.Tensor:
    """The class docstring, position by position."""
    mode = "bilinear" if fine.dim() == 4 else "trilinear"
    weight = made.project.weight.flatten(1)
    projected = torch.einsum("oc,bc...->bo...", weight, coarser) + made.project.bias.reshape(
        -1, *[1] * (fine.dim() - 2)
    )
    up = nn.functional.interpolate(projected, size=fine.shape[2:], mode=mode, align_corners=False)
    a, b = textbook_excitation(made.excite_fine, fine), textbook_excitation(made.excite_coarse, up)
    gate, out = made.gate.flatten(), fine.clone()
    for item in range(fine.shape[0]):
        for position in torch.cartesian_prod(*(torch.arange(edge) for edge in fine.shape[2:])).tolist():
            at = (item, slice(None), *position)
            s = float(a[at] @ b[at] / (a[at].norm() * b[at].norm()))
            lost = {"lost": (1 - s) * a[at], "kept": s * a[at], "difference": a[at] - b[at]}[form]
            out[at] = fine[at] + gate * lost
    return out


@pytest.mark.parametrize("form", ["lost", "kept", "difference"])
@pytest.mark.parametrize("dims", [2, 3])
def test_each_form_equals_its_textbook_twin(dims, form):
    made, (fine, coarser) = unit(dims, form, gate=1.0), features(dims)
    out = made(fine, coarser)
    assert out.shape == fine.shape
    assert torch.allclose(out, textbook(made, form, fine, coarser), atol=1e-4)
    assert not torch.allclose(out, fine)


@pytest.mark.parametrize("form", ["lost", "kept", "difference"])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_fresh_unit_is_the_identity_and_can_learn(dims, form):
    made, (fine, coarser) = GlobalCompensationUnit(dims, 6, 10, form), features(dims)
    out = made(fine, coarser)
    assert torch.equal(out, fine)
    out.square().sum().backward()
    assert made.gate.grad.abs().min() > 0


def test_lost_gives_nothing_where_nothing_was_lost():
    """Equal features up to a scale per position: cosine 1, so 1 - s = 0."""
    made = unit(2, "lost", gate=1.0)
    fine = torch.randn(1, 6, 4, 4)
    made.excite_coarse = made.excite_fine
    made.project = nn.Identity()
    assert torch.allclose(made(fine, fine), fine, atol=1e-5)


@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100.0))
def test_cosine_is_in_range_symmetric_and_scale_free(seed, scale):
    draw = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, 1, 4, 3, 3, generator=draw)
    p, q = torch.rand(2, 1, 4, generator=draw)
    s = cosine_over_channels(a, p, b, q)
    assert s.shape == (1, 1, 3, 3)
    assert s.abs().max() <= 1 + 1e-6
    assert torch.allclose(s, cosine_over_channels(b, q, a, p))
    assert torch.allclose(s, cosine_over_channels(scale * a, p, b, q), atol=1e-4)
    assert torch.allclose(s, cosine_over_channels(a, scale * p, b, q), atol=1e-4)
    assert torch.allclose(cosine_over_channels(a, p, -a, p), -torch.ones(1), atol=1e-4)
    direct = nn.functional.cosine_similarity(a * p[..., None, None], b * q[..., None, None], dim=1)
    assert torch.allclose(s[:, 0], direct, atol=1e-4)


def test_cosine_with_nothing_is_zero():
    a, p = torch.randn(1, 4, 3, 3), torch.rand(1, 4)
    assert torch.equal(cosine_over_channels(a, p, torch.zeros_like(a), p), torch.zeros(1, 1, 3, 3))


@pytest.mark.parametrize("form", ["lost", "kept", "difference"])
def test_in_mixed_precision_the_skip_keeps_the_precision_of_the_feature(form: str) -> None:
    fine, coarse = (feature.bfloat16() for feature in features(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert unit(2, form, 0.5)(fine, coarse).dtype == torch.bfloat16
