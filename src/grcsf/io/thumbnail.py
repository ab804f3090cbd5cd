"""One slice of a volume as a small grey picture inside HTML; numpy and the standard library only."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from grcsf.arrays import AnyArray
from grcsf.io.endings import ending_of
from grcsf.io.html import block, escaped, paragraph

if TYPE_CHECKING:
    from grcsf.io.geometry import Volume

__all__ = ["grey_png", "shown_name", "slice_picture", "volume_html"]

_EDGE = 160  # pixels of the picture, at most
_WIDTH = 240  # CSS pixels of its longer side
_LABELS = 32  # whole numbers from 0 to this are taken for a mask


def shown_name(volume: Volume) -> str:
    """Name of the file of a volume; ``DICOM`` for anything that is no image file, whose name may tell of a patient."""
    return volume.path.name if ending_of(volume.path) else "DICOM"


def volume_html(volume: Volume) -> str:
    """Thumbnail, size, spacing and axes of a volume, as a notebook shows it; under 100 kB."""
    picture, size_mm, caption = slice_picture(volume)
    longest = max(size_mm) or 1.0
    height, width = (max(8, round(_WIDTH * edge / longest)) for edge in size_mm)
    geometry = volume.geometry
    shape = " x ".join(map(str, geometry.shape))
    spacing = " x ".join(f"{step:.4g}" for step in geometry.spacing_mm)
    source = base64.b64encode(grey_png(picture)).decode("ascii")
    axes = "" if _is_png(volume) else f", axes {geometry.axes}"
    return block(
        shown_name(volume),
        paragraph(f"{shape} voxels of {spacing} mm{axes}; {volume.array.dtype}"),
        f'<img alt="{escaped(caption)}" src="data:image/png;base64,{source}" '
        f'style="width:{width}px;height:{height}px;image-rendering:pixelated">',
        paragraph(caption),
    )


def slice_picture(volume: Volume) -> tuple[AnyArray, tuple[float, float], str]:
    """The slice to show: the middle one of an image, of a mask the one with most labelled voxels.

    Returns:
        Grey values (rows, columns), uint8, as radiologists look at them (anterior or superior on top, the patient's
        right on the left); height and width in mm; which slice it is.
    """
    array, mask = volume.array, _is_mask(volume.array)
    if _is_png(volume):
        return _grey(array, mask), _extent(array.shape, volume.geometry.spacing_mm), "the whole image"
    directions = volume.geometry.affine_ras[:3, : array.ndim] / np.asarray(volume.geometry.spacing_mm)
    caption = "the whole image"
    kept = list(range(array.ndim))
    if array.ndim == 3:
        across = int(np.argmax(np.abs(directions[2])))
        kept.remove(across)
        index = array.shape[across] // 2
        if mask and array.any():
            index = int(np.argmax((array != 0).sum(axis=tuple(kept))))
        array = np.take(array, index, axis=across)
        chosen = "most labelled voxels" if mask else "the middle"
        caption = f"slice {index + 1} of {volume.array.shape[across]} along axis {'xyz'[across]} ({chosen})"
    columns = max(kept, key=lambda axis: abs(directions[0, axis]))
    rows = kept[1 - kept.index(columns)]
    picture = array if kept[0] == rows else array.T
    up = directions[1:, rows]  # to anterior, to superior
    if up[int(np.argmax(np.abs(up)))] > 0:
        picture = picture[::-1]
    if directions[0, columns] > 0:
        picture = picture[:, ::-1]
    spacing = volume.geometry.spacing_mm
    return _grey(picture, mask), _extent(picture.shape, (spacing[rows], spacing[columns])), caption


def grey_png(picture: AnyArray) -> bytes:
    """A grey PNG of (rows, columns) uint8.

    Source: standard, ISO/IEC 15948 (PNG): signature, IHDR, one IDAT of unfiltered rows, IEND.
    """
    rows, columns = picture.shape
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), picture.astype(np.uint8)], axis=1)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    )
    made = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def _is_png(volume: Volume) -> bool:
    return volume.array.ndim == 2 and ending_of(volume.path) == ".png"


def _is_mask(array: AnyArray) -> bool:
    if array.dtype.kind == "b":
        return True
    return array.dtype.kind in "ui" and array.size > 0 and array.min() >= 0 and array.max() <= _LABELS


def _extent(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> tuple[float, float]:
    return shape[0] * spacing_mm[0], shape[1] * spacing_mm[1]


def _grey(picture: AnyArray, mask: bool) -> AnyArray:
    """0 to 255 from the 1st to the 99th percentile; a mask from 0 to its largest label, thinned so that none is lost.

    Thinning keeps the largest label of a block and one voxel of a block of an image.
    """
    thin = [max(1, -(-edge // _EDGE)) for edge in picture.shape]
    if mask:
        small = _blockwise_max(picture.astype(np.uint8), thin)
        low, high = 0.0, float(small.max())
    else:
        small = np.nan_to_num(picture[:: thin[0], :: thin[1]].astype(np.float64), posinf=0.0, neginf=0.0)
        low, high = (float(value) for value in np.percentile(small, [1, 99]))
    if high <= low:
        return np.zeros(small.shape, np.uint8)
    return np.round(np.clip((small - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _blockwise_max(picture: AnyArray, thin: list[int]) -> AnyArray:
    for axis, step in enumerate(thin):
        picture = np.maximum.reduceat(picture, np.arange(0, picture.shape[axis], step), axis=axis)
    return picture
