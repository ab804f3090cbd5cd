"""A real browser for pages: Chromium without a window, every console error and every request written down.

A test module takes the fixtures by ``from browser import browser, page`` (skipped where there is no browser).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@dataclass
class Recorded:
    """A page of the browser and what happened on it.

    Attributes:
        tab: Playwright's page.
        errors: console errors and warnings, and exceptions of scripts.
        requests: addresses that the page asked for, data URIs left out.
    """

    tab: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, path: Path) -> Any:
        """Load a file from disk and give Playwright's page."""
        self.tab.goto(path.resolve().as_uri())
        return self.tab


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; skips where Playwright or the browser is absent."""
    playwright = pytest.importorskip("playwright.sync_api", reason="browser tests need the package playwright")
    if CHROMIUM is None:
        pytest.skip("browser tests need Chromium on the path")
    with playwright.sync_playwright() as session:
        started = session.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Recorded]:
    """A fresh page of the browser with everything recorded."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    record = Recorded(context.new_page())
    record.tab.on("console", lambda m: record.errors.append(m.text) if m.type in ("error", "warning") else None)
    record.tab.on("pageerror", lambda error: record.errors.append(str(error)))
    record.tab.on("request", lambda r: None if r.url.startswith("data:") else record.requests.append(r.url))
    yield record
    context.close()
