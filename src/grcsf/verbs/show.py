"""``grcsf.show``: images and overlays in the viewer of a notebook."""

from __future__ import annotations

import gzip
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grcsf.errors import ImageError, SettingsError
from grcsf.io.nifti import nifti_bytes
from grcsf.io.thumbnail import shown_name
from grcsf.io.volume import Volume, ending_of, read_volume, stem_of

if TYPE_CHECKING:
    from ipyniivue import NiiVue

__all__ = ["show"]


def show(volume: Volume | str | Path, *overlays: Volume | str | Path, height: int = 400) -> NiiVue:
    """An interactive view of a volume with overlays, in Jupyter (extra ``notebook``).

    The images travel from Python to the page; nothing is fetched from elsewhere. Each is placed by its own header.
    Masks are shown in one colour for all labels, maps of numbers in a warm scale, both half transparent.

    Args:
        volume: an image file, DICOM folder, or what ``grcsf.io.volume.read_volume`` gives.
        overlays: masks or maps to lay over it, such as those of ``grcsf.predict(..., explain=True)``.
        height: of the view in pixels, 50 or more.

    Returns:
        The widget; the last line of a cell shows it.

    Raises:
        SettingsError: the extra is not installed, or a height below 50.
        ImageError: an image that cannot be read.
    """
    if height < 50:
        raise SettingsError(f"show(height={height}): expected 50 pixels or more")
    viewer = _viewer()
    layers = [_volume(one) for one in (volume, *overlays)]
    widget = viewer.NiiVue(height=height)
    widget.load_volumes([viewer.Volume(**_layer(one, index)) for index, one in enumerate(layers)])
    return widget


def _viewer() -> Any:
    try:
        return importlib.import_module("ipyniivue")
    except ImportError as error:
        raise SettingsError("grcsf.show needs the package ipyniivue: pip install 'grcsf[notebook]'") from error


def _volume(given: Volume | str | Path) -> Volume:
    if isinstance(given, Volume):
        if not np.isfinite(given.array).all():
            raise ImageError(f"{shown_name(given)}: holds NaN or infinite values; replace them before it is shown")
        return given
    return read_volume(Path(given))


def _layer(volume: Volume, index: int) -> dict[str, Any]:
    data = gzip.compress(nifti_bytes(volume), compresslevel=1, mtime=0)
    name = f"{stem_of(volume.path)}.nii.gz" if ending_of(volume.path) else f"image-{index}.nii.gz"
    layer: dict[str, Any] = {"data": data, "name": name}
    if index:
        layer |= {"opacity": 0.5, "colormap": "warm" if volume.array.dtype.kind == "f" else "red"}
        top = float(volume.array.max())
        if volume.array.dtype.kind != "f" and top > 0:
            layer |= {"cal_min": 0.0, "cal_max": 1.0}  # every label in the full colour
    return layer
