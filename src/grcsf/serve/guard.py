"""What stands before every request: host, origin and token checked, headers for browsers set, one line logged.

Source: standard, RFC 6750 (bearer tokens), RFC 9110 (421), OWASP on DNS rebinding and cross-site requests.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
import traceback
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grcsf.serve.pages import OPEN_PATHS
from grcsf.serve.problems import Problem, problem_response
from grcsf.serve.settings import ServeSettings, is_loopback
from grcsf.serve.uploads import drain
from grcsf.viewer.page import HEADERS

__all__ = ["Guard"]

logger = logging.getLogger("grcsf.serve")

_API_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
_KNOWN = re.compile(r"/model|/jobs|/jobs/[A-Za-z0-9_-]{1,64}(?:/(?:maps|view)/[a-z0-9-]{1,40}|/[a-z]{1,20})?")
_READS = ("GET", "HEAD", "OPTIONS")
_METHODS = (*_READS, "POST", "PUT", "PATCH", "DELETE")


class Guard:
    """An ASGI application around another.

    Args:
        app: what answers the requests that pass.
        settings: address and allowed hosts.
        token: that clients must send; none: no token is asked for.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings, token: str | None) -> None:
        self.app = app
        self.origins = frozenset(_bare(name) for name in settings.allowed_hosts)
        self.names = self.origins
        if is_loopback(settings.host):
            self.names |= {"localhost", "127.0.0.1", "::1", _bare(settings.host)}
        self.digest = None if token is None else _digest(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await _Exchange(scope, receive, send).run(self)

    def refuse(self, scope: Scope) -> None:
        """Refuse a request by its headers.

        Raises:
            Problem: 400, not one Host header; 421, another host; 403, a page of another origin; 401, no token.
        """
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1:
            raise Problem(400, "expected one Host header")
        if self.names and _bare(hosts[0]) not in self.names:
            raise Problem(421, "this server does not answer to that name; call it by one that it knows (--allow-host)")
        if scope["method"] not in _READS:
            self._refuse_origin(headers, hosts[0])
        if self.digest is not None and scope["path"] not in OPEN_PATHS:
            kind, _, given = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(_digest(given.strip()), self.digest):
                raise Problem(401, "send the token as: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    def _refuse_origin(self, headers: Headers, host: str) -> None:
        """Browsers say which page a request comes from; programs say nothing."""
        detail = "a page of another site may not send requests here"
        origin = headers.get("origin")
        if origin is None:
            if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
                raise Problem(403, detail)
            return
        try:
            place = urlsplit(origin).netloc.lower()
        except ValueError:
            raise Problem(403, detail) from None
        if not place or (place != host.lower() and _bare(place) not in self.origins):
            raise Problem(403, detail)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.started, self.status, self.sent = time.perf_counter(), 0, 0
        self.all_read = False

    async def run(self, guard: Guard) -> None:
        try:
            try:
                guard.refuse(self.scope)
            except Problem as problem:
                await problem.response()(self.scope, self.receive, self.send)
            else:
                await guard.app(self.scope, self.receive, self.send)
        except ClientDisconnect:
            self.status = self.status or 499
        except Exception as error:
            logger.error("failed: %s", _where(error))
            if self.status:
                raise ConnectionAbortedError from None  # an answer had begun; the server cuts the connection
            response = problem_response(500, "the server failed; its keeper finds the place in the log")
            await response(self.scope, self.receive, self.send)
        finally:
            self._log()

    async def receive(self) -> Message:
        message = await self._receive()
        self.all_read = self.all_read or message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status >= 400:
                await self._read_on()
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Content-Security-Policy", _API_POLICY)
        else:
            self.sent += len(message.get("body", b""))
        await self._send(message)

    async def _read_on(self) -> None:
        """A client that is still sending sees a cut connection instead of the answer, unless its body is read."""
        waits = "expect" in Headers(scope=self.scope)
        if self.scope["method"] in ("POST", "PUT", "PATCH") and not self.all_read and not waits:
            await drain(Request(self.scope, self.receive))

    def _log(self) -> None:
        """One line, without query, address of the client, or anything else that a client or a file wrote."""
        path, method = self.scope["path"], self.scope["method"]
        shown = (
            re.sub(r"(?<=/jobs/)([\w-]{6})[\w-]+", r"\1...", path)
            if path in OPEN_PATHS or _KNOWN.fullmatch(path)
            else "(unknown path)"
        )
        took = time.perf_counter() - self.started
        name = method if method in _METHODS else "(other)"
        logger.info("%s %s %d %d bytes %.3f s", name, shown, self.status, self.sent, took)


def _bare(host: str) -> str:
    """A host in small letters without its port, brackets and last dot."""
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return (text if text.count(":") > 1 else text.partition(":")[0]).removesuffix(".")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _where(error: BaseException) -> str:
    """Class of an error and where it was raised; its message may hold text of a file."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename.rpartition('grcsf')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
