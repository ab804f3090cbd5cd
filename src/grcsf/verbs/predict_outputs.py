"""The masks in a folder, and the note of the models, settings and images that they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from grcsf.errors import OutputError
from grcsf.io.files import mark_files, read_json, same_files, write_json

__all__ = ["Outputs"]

_MADE_FROM = "made_from"


class Outputs:
    """What a prediction writes, and whether what is there came from the same models, settings and images.

    Args:
        folder: of the masks.
        main: by case, the files without which it is not done.
        present: files of the cases that are there, maps included.
        images: by case, the files it is read from, which must not be written over; a case that is not in it is told
            by the claim alone.
    """

    def __init__(
        self,
        folder: Path,
        main: Mapping[str, Sequence[Path]],
        present: Callable[[], Sequence[Path]],
        images: Mapping[str, Sequence[Path]],
    ) -> None:
        self.folder, self.main, self.present, self.images = folder, main, present, images
        self.path = folder / "prediction.json"

    def missing(self) -> list[str]:
        """Cases without all their masks."""
        return [name for name, paths in self.main.items() if not all(path.is_file() for path in paths)]

    def are_done(self, claim: Mapping[str, Any]) -> bool:
        """Whether every case has its masks, and all are of this claim and of these images."""
        made_from = self._made_from(claim)
        return not self.missing() and made_from is not None and not self._of_others(made_from)

    def claim(self, claim: Mapping[str, Any], resume: bool) -> dict[Path, str]:
        """Write the note, after refusing a folder of other masks, or removing them where they are to be replaced.

        Returns:
            SHA-256 of the images that could be read.

        Raises:
            OutputError: an image would be written over, or other masks are to be resumed.
        """
        inputs = {path.resolve() for paths in self.images.values() for path in paths}
        taken = [name for name, paths in self.main.items() if inputs & {path.resolve() for path in paths}]
        if taken:
            raise OutputError(f"{self.folder}: the mask of {taken[0]} would replace its image; choose another output")
        present = self.present()
        maps = [path.name for path in present if path.resolve() in inputs]
        if maps:
            raise OutputError(f"{self.folder}: {maps[0]} is an image that is called like a map; choose another output")
        made_from = self._made_from(claim)
        if resume:
            self._refuse_others(made_from)
        else:
            for path in present:
                path.unlink()
        marks = {name: mark_files(paths) for name, paths in self.images.items()}
        write_json(self.path, {**claim, _MADE_FROM: {**(made_from or {}), **marks}})
        pairs = (pair for name, paths in self.images.items() for pair in zip(paths, marks[name], strict=True))
        return {path: mark[2] for path, mark in pairs if mark is not None}

    def _refuse_others(self, made_from: Mapping[str, Any] | None) -> None:
        there = self.path.is_file() or any(path.is_file() for paths in self.main.values() for path in paths)
        if there and made_from is None:
            raise OutputError(
                f"{self.folder}: holds masks of another model or other settings; choose another output or --overwrite"
            )
        others = self._of_others(made_from or {})
        if others:
            raise OutputError(
                f"{self.folder}: the mask of {others[0]} is of another image or another model; choose another output "
                "or --overwrite"
            )

    def _of_others(self, made_from: Mapping[str, Any]) -> list[str]:
        """Cases with a mask that was not made from the images given."""
        there = [name for name in self.images if any(path.is_file() for path in self.main.get(name, ()))]
        return [name for name in there if not same_files(self.images[name], made_from.get(name))]

    def _made_from(self, claim: Mapping[str, Any]) -> dict[str, Any] | None:
        """Marks of the images that the masks in the folder were made from; none where the note is of another claim."""
        note = read_json(self.path, OutputError) if self.path.is_file() else None
        if not isinstance(note, dict):
            return None
        made_from = note.pop(_MADE_FROM, {})
        return made_from if note == claim and isinstance(made_from, dict) else None
