"""The masks in a folder, and the note of the models and settings that they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from grcsf.errors import OutputError
from grcsf.io.files import read_json, write_json

__all__ = ["Outputs"]


class Outputs:
    """What a prediction writes, and whether what is there came from the same models and settings.

    Args:
        folder: of the masks.
        main: by case, the files without which it is not done.
        present: files of the cases that are there, maps included.
        inputs: files that must not be written over.
    """

    def __init__(
        self,
        folder: Path,
        main: Mapping[str, Sequence[Path]],
        present: Callable[[], Sequence[Path]],
        inputs: set[Path],
    ) -> None:
        self.folder, self.main, self.present, self.inputs = folder, main, present, inputs
        self.path = folder / "prediction.json"

    def missing(self) -> list[str]:
        """Cases without all their masks."""
        return [name for name, paths in self.main.items() if not all(path.is_file() for path in paths)]

    def claimed(self) -> object:
        """The note, if there is one."""
        return read_json(self.path, OutputError) if self.path.is_file() else None

    def claim(self, claim: dict[str, Any], resume: bool) -> None:
        """Write the note, after refusing a folder of other masks, or removing them where they are to be replaced.

        Raises:
            OutputError: an image would be written over, or other masks are to be resumed.
        """
        taken = [name for name, paths in self.main.items() if self.inputs & {path.resolve() for path in paths}]
        if taken:
            raise OutputError(f"{self.folder}: the mask of {taken[0]} would replace its image; choose another output")
        maps = [path.name for path in self.present() if path.resolve() in self.inputs]
        if maps:
            raise OutputError(f"{self.folder}: {maps[0]} is an image that is called like a map; choose another output")
        strange = self.path.is_file() or any(path.is_file() for paths in self.main.values() for path in paths)
        if resume and strange and self.claimed() != claim:
            raise OutputError(
                f"{self.folder}: holds masks of another model or other settings; choose another output or --overwrite"
            )
        if not resume:
            for path in self.present():
                path.unlink()
        write_json(self.path, claim)
