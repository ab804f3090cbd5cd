"""Make the pictures of the viewer for the documentation, on phantoms, in a headless Chromium.

python tools/screenshots.py docs/images
"""

from __future__ import annotations

import io
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from browser import ARGUMENTS, browser_path  # noqa: E402
from grcsf.viewer.api import ViewerApi  # noqa: E402
from grcsf.viewer.case_list import find_cases  # noqa: E402
from grcsf.viewer.server import ViewerServer  # noqa: E402
from viewer_data import write_predicted_phantoms  # noqa: E402

PICTURES = {
    "viewer.png": (".",),
    "viewer-residual.png": ("u", "4", "n", ".", "."),
}
"""File -> keys that are pressed before it is taken."""


def main(out: Path) -> None:
    """Serve two phantoms and take the pictures."""
    path = browser_path()
    if path is None:
        raise SystemExit("no Chromium on the path; name one in GRCSF_CHROMIUM")
    with tempfile.TemporaryDirectory() as folder:
        made = write_predicted_phantoms(Path(folder), subjects=2, spacing_mm=2.0)
        cases = find_cases(made / "masks", dataset=made / "Dataset900_BrainPhantoms")
        with ViewerServer(ViewerApi(cases)) as server, sync_playwright() as playwright:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
            for name, keys in PICTURES.items():
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                page.set_default_timeout(120_000)
                page.goto(server.address)
                page.wait_for_selector("body[data-ready=yes]")
                for key in keys:
                    page.keyboard.press(key)
                    settle(page)
                save(page.screenshot(), out / name)
                page.close()
            browser.close()
            server.shutdown()


def settle(page: Any) -> None:
    """Until nothing is loading and the picture is drawn."""
    page.wait_for_timeout(1000)
    page.wait_for_selector("body[data-busy='0']")
    page.wait_for_timeout(1000)


def save(content: bytes, path: Path) -> None:
    """As PNG of 256 colours, half the size and no visible difference."""
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    picture.quantize(256, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
