"""The progress bar yields every item, and shows itself to people only."""

from __future__ import annotations

import sys

from grcsf.io.progress import track


def test_without_a_terminal_nothing_is_shown(capsys):
    assert list(track(range(3), "Working")) == [0, 1, 2]
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_in_a_terminal_the_bar_goes_to_stderr(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(track(iter("abc"), "Working", total=3)) == ["a", "b", "c"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Working" in captured.err
