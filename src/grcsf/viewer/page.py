"""The files of the page and the headers they are sent with; any server of the page uses these."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["CONTENT_SECURITY_POLICY", "HEADERS", "PAGE_FILES", "page_file"]

_FOLDER = Path(__file__).resolve().parent / "static"
_SCRIPT = "text/javascript; charset=utf-8"

PAGE_FILES: Mapping[str, str] = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "viewer.js": _SCRIPT,
    "scene.js": _SCRIPT,
    "panel.js": _SCRIPT,
    "keys.js": _SCRIPT,
    "niivue.umd.js": _SCRIPT,
    "niivue.LICENSE.txt": "text/plain; charset=utf-8",
}
"""Every file of the page with its type; nothing else is ever sent."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""No inline script, no eval, nothing from another server; NiiVue's font and textures are ``data:`` images in it."""

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
"""Sent with every answer, images and errors included."""


def page_file(name: str) -> tuple[bytes, str]:
    """Content and type of a file of the page; the empty name is ``index.html``.

    Raises:
        KeyError: no file of the page has that name.
    """
    name = name or "index.html"
    kind = PAGE_FILES[name]
    return (_FOLDER / name).read_bytes(), kind
