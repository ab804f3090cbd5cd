"""Windows hold the image where it is and the wanted fill where it is not; the cache keeps to its limit."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grcsf.fitting.cases import ArrayCache, cut_window, slice_with_context, window_start
from stores import plain_plan

axes = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(-4, 14)), min_size=1, max_size=3)


@given(axes)
def test_a_window_stays_inside_where_it_fits_and_is_centred_where_it_does_not(drawn):
    size, window, centre = zip(*drawn, strict=True)
    for edge, wide, at, start in zip(size, window, centre, window_start(size, window, centre), strict=True):
        if edge > wide:
            assert 0 <= start <= edge - wide
            if wide // 2 <= at <= edge - wide + wide // 2:
                assert start == at - wide // 2
        else:
            before, after = -start, start + wide - edge
            assert 0 <= before <= after <= before + 1


@given(axes, st.sampled_from([None, 0.0, -7.5]), st.integers(1, 2))
def test_a_window_is_a_part_of_the_padded_image(drawn, fill, channels):
    size, window, start = zip(*drawn, strict=True)
    start = tuple(max(min(s, edge - 1), 1 - wide) for s, wide, edge in zip(start, window, size, strict=True))
    image = np.random.default_rng(0).standard_normal((channels, *size))
    mode = {"mode": "edge"} if fill is None else {"mode": "constant", "constant_values": fill}
    padded = np.pad(image, [(0, 0), *[(12, 12)] * len(size)], **mode)
    where = tuple(slice(12 + s, 12 + s + wide) for s, wide in zip(start, window, strict=True))
    part = cut_window(image, start, window, fill)
    assert part.flags.c_contiguous
    np.testing.assert_array_equal(part, padded[(slice(None), *where)])


@pytest.mark.parametrize(
    ("context", "index", "expected"),
    [(0, 2, [2]), (1, 2, [1, 2, 3]), (1, 0, [0, 0, 1]), (1, 4, [3, 4, 4]), (3, 1, [0, 0, 0, 1, 2, 3, 4])],
)
def test_slices_at_the_end_are_repeated(context, index, expected):
    image = np.broadcast_to(np.arange(5.0)[None, :, None, None], (2, 5, 3, 4)) + np.array([0, 10])[:, None, None, None]
    found = slice_with_context(image, index, plain_plan(channels=2, context=context))
    assert found.shape == (2 * len(expected), 3, 4)
    assert found[:, 0, 0].tolist() == [*expected, *(10 + number for number in expected)]  # channel slowest


def test_the_cache_reads_once_while_there_is_room():
    read = []

    def array(name: str) -> np.ndarray:
        read.append(name)
        return np.zeros(10, np.float32)  # 40 bytes

    cache = ArrayCache(array, limit_bytes=100)
    for name in ("a", "b", "c", "a", "b", "c", "c"):
        assert cache(name).shape == (10,)
    assert read == ["a", "b", "c", "c", "c"]  # two fit


def test_loader_processes_share_the_limit(monkeypatch):
    monkeypatch.setattr("grcsf.fitting.cases.get_worker_info", lambda: SimpleNamespace(num_workers=4))
    cache = ArrayCache(lambda name: np.zeros(5, np.float32), limit_bytes=160)  # 20 bytes; 40 for each of four
    first = [cache(name) for name in "abc"]
    again = [cache(name) for name in "abc"]
    assert [one is two for one, two in zip(first, again, strict=True)] == [True, True, False]
