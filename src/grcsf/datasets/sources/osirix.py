"""Regions that were drawn in OsiriX and exported as an XML property list: one polygon per slice, with a name.

Source: second-hand, the files' structure as public readers of the COCA set use it (``Images`` -> ``ROIs`` -> ``Name``,
``Point_px``, ``Point_mm``); the real files were not seen.
"""

from __future__ import annotations

import plistlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from grcsf.errors import ImageError
from grcsf.io.geometry import FloatArray64

__all__ = ["Region", "read_regions"]

_MAX_BYTES = 64 << 20
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?"
_PAIR = re.compile(rf"\s*[({{]\s*({_NUMBER})\s*,\s*({_NUMBER})\s*[)}}]\s*")
_TRIPLE = re.compile(rf"\s*[({{]\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*[)}}]\s*")


@dataclass(frozen=True, eq=False)
class Region:
    """A polygon on one slice.

    Attributes:
        name: as it was given, such as "Right Coronary Artery".
        points_px: (n, 2), column and row of each corner.
        position_lps: (3,), one point of its plane, mm to the left, posterior and superior, as DICOM counts.
    """

    name: str
    points_px: FloatArray64
    position_lps: FloatArray64


def read_regions(path: Path) -> list[Region]:
    """Every region of a file that has an area; those with fewer than three points (text, lines) are left out.

    Document types with entities are refused before anything is expanded.

    Raises:
        ImageError: not such a file, too large, or with entities.
    """
    images = _parse(path).get("Images")
    if not isinstance(images, list):
        raise ImageError(f"{path}: no list 'Images' in it; expected regions as OsiriX exports them")
    regions = []
    for image in images:
        rois = image.get("ROIs", []) if isinstance(image, dict) else None
        if not isinstance(rois, list):
            raise ImageError(f"{path}: an entry of 'Images' without a list 'ROIs'")
        regions += [region for roi in rois if (region := _region(roi, path)) is not None]
    return regions


def _parse(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ImageError(f"{path}: {path.stat().st_size >> 20} MiB; a file of regions has at most 64 MiB")
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from None
    _refuse_entities(content, path)
    try:
        tree = plistlib.loads(content, fmt=plistlib.FMT_XML)
    except Exception as error:  # plistlib raises whatever a malformed value causes
        raise ImageError(f"{path}: not a property list ({type(error).__name__}); export the regions again") from None
    if not isinstance(tree, dict):
        raise ImageError(f"{path}: a property list, but not a dictionary; expected regions as OsiriX exports them")
    return tree


def _refuse_entities(content: bytes, path: Path) -> None:
    """Stop at the first declaration of an entity: nothing is ever expanded or fetched."""

    def refuse(*_: object) -> None:
        raise ImageError(f"{path}: refused, its document type declares entities; no export of regions does")

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = refuse
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        reason = f"line {error.lineno}: {expat.ErrorString(error.code)}"
        raise ImageError(f"{path}: broken XML ({reason}); copy or export it again") from None


def _region(roi: object, path: Path) -> Region | None:
    if not isinstance(roi, dict):
        raise ImageError(f"{path}: an entry of 'ROIs' that is no dictionary")
    name = str(roi.get("Name", ""))
    points, positions = roi.get("Point_px", []), roi.get("Point_mm", [])
    if not isinstance(points, list) or len(points) < 3:
        return None
    if not isinstance(positions, list) or not positions:
        raise ImageError(f"{path}: region {name!r} has no Point_mm, so its slice cannot be told")
    corners = np.array([_numbers(_PAIR, point, name, path) for point in points], dtype=np.float64)
    return Region(name, corners, np.array(_numbers(_TRIPLE, positions[0], name, path), dtype=np.float64))


def _numbers(pattern: re.Pattern[str], text: object, name: str, path: Path) -> tuple[float, ...]:
    match = pattern.fullmatch(text) if isinstance(text, str) and len(text) < 200 else None
    if match is None:
        raise ImageError(f"{path}: region {name!r} has the point {str(text)[:40]!r}; expected numbers as in (12.5, 40)")
    return tuple(float(number) for number in match.groups())
