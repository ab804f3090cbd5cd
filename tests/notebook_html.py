"""Reads what notebooks are shown: known tags in order, nothing asked for, small; and text to try it with."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from hypothesis import strategies as st

from grcsf.io.html import MAX_BYTES

VOID = {"img", "br"}
ALLOWED = {"div", "strong", "table", "tr", "th", "td", "p", "pre", "img"}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'&amp;",
    "\x00",
    "\ud800",
    "a" * 10_000,
    "&" * 999,
)
texts = st.one_of(st.text(st.characters(), max_size=80), st.sampled_from(HOSTILE))


class Reader(HTMLParser):
    """Collects text and checks that every tag is known, closed in order, and asks for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED
        for name, value in attrs:
            assert name in {"style", "src", "alt"}
            assert name != "src" or (value or "").startswith("data:image/png;base64,")
            assert name != "style" or not re.search(r"url|#|(?<!-)color", value or "")  # no request, no own colours
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(made: str) -> str:
    """The text of a block that was checked."""
    assert len(made.encode("utf-8")) <= MAX_BYTES
    reader = Reader()
    reader.feed(made)
    reader.close()
    assert not reader.open
    return "".join(reader.text)
