"""What is refused before any route sees it, and what every answer carries."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from grcsf.serve.guard import Guard
from grcsf.serve.settings import ServeSettings

TOKEN = "0123456789abcdef"


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/jobs/broken":
        raise ValueError("text of a header: XCANARYX")
    await PlainTextResponse("passed")(scope, receive, send)


@pytest.fixture
def ask() -> Callable[..., int]:
    """A function that gives the status of a request with headers."""

    def send(
        method: str = "GET",
        path: str = "/model",
        *,
        token: str | None = None,
        settings: ServeSettings | None = None,
        **headers: str,
    ) -> int:
        guard = Guard(inner, settings or ServeSettings(), token)
        client = TestClient(guard, base_url="http://127.0.0.1:8000")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.request(method, path, headers=named).status_code

    return send


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("localhost.", 200),
        ("[::1]:8000", 200),
        ("evil.example.org", 421),
        ("127.0.0.1.evil.example.org", 421),
        ("localhost.evil.example.org:8000", 421),
        ("", 421),
    ],
)
def test_on_loopback_only_its_own_names_are_answered(host: str, status: int, ask: Callable[..., int]) -> None:
    assert ask(host=host) == status


def test_the_name_of_a_proxy_can_be_allowed(ask: Callable[..., int]) -> None:
    settings = ServeSettings(allowed_hosts=("scans.example.org",))
    assert ask(settings=settings, host="scans.example.org") == 200
    assert ask(settings=settings, host="other.example.org") == 421
    assert ask(settings=settings, host="127.0.0.1") == 200


def test_elsewhere_names_are_checked_where_some_are_allowed(ask: Callable[..., int]) -> None:
    assert ask(settings=ServeSettings(host="0.0.0.0"), token=TOKEN, host="any", authorization=f"Bearer {TOKEN}") == 200
    named = ServeSettings(host="0.0.0.0", allowed_hosts=("scans.example.org",))
    assert ask(settings=named, token=TOKEN, host="any", authorization=f"Bearer {TOKEN}") == 421


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:8000"}, 200),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "http://localhost:9999"}, 403),
        ({"origin": "https://evil.example.org"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[broken"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "same-origin"}, 200),
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_pages_of_other_sites_cannot_post(
    method: str, headers: dict[str, str], status: int, ask: Callable[..., int]
) -> None:
    assert ask(method, **headers) == status


def test_a_page_that_a_proxy_serves_can_post(ask: Callable[..., int]) -> None:
    settings = ServeSettings(allowed_hosts=("scans.example.org",))
    assert ask("POST", settings=settings, host="scans.example.org", origin="https://scans.example.org") == 200
    assert ask("POST", settings=settings, origin="https://scans.example.org") == 200  # the proxy kept its own Host


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN} ", 200),
        ("", 401),
        ("Bearer", 401),
        (f"Bearer {TOKEN}0", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
    ],
)
def test_a_token_is_asked_for_where_there_is_one(given: str, status: int, ask: Callable[..., int]) -> None:
    for method, path in (("GET", "/model"), ("POST", "/jobs"), ("DELETE", "/jobs/x"), ("GET", "/anything")):
        assert ask(method, path, token=TOKEN, authorization=given) == status


@pytest.mark.parametrize("path", ["/", "/docs", "/health", "/openapi.json", "/viewer.js", "/upload.js", "/api/cases"])
def test_pages_are_open_as_they_tell_nothing_of_a_scan(path: str, ask: Callable[..., int]) -> None:
    assert ask("GET", path, token=TOKEN) == 200


def test_every_answer_tells_browsers_to_be_careful() -> None:
    client = TestClient(Guard(inner, ServeSettings(), None), base_url="http://127.0.0.1")
    for answer in (client.get("/model"), client.get("/model", headers={"host": "evil"})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


def test_an_error_of_the_server_tells_neither_client_nor_log_its_text(caplog: pytest.LogCaptureFixture) -> None:
    client = TestClient(Guard(inner, ServeSettings(), None), base_url="http://127.0.0.1")
    with caplog.at_level(logging.INFO, "grcsf.serve"):
        answer = client.get("/jobs/broken")
    assert answer.status_code == 500
    assert answer.json()["title"] == "Internal Server Error"
    assert "ValueError" in caplog.text
    assert "XCANARYX" not in caplog.text + answer.text


def test_the_log_holds_no_query_no_address_and_nothing_that_a_client_made_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = TestClient(Guard(inner, ServeSettings(), None), base_url="http://127.0.0.1")
    with caplog.at_level(logging.INFO, "grcsf.serve"):
        client.get("/jobs/abcdefghijklmnop/mask?name=XCANARYX")
        client.get("/XCANARYX%0aforged line")
        client.request("XCANARYX", "/model", headers={"user-agent": "XCANARYX", "referer": "http://XCANARYX/"})
    lines = [record.getMessage() for record in caplog.records if record.name == "grcsf.serve"]
    assert [line.split(" 200 ")[0] for line in lines] == [
        "GET /jobs/abcdef.../mask",
        "GET (unknown path)",
        "(other) /model",
    ]
    assert "testclient" not in caplog.text
