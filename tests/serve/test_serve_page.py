"""The front page in a browser: a file is chosen or dropped, predicted, and shown with its mask and maps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import browser, page, recorded  # noqa: F401
from serving import Running, dicom_zip, nifti_bytes, running, scan

TOKEN = "0123456789abcdef"
READY = "body[data-ready=yes]"
DONE = "#upload-state:text-is('done')"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tiny_model, tmp_path_factory.mktemp("page"), token=TOKEN) as started:
        yield started


def opened(page: Any, server: Running, path: str = "/") -> Any:  # noqa: F811
    page.goto(server.url + path)
    if path == "/":
        page.wait_for_selector(READY)
    page.fill("#upload-token", TOKEN)
    page.press("#upload-token", "Tab")
    page.wait_for_selector("#upload-needed:has-text('FLAIR')")
    return page


def test_a_scan_is_shown_with_its_mask_maps_and_lesions(page: Any, server: Running, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(nifti_bytes(scan()))
    opened(page, server).set_input_files("#upload-files", str(path))
    page.wait_for_selector(DONE)
    page.wait_for_selector("#case-name:text-is('Upload')")
    page.wait_for_selector("#lesions button")
    layers = page.inner_text("#layers")
    for name in ("Prediction", "Probability", "Residual, mask ratio 0.50", "Residual, mask ratio 0.75"):
        assert name in layers
    assert "research use only" in page.inner_text("#upload-result")
    page.click("text=Remove from the server")
    page.wait_for_selector("#upload-state:text-is('removed from the server')")
    assert not server.job_folders()
    assert not [line for line in recorded(page).errors if "401" not in line]  # the first question has no token yet
    assert not recorded(page).outside(server.url)


def test_a_zip_of_dicom_is_shown_too(page: Any, server: Running, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "study.zip"
    path.write_bytes(dicom_zip(tmp_path / "series"))
    opened(page, server).set_input_files("#upload-files", str(path))
    page.wait_for_selector(DONE)
    page.wait_for_selector("#lesions button")
    assert not page.is_visible("#message")


def test_a_refusal_is_told_in_words(page: Any, server: Running, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(b"no image")
    for where in ("/", "/plain"):
        opened(page, server, where).set_input_files("#upload-files", str(path))
        page.wait_for_selector("#upload-state.error:has-text('no image that is taken')")


def test_the_plain_page_gives_the_numbers(page: Any, server: Running, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(nifti_bytes(scan()))
    opened(page, server, "/plain").set_input_files("#upload-files", str(path))
    page.wait_for_selector(DONE)
    assert "centre, mm RAS" in page.inner_text("#upload-result")


def test_the_schema_is_a_page(page: Any, server: Running) -> None:  # noqa: F811
    page.goto(f"{server.url}/docs")
    page.wait_for_selector("h2:text-is('POST /jobs')")
    assert "JobView" in page.inner_text("body")
    assert not recorded(page).errors
    assert not recorded(page).outside(server.url)
