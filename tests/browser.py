"""A headless Chromium for tests of pages: fixtures ``browser`` and ``page``; they skip where there is none.

A ``conftest.py`` of tests that need them says ``from browser import browser, page`` (with ``# noqa: F401``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

__all__ = ["ARGUMENTS", "Recorded", "browser", "browser_path", "page", "recorded"]

ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass
class Recorded:
    """What a page wrote to its console as errors and warnings, its uncaught errors, and the addresses it asked for."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def outside(self, address: str) -> list[str]:
        """Requests that went elsewhere than to ``address`` or the page itself."""
        return [url for url in self.requests if not url.startswith((address, "data:", "blob:"))]


def browser_path() -> str | None:
    """The browser: ``GRCSF_CHROMIUM``, or one on the path."""
    return os.environ.get("GRCSF_CHROMIUM") or next((found for name in _NAMES if (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for the tests of a file, with WebGL 2 drawn on the CPU.

    It must not outlive them: while it is there, Playwright's event loop runs in this thread, and no other can.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="no package playwright: pip install 'grcsf[dev]'")
    path = browser_path()
    if path is None:
        pytest.skip("no browser: Chromium is not on the path (or name it in GRCSF_CHROMIUM)")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, headless=True, args=list(ARGUMENTS))
        yield running
        running.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh page of 1280 x 800 pixels; :func:`recorded` gives what was recorded of it."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    made = context.new_page()
    made.set_default_timeout(60_000)
    notes = Recorded()
    made.on("console", lambda line: notes.errors.append(line.text) if _counts(line) else None)
    made.on("pageerror", lambda error: notes.errors.append(str(error)))
    made.on("request", lambda request: notes.requests.append(request.url))
    made.grcsf_recorded = notes
    yield made
    context.close()


def _counts(line: Any) -> bool:
    """Errors and warnings, but not what the driver that draws on the CPU says of its own pace."""
    return line.type in ("error", "warning") and "GL Driver Message" not in line.text


def recorded(page: Any) -> Recorded:
    """What the page wrote and asked for so far."""
    found = page.grcsf_recorded
    assert isinstance(found, Recorded)
    return found
