"""Small pieces of HTML for notebooks: escaped, bounded in size, without colours of their own, scripts or requests."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

__all__ = ["MAX_BYTES", "block", "escaped", "number", "paragraph", "preformatted", "table"]

MAX_BYTES = 100_000
"""No block is longer, UTF-8."""

_PART_BYTES, _CELL_BYTES, _MAX_COLUMNS = 40_000, 600, 16
_LINE = "border-bottom:1px solid rgba(128,128,128,.4);padding:2px 8px"  # grey shows on light and on dark


def escaped(text: object, most: int = _CELL_BYTES) -> str:
    """Text that HTML shows as it is, in at most ``most`` bytes; what is cut off is marked with an ellipsis.

    >>> escaped("<b>&")
    '&lt;b&gt;&amp;'
    """
    whole = str(text).encode("utf-8", "replace").decode("utf-8")
    plain = whole[:most]
    while len(html.escape(plain).encode("utf-8")) > most - 3:
        plain = plain[: len(plain) * 3 // 4]
    return html.escape(plain) + ("" if plain == whole else "…")


def number(value: float) -> str:
    """Three decimals; a dash for nan."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def paragraph(text: object) -> str:
    """One paragraph of text."""
    return f'<p style="margin:4px 0">{escaped(text, 2_000)}</p>'


def preformatted(text: object) -> str:
    """Text with its own lines, in letters of equal width."""
    return f'<pre style="margin:4px 0;overflow-x:auto">{escaped(text, _PART_BYTES)}</pre>'


def table(header: Sequence[str], rows: Iterable[Sequence[object]], words: int = 1) -> str:
    """A table as long as a part may be; rows beyond that are counted.

    Args:
        header: a title per column.
        rows: a cell per column; text is escaped.
        words: so many columns at the start are words, set to the left; the others are numbers.
    """

    def line(cells: Sequence[object], tag: str) -> str:
        shown = [
            f'<{tag} style="text-align:{"left" if index < words else "right"};{_LINE}">{escaped(cell)}</{tag}>'
            for index, cell in enumerate(cells[:_MAX_COLUMNS])
        ]
        return f"<tr>{''.join(shown)}</tr>"

    lines, length, left = [line(header, "th")], 0, 0
    for row in rows:
        made = line(row, "td") if not left else ""
        length += len(made.encode("utf-8"))
        if left or length > _PART_BYTES - 15_000:  # room for the header and a last long row
            left += 1
        else:
            lines.append(made)
    more = paragraph(f"… and {left} more rows") if left else ""
    return f'<table style="border-collapse:collapse;margin:4px 0">{"".join(lines)}</table>{more}'


def block(title: str, *parts: str) -> str:
    """One result: a title and parts made by the functions here; parts that would make it too long are left out."""
    lines, room = [f'<div style="font-family:sans-serif"><strong>{escaped(title)}</strong>'], MAX_BYTES - 1_000
    for part in parts:
        room -= len(part.encode("utf-8"))
        if room < 0:
            lines.append(paragraph("… the rest is left out, it would be too long"))
            break
        lines.append(part)
    return "".join([*lines, "</div>"])
