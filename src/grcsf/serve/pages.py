"""The pages: that of the viewer with a part that uploads, a plain one for browsers without WebGL, and the schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi.responses import Response

from grcsf.serve.problems import Problem
from grcsf.serve.schemas import ModelView
from grcsf.viewer.api import CT_WINDOWS
from grcsf.viewer.page import CONTENT_SECURITY_POLICY, PAGE_FILES, page_file

__all__ = ["OPEN_PATHS", "PAGE_POLICY", "list_of_cases", "page"]

_FOLDER = Path(__file__).with_name("static")
_HTML, _SCRIPT = "text/html; charset=utf-8", "text/javascript; charset=utf-8"
_OWN: Mapping[str, tuple[str, str]] = {
    "plain": ("plain.html", _HTML),
    "docs": ("docs.html", _HTML),
    "plain.js": ("plain.js", _SCRIPT),
    "docs.js": ("docs.js", _SCRIPT),
    "jobs.js": ("jobs.js", _SCRIPT),
    "upload.js": ("upload.js", _SCRIPT),
    "page.css": ("page.css", "text/css; charset=utf-8"),
}
"""Last part of an address -> file and type; nothing else is ever sent."""

PAGE_POLICY = CONTENT_SECURITY_POLICY.replace("connect-src 'self'", "connect-src 'self' blob:")
"""That of the viewer; ``blob:`` is what the page itself made, such as the list of lesions of a job."""

OPEN_PATHS = frozenset({"/", "/health", "/openapi.json", "/api/cases"} | {f"/{name}" for name in (*PAGE_FILES, *_OWN)})
"""Answered without a token: they tell nothing of any scan."""


def page(name: str) -> Response:
    """A file of a page; the empty name is the front page.

    Raises:
        Problem: 404, no file of a page.
    """
    headers = {"Content-Security-Policy": PAGE_POLICY}
    if name in _OWN:
        file, kind = _OWN[name]
        return Response((_FOLDER / file).read_bytes(), media_type=kind, headers=headers)
    try:
        content, kind = page_file(name)
    except KeyError:
        raise Problem(404, "there is nothing at this path; /docs names what there is") from None
    return Response(content, media_type=kind, headers=headers)


def list_of_cases(model: ModelView) -> dict[str, Any]:
    """``api/cases`` of :mod:`grcsf.viewer.api`: none, for uploads are shown by the script that it names."""
    return {
        "title": "grcsf",
        "notes": [],
        "labels": {str(value): name for name, value in model.labels.items() if value},
        "windows": [{"name": n, "label": label, "low": low, "high": high} for n, label, low, high in CT_WINDOWS],
        "extension": "upload.js",
        "cases": [],
    }
