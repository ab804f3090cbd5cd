"""The page in a real browser: it draws, its controls change what is drawn, and nothing leaves the machine."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from browser import recorded
from dicoms import asymmetric
from grcsf.viewer.case_list import find_cases
from grcsf.viewer.layers import CaseList
from grcsf.viewer.server import ViewerServer

pytestmark = pytest.mark.slow
Serve = Callable[[CaseList], ViewerServer]
OBLIQUE = np.array([[-0.9, 0.21, 0.1, 31.5], [0.2, 1.15, -0.3, -12.25], [0.05, 0.33, 2.4, 7.0], [0, 0, 0, 1]])


def show(page: Any, served: Serve, cases: CaseList) -> ViewerServer:
    server = served(cases)
    page.goto(server.address)
    page.wait_for_selector("body[data-ready=yes]")
    settle(page)
    return server


def settle(page: Any) -> None:
    """Until nothing is loading and what was asked for is drawn."""
    page.wait_for_selector("body[data-busy='0']")
    page.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 60))))"
    )
    page.wait_for_selector("body[data-busy='0']")


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)
        settle(page)


def picture(page: Any) -> np.ndarray:
    """The drawn pixels (rows, columns, 3)."""
    return np.asarray(Image.open(io.BytesIO(page.locator("#gl").screenshot())).convert("RGB"), np.int16)


def slide(page: Any, name: str, value: float) -> None:
    page.get_by_role("slider", name=name).evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', { bubbles: true })); }",
        value,
    )
    settle(page)


def readout(page: Any) -> dict[str, str]:
    rows = page.locator("#readout > div").all()
    return {row.locator("dt").inner_text(): row.locator("dd").inner_text() for row in rows}


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


@pytest.fixture
def predicted(phantoms: Path) -> CaseList:
    return find_cases(phantoms / "masks", dataset=phantoms / "Dataset900_BrainPhantoms")


def test_it_draws_without_an_error_and_asks_no_other_server(page, served, predicted):
    server = show(page, served, predicted)
    drawn = picture(page)
    grey = (drawn.max(axis=2) > 60).mean()
    assert 0.05 < grey < 0.9, "a brain on black"
    colourful = (drawn.max(axis=2) - drawn.min(axis=2) > 40).mean()
    assert colourful > 0.001, "overlays in colour"
    press(page, "3", "4", "u", "v", "n", ".", "w", "a", "x", "o", "o")
    assert recorded(page).errors == []
    assert recorded(page).outside(server.address) == []
    assert len(recorded(page).requests) > 8


def test_overlays_can_be_taken_away_and_come_back_as_they_were(page, served, predicted):
    show(page, served, predicted)
    before = picture(page)
    page.get_by_label("Prediction", exact=True).uncheck()
    settle(page)
    without = picture(page)
    assert (before != without).any()
    page.get_by_label("Prediction", exact=True).check()
    settle(page)
    np.testing.assert_array_equal(picture(page), before)
    page.get_by_label("All overlays").uncheck()
    settle(page)
    bare = picture(page)
    two_planes = bare[: bare.shape[0] // 3]  # the crosshair is green, so look at colours other than that
    assert not ((two_planes[..., 0] - two_planes[..., 2]) > 40).any(), "no orange is left"
    press(page, "o")
    np.testing.assert_array_equal(picture(page), before)


def test_opacity_and_threshold_change_the_picture(page, served, predicted):
    show(page, served, predicted)
    seen = [picture(page)]
    slide(page, "Opacity of Prediction", 1.0)
    seen.append(picture(page))
    page.get_by_label("Lesion probability", exact=True).check()
    settle(page)
    seen.append(picture(page))
    slide(page, "Threshold of Lesion probability", 0.9)
    seen.append(picture(page))
    for one, two in pairwise(seen):
        assert (one != two).any()
    slide(page, "Threshold of Lesion probability", 0.1)
    np.testing.assert_array_equal(picture(page), seen[2])
    assert page.locator("[data-kind=prob] .threshold output").inner_text() == "0.100"


def test_a_lesion_of_the_list_takes_the_crosshair_there(page, served, predicted):
    show(page, served, predicted)
    lesions = page.evaluate("() => window.grcsf.state.lesions.lesions")
    before = picture(page)
    for index in (len(lesions) - 1, 0):
        page.locator("#lesions tbody button").nth(index).click()
        settle(page)
        found = readout(page)
        np.testing.assert_allclose(numbers(found["mm (R, A, S)"]), lesions[index]["mm"], atol=0.06)
        assert numbers(found["Voxel"]) == lesions[index]["voxel"]
        assert found[lesions[index]["source"].capitalize()] == "lesion"
        assert page.locator("#lesions tr.current").count() == 1
    assert (picture(page) != before).any()


def test_keys_walk_through_cases_and_lesions(page, served, predicted):
    show(page, served, predicted)
    assert page.locator("#case-name").inner_text() == "phantom-0001"
    first = picture(page)
    press(page, "n")
    assert page.locator("#case-name").inner_text() == "phantom-0002"
    assert page.locator("#cases [aria-current=true]").inner_text().startswith("phantom-0002")
    assert (picture(page) != first).any()
    press(page, "p")
    assert page.locator("#case-name").inner_text() == "phantom-0001"
    np.testing.assert_array_equal(picture(page), first)
    current = "() => window.grcsf.state.lesion"
    press(page, ".", ".")
    assert page.evaluate(current) == 1
    press(page, ",")
    assert page.evaluate(current) == 0
    press(page, ",")
    assert page.evaluate(current) == page.locator("#lesions tbody tr").count() - 1
    press(page, "?")
    assert page.locator("dialog[open]").is_visible()
    press(page, "n", "Escape")
    assert page.locator("#case-name").inner_text() == "phantom-0001", "no key works behind the help"


def test_single_letters_can_be_switched_off_and_do_not_disturb_typing(page, served, predicted):
    show(page, served, predicted)
    page.get_by_label("Filter cases").fill("")
    page.get_by_label("Filter cases").press_sequentially("0002")
    assert page.locator("#cases li").count() == 1
    page.get_by_label("Filter cases").press("n")
    assert page.locator("#case-name").inner_text() == "phantom-0001"
    page.get_by_role("button", name="Keys").click()
    page.get_by_label("Single-letter keys").uncheck()
    page.get_by_role("button", name="Close").click()
    press(page, "n")
    assert page.locator("#case-name").inner_text() == "phantom-0001"


def test_a_screenshot_is_a_png_of_what_is_drawn(page, served, predicted):
    show(page, served, predicted)
    with page.expect_download() as download:
        page.get_by_role("button", name="Screenshot").click()
    assert download.value.suggested_filename == "phantom-0001.png"
    saved = Image.open(download.value.path())
    assert saved.format == "PNG"
    values = np.asarray(saved.convert("RGB"), np.int16)
    np.testing.assert_allclose(values.shape, picture(page).shape, atol=1)  # a part of a pixel at the edge
    assert abs(values.mean() - picture(page).mean()) < 2


def test_the_read_out_of_an_oblique_volume_is_the_place_of_its_voxel(page, served, tmp_path):
    array = asymmetric()
    nibabel.save(nibabel.Nifti1Image(array, OBLIQUE), tmp_path / "oblique.nii.gz")
    show(page, served, find_cases(tmp_path / "oblique.nii.gz"))
    for voxel in ((0, 0, 0), (19, 23, 8), (3, 17, 5), (12, 2, 7)):
        place = (OBLIQUE @ [*voxel, 1])[:3]
        page.evaluate("(mm) => window.grcsf.scene.jump(mm)", place.tolist())
        settle(page)
        found = readout(page)
        assert numbers(found["Voxel"]) == list(voxel)
        np.testing.assert_allclose(numbers(found["mm (R, A, S)"]), place, atol=0.051)
        assert float(found["Image"]) == array[voxel]
    box = page.locator("#gl").bounding_box()
    for across, down in ((0.2, 0.3), (0.25, 0.7), (0.6, 0.2)):
        page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])
        settle(page)
        found = readout(page)
        voxel = tuple(int(value) for value in numbers(found["Voxel"]))
        np.testing.assert_allclose(numbers(found["mm (R, A, S)"]), (OBLIQUE @ [*voxel, 1])[:3], atol=0.051)
        assert float(found["Image"]) == array[voxel]


def write_png(path: Path) -> np.ndarray:
    """Grey with a white corner at the top left, a black one at the bottom right."""
    array = np.full((40, 60), 120, np.uint8)
    array[:10, :15], array[-10:, -15:] = 255, 0
    array[0, 0] = 254
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), path)
    return array


def test_a_png_stands_the_right_way_up(page, served, tmp_path):
    array = write_png(tmp_path / "slice.png")
    show(page, served, find_cases(tmp_path / "slice.png", spacing_mm=(1.0, 1.0)))
    press(page, "x")
    drawn = picture(page)[..., 0]
    rows, columns = np.nonzero(drawn > 80)
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
    height, width = bottom - top + 1, right - left + 1
    assert width / height == pytest.approx(60 / 40, rel=0.05)
    assert drawn[top + height // 10, left + width // 10] > 230, "white at the top left"
    assert drawn[bottom - height // 10, right - width // 10] < 20, "black at the bottom right"
    assert 80 < drawn[top + height // 10, right - width // 10] < 160
    page.mouse.click(*at_picture(page, left + 0.1 * width, top + 0.2 * height))
    settle(page)
    found = readout(page)
    column, row = (int(value) for value in numbers(found["Column, row"]))
    assert abs(column - 6) <= 1
    assert abs(row - 8) <= 1
    assert float(found["Image"]) == array[row, column]
    assert page.locator("#view option:not([disabled])").all_inner_texts() == ["Axial"]
    assert recorded(page).errors == []


def at_picture(page: Any, column: float, row: float) -> tuple[float, float]:
    box = page.locator("#gl").bounding_box()
    return box["x"] + column, box["y"] + row


def test_png_slices_have_masks_and_lesions(page, served, tiny_slices):
    show(page, served, find_cases(tiny_slices))
    before = picture(page)
    press(page, "1")
    assert (picture(page) != before).any()
    press(page, "1", ".")
    assert readout(page)["Reference"] == "lesion"
    assert page.locator("#lesions th").nth(1).inner_text() == "mm²"


def test_ct_begins_with_a_window_and_has_the_named_ones(page, served, tmp_path):
    array = asymmetric()
    array[:4] = -1000
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "ct.nii.gz")
    show(page, served, find_cases(tmp_path / "ct.nii.gz"))
    window, low, high = page.get_by_label("Window"), page.get_by_label("Low"), page.get_by_label("High")
    assert (window.input_value(), low.input_value(), high.input_value()) == ("soft-tissue", "-160", "240")
    before = picture(page)
    for name, limits in (("lung", ("-1000", "400")), ("brain", ("0", "80")), ("calcium", ("-150", "650"))):
        window.select_option(name)
        settle(page)
        assert (low.input_value(), high.input_value()) == limits
    window.select_option("bone")
    settle(page)
    assert (picture(page) != before).any()
    low.fill("-50")
    low.press("Enter")
    settle(page)
    assert page.evaluate("() => window.grcsf.scene.base.cal_min") == -50


def test_a_broken_file_is_told_in_words_and_the_next_case_is_shown(page, served, phantoms, tmp_path):
    good = phantoms / "Dataset900_BrainPhantoms" / "imagesTr" / "phantom-0001_0000.nii.gz"
    (tmp_path / "b.nii.gz").write_bytes(good.read_bytes())
    (tmp_path / "a.nii.gz").write_bytes(good.read_bytes()[:5000])
    show(page, served, find_cases(tmp_path))
    message = page.locator("#message")
    assert "truncated" in message.inner_text()
    assert "a.nii.gz" in message.inner_text()
    assert str(tmp_path) not in message.inner_text()
    press(page, "n")
    assert not message.is_visible()
    assert (picture(page).max(axis=2) > 60).mean() > 0.05


def test_a_broken_overlay_leaves_the_image(page, served, phantoms, tmp_path):
    data = phantoms / "Dataset900_BrainPhantoms"
    (tmp_path / "phantom-0001.nii.gz").write_bytes(b"no mask")
    show(page, served, find_cases(tmp_path, dataset=data))
    assert "not a NIfTI file" in page.locator(".layer .problem").inner_text()
    assert (picture(page).max(axis=2) > 60).mean() > 0.05


def test_without_webgl_the_page_says_what_to_do(page, served, predicted):
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null;")
    page.goto(served(predicted).address)
    page.wait_for_selector("#message:not([hidden])")
    assert "WebGL 2" in page.locator("#message").inner_text()


def test_a_server_that_ended_is_told(page, served, predicted):
    show(page, served, predicted)
    page.route("**/api/**", lambda route: route.abort())
    press(page, "n")
    assert "does not answer" in page.locator("#message").inner_text()


def test_names_are_shown_as_text(page, served, phantoms):
    cases = find_cases(phantoms / "Dataset900_BrainPhantoms")
    nasty = "<img src=x onerror=alert(1)><b>bold"
    first = replace(cases.cases[0], name=nasty)
    show(page, served, replace(cases, title=nasty, cases=(first, *cases.cases[1:]), labels={1: nasty}, notes=(nasty,)))
    press(page, ".")
    assert page.locator("#case-name").inner_text() == nasty
    assert page.locator("#title").inner_text() == nasty
    assert readout(page)["Reference"] == nasty
    assert page.locator("img, b").count() == 0
    assert recorded(page).errors == []


def test_a_dropped_volume_is_shown_and_sent_nowhere(page, served, predicted):
    show(page, served, predicted)
    before, asked = picture(page), len(recorded(page).requests)
    array = asymmetric()
    content = nibabel.Nifti1Image(array, OBLIQUE).to_bytes()
    page.evaluate(
        """(bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "mine.nii"));
            document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        list(content),
    )
    page.get_by_text("mine.nii", exact=True).first.wait_for()
    settle(page)
    assert (picture(page) != before).any()
    voxel = tuple(int(value) for value in numbers(readout(page)["Voxel"]))
    assert float(readout(page)["Image"]) == array[voxel]
    assert len(recorded(page).requests) == asked


EXTENSION = """
const viewer = window.grcsf;
document.getElementById("extension").append(viewer.el("button", { type: "button", id: "mine", click: show }, "Mine"));
document.addEventListener("grcsf:file", (event) => {
  event.preventDefault();
  viewer.tell(`took ${event.detail.file.name}`);
});
async function show() {
  const buffer = await (await fetch("mine.nii")).arrayBuffer();
  const layer = { id: "mine", role: "image", kind: "", label: "Mine", buffer, fileName: "mine.nii" };
  const lesion = { label: "lesion", source: "prediction", number: 1, size: 1, voxels: 1, state: "single" };
  const rest = { score: 0.5, overlap: null, voxel: [3, 17, 5], mm: [1, 2, 3] };
  const lesions = { unit: "ml", preset: "any-overlap", left_out: 0, notes: [], lesions: [{ ...lesion, ...rest }] };
  await viewer.openCase({ name: "Mine", picture: false, modality: null, layers: [layer], lesions });
}
"""


def test_a_part_of_another_server_can_show_a_case_and_take_a_dropped_file(page, served, predicted):
    """``extension`` of ``api/cases``, as a server that takes uploads uses it."""
    server = served(predicted)
    content = nibabel.Nifti1Image(asymmetric(), OBLIQUE).to_bytes()
    page.route(
        "**/api/cases", lambda route: route.fulfill(json={**server.api.cases(), "cases": [], "extension": "up.js"})
    )
    page.route("**/up.js", lambda route: route.fulfill(body=EXTENSION, content_type="text/javascript"))
    page.route("**/mine.nii", lambda route: route.fulfill(body=content))
    page.goto(server.address)
    page.wait_for_selector("body[data-ready=yes]")
    page.locator("#mine").click()
    page.get_by_text("Mine", exact=True).first.wait_for()
    settle(page)
    assert (picture(page).max(axis=2) > 60).mean() > 0.02
    assert page.locator("#lesions tbody tr").count() == 1
    page.evaluate("""() => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(4)], "scan.nii"));
        document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    }""")
    page.wait_for_selector("#message:not([hidden])")
    assert page.locator("#message").inner_text() == "took scan.nii"
    assert recorded(page).errors == []


def test_channels_can_be_chosen(page, served, tiny_volumes):
    show(page, served, find_cases(tiny_volumes))
    before = readout(page)
    page.get_by_label("Channel").select_option(label="Image T1")
    settle(page)
    assert "Image T1" in readout(page)
    assert "Image FLAIR" in before
    assert readout(page)["Voxel"] == before["Voxel"]


@pytest.mark.parametrize("size", [(1280, 800), (420, 860)], ids=["wide", "narrow"])
def test_it_is_accessible_and_fits(page, served, predicted, size):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no package axe-playwright-python")
    page.set_viewport_size({"width": size[0], "height": size[1]})
    show(page, served, predicted)
    press(page, "3", "4", ".")
    for step in ("dark", "light", "help"):
        if step == "light":
            page.get_by_role("button", name="Light or dark panels").click()
        if step == "help":
            page.keyboard.press("?")
        found = axe.Axe().run(page).response["violations"]
        bad = [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]
        assert bad == [], step
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")


def test_everything_can_be_reached_with_the_keyboard(page, served, predicted):
    show(page, served, predicted)
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("() => document.activeElement.id || document.activeElement.getAttribute('aria-label')")
        )
    wanted = {
        "previous-case",
        "view",
        "window",
        "low",
        "high",
        "screenshot",
        "help-button",
        "gl",
        "overlays",
        "outline",
    }
    assert wanted | {"layer-0", "Opacity of Reference", "next-lesion", "filter"} <= set(seen)
    page.locator("#gl").focus()
    before = numbers(readout(page)["Voxel"])
    press(page, "ArrowRight", "PageUp")
    assert numbers(readout(page)["Voxel"]) != before


def test_the_focus_stays_where_it_was_when_a_list_is_made_again(page, served, predicted):
    show(page, served, predicted)
    focused = "() => document.activeElement.id || document.activeElement.getAttribute('aria-label')"
    page.locator("#layer-2").focus()
    press(page, "Space")
    assert page.evaluate(focused) == "layer-2"
    assert page.locator("#layer-2").is_checked()
    page.locator("#lesions button").first.focus()
    press(page, "Enter", ".")
    assert page.evaluate("() => window.grcsf.state.lesion") == 1
    assert page.evaluate(focused) == page.locator("#lesions [aria-current]").get_attribute("aria-label")


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["Dataset510_OpenMs3D", "Dataset501_SoopFlairAxial"])
def test_real_images_are_drawn(page, served, real_data, name):
    found = find_cases(real_data(name))
    server = show(page, served, replace(found, cases=found.cases[:1]))
    assert (picture(page).max(axis=2) > 60).mean() > 0.05
    lesions = page.evaluate("() => window.grcsf.state.lesions.lesions")
    assert lesions
    press(page, ".")
    assert readout(page)["Reference"] != "\u2013"
    assert recorded(page).errors == []
    assert recorded(page).outside(server.address) == []
    assert re.fullmatch(r"[\d., -]+", readout(page).get("mm (R, A, S)") or readout(page)["mm from the top left"])
