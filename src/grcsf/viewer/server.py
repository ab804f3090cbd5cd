"""The page on this machine's loopback address: static files, JSON and re-encoded volumes by id, and nothing else."""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from grcsf.errors import GrcsfError, SettingsError
from grcsf.io.files import to_plain
from grcsf.viewer.api import UnknownId, ViewerApi, plain_error
from grcsf.viewer.page import HEADERS, page_file

__all__ = ["LOOPBACK", "ViewerServer"]

LOOPBACK = "127.0.0.1"
_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_ROUTE = re.compile(r"api/(?P<what>cases|files)(?:/(?P<id>[0-9a-f]+)(?P<lesions>/lesions)?)?")
_log = logging.getLogger("grcsf")


class ViewerServer(ThreadingHTTPServer):
    """Serves one list of cases until it is shut down.

    It listens on the loopback address only. Requests need a ``Host`` that names this machine (a page of another site
    that has its name point here, DNS rebinding, is refused) and the key in the address, which another user of the
    machine does not know.

    Args:
        api: the answers.
        port: 0 picks a free one.

    Raises:
        SettingsError: the port is taken or cannot be used.
    """

    daemon_threads = True
    allow_reuse_address = False

    def __init__(self, api: ViewerApi, port: int = 0) -> None:
        self.api = api
        self.key = secrets.token_urlsafe(12)
        if not 0 <= port <= 65535:
            raise SettingsError(f"--port {port}: expected 0 (a free one) to 65535")
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise SettingsError(f"--port {port}: {error.strerror or error}; choose another one, or 0") from None

    @property
    def address(self) -> str:
        """Where the page is, with its key."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/{self.key}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error; anything else is logged without a traceback on the terminal."""
        _log.debug("a request ended early", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One request: GET or HEAD."""

    server: ViewerServer
    server_version, sys_version = "grcsf", ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Answer with the content."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Answer without the content."""
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        status, content, kind = self._refuse() or self._route(self._path())
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _refuse(self) -> tuple[int, bytes, str] | None:
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or re.sub(r":\d{1,5}$", "", hosts[0].lower()) not in _HOSTS:
            return _json(403, {"error": "this page is for this machine only"})
        if int(self.headers.get("Content-Length") or 0) or self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            return _json(400, {"error": "a request of this page has no content"})
        return None

    def _path(self) -> str | None:
        """What stands behind the key; none without the right key."""
        parts = urlsplit(self.path)
        key, slash, rest = parts.path.removeprefix("/").partition("/")
        right = secrets.compare_digest(key.encode(), self.server.key.encode())
        return rest if right and slash and not parts.netloc else None

    def _route(self, path: str | None) -> tuple[int, bytes, str]:
        if path is None:
            return _json(404, {"error": "not found; use the whole address that grcsf view printed"})
        match = _ROUTE.fullmatch(path)
        if match is None:
            try:
                return 200, *page_file(path)
            except KeyError:
                return _json(404, {"error": "not found"})
        api, key = self.server.api, match["id"]
        calls: dict[tuple[str, bool, bool], Callable[[], Any]] = {
            ("cases", False, False): api.cases,
            ("cases", True, False): lambda: api.case(key),
            ("cases", True, True): lambda: api.lesions(key),
            ("files", True, False): lambda: api.file(key),
        }
        return _outcome(calls.get((match["what"], key is not None, match["lesions"] is not None)))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Errors of the protocol itself (another method, a broken request): no content, the same headers."""
        self.close_connection = True
        status, content, kind = _json(code, {"error": "GET and HEAD only" if code == 501 else "a broken request"})
        self.send_response(405 if status == 501 else status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        if status == 501:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal: addresses hold the key."""


def _outcome(call: Callable[[], Any] | None) -> tuple[int, bytes, str]:
    if call is None:
        return _json(404, {"error": "not found"})
    try:
        found = call()
    except Exception as error:
        return _failure(error)
    return (200, found, "application/octet-stream") if isinstance(found, bytes) else _json(200, found)


def _failure(error: Exception) -> tuple[int, bytes, str]:
    if isinstance(error, UnknownId):
        return _json(404, {"error": "no such case or file; reload the page"})
    if isinstance(error, GrcsfError):
        return _json(422, {"error": plain_error(error)})
    if isinstance(error, MemoryError):
        return _json(422, {"error": "not enough memory to show this volume"})
    _log.error("the viewer could not answer a request", exc_info=error)
    return _json(500, {"error": "this cannot be shown because of an error in grcsf; its log says more"})


def _json(status: int, tree: Any) -> tuple[int, bytes, str]:
    text = json.dumps(to_plain(tree), ensure_ascii=False, allow_nan=False)
    return status, text.encode(), "application/json; charset=utf-8"
