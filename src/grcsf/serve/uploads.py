"""Uploads onto disk, counted and timed while they come; nothing that the client says of size or name is believed."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from grcsf.serve.formats import ENDINGS, check_file, format_of_name, identify
from grcsf.serve.problems import Problem
from grcsf.serve.schemas import Format, JobOptions
from grcsf.serve.settings import ServeSettings

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["drain", "receive", "sort_images", "with_fields"]

_BUFFER = 1 << 20
_MOST_FILES = 64
_LONGEST_FIELD = 100
_DRAIN_S = 5.0
_FORM = "multipart/form-data"


@dataclass
class _Arrived:
    """What came: files on disk with what their endings tell, and fields."""

    files: list[tuple[Path, Format | None]] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


async def receive(request: Request, folder: Path, settings: ServeSettings) -> tuple[_Arrived, bool]:
    """Write the body of a request into a folder, as ``part-0``, ``part-1`` ...

    Args:
        request: a form with files, or one file as the whole body.
        folder: exists and is empty.
        settings: the limits.

    Returns:
        What came, and whether it was a form.

    Raises:
        Problem: 400, a damaged form; 408, too slow; 413, too large; 415, an ending that is not taken; 422, no file.
        ClientDisconnect: the client went away.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    is_form = kind.decode("latin-1").lower() == _FORM
    arrived = _Arrived()
    if is_form:
        await _receive_form(request, options.get(b"boundary"), arrived, folder, settings)
    else:
        path = folder / "part-0"
        with path.open("wb") as file:
            async for block in _blocks(request, settings):
                await asyncio.to_thread(file.write, block)
        if path.stat().st_size:
            arrived.files.append((path, None))
    if not arrived.files:
        raise Problem(422, "no file came; send one file per channel as a form, or one file as the body")
    return arrived, is_form


async def drain(request: Request) -> None:
    """Read on for a while what a client sends that was refused, so that it gets to see the answer; keep nothing."""
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in request.stream():
                pass


def sort_images(arrived: _Arrived, options: JobOptions, channels: Sequence[str], settings: ServeSettings) -> list[Path]:
    """Check what came and name it by its format: ``image_0000.nii.gz`` ... in the order of the channels.

    Takes a while, as compressed data are counted through.

    Args:
        arrived: of :func:`receive`.
        options: of the job.
        channels: of the model.
        settings: the limits.

    Returns:
        Files, ready to be read.

    Raises:
        Problem: 415, not taken; 422, not usable, or another number of files than the model takes.
    """
    if len(arrived.files) != len(channels):
        raise Problem(
            422,
            f"{len(arrived.files)} file(s) came; the model takes {len(channels)}, one per channel in this order: "
            f"{', '.join(channels)}",
        )
    images = []
    for number, (path, told) in enumerate(arrived.files):
        if None not in (told, options.format) and told != options.format:
            raise Problem(422, f"the field format is {options.format}, but a file ends in .{told}; correct one of them")
        kind = identify(path, told or options.format)
        named = path.rename(path.with_name(f"image_{number:04d}{ENDINGS[kind]}"))
        check_file(named, kind, settings)
        if options.spacing_mm is not None and kind != "png":
            raise Problem(422, f"spacing_mm is for PNG, but a file is {kind} and holds its own; leave it out")
        images.append(named)
    return images


def with_fields(options: JobOptions, fields: dict[str, str]) -> JobOptions:
    """Options of the query, with those of the fields of a form.

    Raises:
        Problem: 422, an unknown field, a wrong value, or one that is given in both places.
    """
    given = options.model_dump(exclude_unset=True)
    if both := given.keys() & fields.keys():
        raise Problem(422, f"{', '.join(sorted(both))}: given in the query and in the form; give it once")
    try:
        return JobOptions.model_validate({**given, **fields})
    except ValidationError as error:
        known = ", ".join(JobOptions.model_fields)
        wrong = sorted({str(item["loc"][0]) for item in error.errors()} & JobOptions.model_fields.keys())
        detail = f"wrong value of {', '.join(wrong)}" if wrong else "a field that is not known"
        raise Problem(422, f"{detail}; expected {known} as the schema describes them") from None


async def _blocks(request: Request, settings: ServeSettings) -> AsyncIterator[bytes]:
    """The body in blocks of about a megabyte, within the limits of size and time."""
    source = request.stream()
    started, total, held = time.monotonic(), 0, bytearray()
    while True:
        left = started + settings.upload_timeout_s - time.monotonic()
        try:
            chunk = await asyncio.wait_for(anext(source, None), max(0.0, min(left, settings.idle_timeout_s)))
        except TimeoutError:
            raise Problem(
                408,
                f"the upload paused for {settings.idle_timeout_s:g} s or took {settings.upload_timeout_s:g} s; send it "
                "again over a faster line",
                {"Connection": "close"},
            ) from None
        if chunk is None:
            break
        total += len(chunk)
        if total > settings.max_upload_bytes:
            raise Problem(413, f"the upload is larger than {settings.max_upload_mb:g} MB")
        held += chunk
        if len(held) >= _BUFFER:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


async def _receive_form(
    request: Request, boundary: bytes | None, arrived: _Arrived, folder: Path, settings: ServeSettings
) -> None:
    if not boundary:
        raise Problem(400, "a form without a boundary in its Content-Type")
    form = _Form(arrived, folder)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for block in _blocks(request, settings):
            await asyncio.to_thread(parser.write, block)
        parser.finalize()
    except FormParserError:
        raise Problem(400, "a damaged form; expected multipart/form-data with files and fields") from None
    finally:
        form.close()
    if not form.complete:
        raise Problem(400, "a form that ends too early; send it again")


class _Form:
    """Takes the pieces of a form as they are parsed: files go to disk, fields are kept if they are short."""

    def __init__(self, arrived: _Arrived, folder: Path) -> None:
        self.arrived, self.folder = arrived, folder
        self.complete = False
        self._file: IO[bytes] | None = None
        self._name, self._value, self._header = "", bytearray(), bytearray()
        self._headers: dict[str, bytes] = {}
        self._field = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._take,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def close(self) -> None:
        """Close the file that is open, if any."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        self._headers, self._value = {}, bytearray()

    def _end_header(self) -> None:
        self._headers[self._field.decode("latin-1").lower()] = bytes(self._header)
        self._field, self._header = bytearray(), bytearray()

    def _open(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition"))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            return
        if len(self.arrived.files) >= _MOST_FILES:
            raise Problem(422, f"more than {_MOST_FILES} files; send one per channel of the model")
        path = self.folder / f"part-{len(self.arrived.files)}"
        self.arrived.files.append((path, format_of_name(options[b"filename"].decode("utf-8", "replace"))))
        self._file = path.open("wb")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])
            return
        self._value.extend(data[start:end])
        if len(self._value) > _LONGEST_FIELD or len(self.arrived.fields) > len(JobOptions.model_fields):
            raise Problem(422, "a field that is too long, or too many fields; a file needs a file name in its part")

    def _end(self) -> None:
        if self._file is not None:
            self.close()
            return
        name = self._name if re.fullmatch(r"[a-z_]{1,20}", self._name) else "?"
        self.arrived.fields[name] = self._value.decode("utf-8", "replace")

    def _finish(self) -> None:
        self.complete = True
