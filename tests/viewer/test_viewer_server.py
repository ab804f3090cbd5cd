"""The server by itself: who is answered, what can be asked for, and what a broken file does to it. No browser."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from dicoms import MR, PERSON_TAGS, asymmetric, with_canaries, write_series
from grcsf.errors import SettingsError
from grcsf.viewer.api import ViewerApi
from grcsf.viewer.case_list import find_cases
from grcsf.viewer.layers import CaseList, Layer, ViewCase
from grcsf.viewer.page import PAGE_FILES
from grcsf.viewer.server import ViewerServer

Serve = Callable[[CaseList], ViewerServer]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "secret" / "scan.nii.gz"
    path.parent.mkdir()
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([1.0, 2.0, 3.0, 1.0]))
    image.header["descrip"] = b"DOE^JANE"
    nibabel.save(image, path)
    return path


def ask(server: ViewerServer, path: str, method: str = "GET", host: str | None = None, **more: str):
    """Status, headers and content; ``path`` as it is, after the key unless it begins with a slash."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
    whole = path if path.startswith("/") else f"/{server.key}/{path}"
    connection.putrequest(method, whole, skip_host=True)
    for name, value in {"Host": host or f"127.0.0.1:{server.server_address[1]}", **more}.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


def tree(server: ViewerServer, path: str):
    status, _, content = ask(server, path)
    assert status == 200, content
    return json.loads(content)


def test_it_listens_on_the_loopback_address_only(served: Serve, volume: Path) -> None:
    server = served(find_cases(volume))
    assert server.server_address[0] == "127.0.0.1"
    assert server.address.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "localhost.", ""]
)
def test_a_host_that_is_not_this_machine_is_refused(served: Serve, volume: Path, host: str) -> None:
    """DNS rebinding: a page elsewhere lets its own name point to 127.0.0.1."""
    server = served(find_cases(volume))
    for path in ("", "api/cases"):
        status, _, content = ask(server, path, host=host or " ")
        assert status == 403
        assert b"scan" not in content


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST:9999", "[::1]:80"])
def test_names_of_this_machine_are_answered_also_through_a_tunnel(served: Serve, volume: Path, host: str) -> None:
    assert ask(served(find_cases(volume)), "api/cases", host=host)[0] == 200


def test_without_the_key_of_the_address_nothing_is_told(served: Serve, volume: Path) -> None:
    server = served(find_cases(volume))
    wrong = "x" * len(server.key)
    for path in (
        "/",
        "/api/cases",
        f"/{wrong}/api/cases",
        f"/{server.key}",
        f"/{server.key}x/api/cases",
        "/index.html",
    ):
        status, _, content = ask(server, path)
        assert status == 404
        assert b"scan" not in content
    assert served(find_cases(volume)).key != server.key


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"])
def test_only_reading_is_possible(served: Serve, volume: Path, method: str) -> None:
    status, headers, _ = ask(served(find_cases(volume)), "api/cases", method)
    assert status == 405
    assert headers["Allow"] == "GET, HEAD"


def test_head_gives_the_headers_of_get(served: Serve, volume: Path) -> None:
    server = served(find_cases(volume))
    status, headers, content = ask(server, "api/cases", "HEAD")
    assert (status, content) == (200, b"")
    assert headers["Content-Length"] == ask(server, "api/cases")[1]["Content-Length"]


@pytest.mark.parametrize(
    "path",
    [
        *("../../etc/passwd", "..%2f..%2fetc%2fpasswd", "static/index.html", "./index.html", "viewer.js/../viewer.js"),
        *("//etc/passwd", "api/files/../../scan.nii.gz", "api/files/scan.nii.gz", "api/files/", "api", "api/"),
        *("secret/scan.nii.gz", "__init__.py", "page.py", "niivue.umd.js/", "\\index.html", "index.html%00.js"),
        "file:///etc/passwd",
        "//[api/cases",
    ],
)
def test_no_path_leads_to_a_file_that_is_not_of_the_page(served: Serve, volume: Path, path: str) -> None:
    status, headers, content = ask(served(find_cases(volume)), path)
    assert status == 404
    assert headers["Content-Type"].startswith("application/json")
    assert set(json.loads(content)) == {"error"}


def test_a_whole_address_as_the_target_is_not_followed(served: Serve, volume: Path) -> None:
    server = served(find_cases(volume))
    with socket.create_connection(server.server_address[:2], timeout=20) as raw:
        raw.sendall(f"GET http://evil.example/{server.key}/api/cases HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert b" 404 " in raw.recv(200).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "more", [{"Content-Length": "5"}, {"Content-Length": "many"}, {"Transfer-Encoding": "chunked"}]
)
def test_a_request_with_content_is_refused(served: Serve, volume: Path, more: dict[str, str]) -> None:
    assert ask(served(find_cases(volume)), "api/cases", **more)[0] == 400


def test_a_broken_request_ends_and_the_server_goes_on(served: Serve, volume: Path) -> None:
    server = served(find_cases(volume))
    for nonsense in (
        b"\x00\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET //[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"G" * 70000 + b"\r\n\r\n",
    ):
        with socket.create_connection(server.server_address[:2], timeout=20) as raw:
            raw.sendall(nonsense)
            raw.settimeout(20)
            assert b"scan" not in raw.recv(4000)
    assert ask(server, "api/cases")[0] == 200


def test_ids_are_given_out_and_others_are_unknown(served: Serve, volume: Path) -> None:
    server = served(find_cases(volume))
    found = tree(server, "api/cases")
    assert [case["name"] for case in found["cases"]] == ["scan"]
    case = tree(server, f"api/cases/{found['cases'][0]['id']}")
    assert re.fullmatch(r"api/files/[0-9a-f]{24}", case["layers"][0]["url"])
    for path in ("api/cases/00", "api/cases/00/lesions", "api/files/00", f"api/files/{found['cases'][0]['id']}"):
        assert ask(server, path)[0] == 404


def test_no_answer_holds_a_folder_or_a_name_from_a_header(served: Serve, volume: Path) -> None:
    server = served(find_cases(volume))
    listed = tree(server, "api/cases")
    case = tree(server, f"api/cases/{listed['cases'][0]['id']}")
    content = ask(server, case["layers"][0]["url"])[2]
    for text in (json.dumps(listed), json.dumps(case), content.decode("latin-1")):
        assert "DOE" not in text
        assert "secret" not in text
    image = nibabel.Nifti1Image.from_bytes(content)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), np.arange(24).reshape(2, 3, 4))


def test_no_answer_about_dicom_holds_a_name(served: Serve, tmp_path: Path) -> None:
    write_series(tmp_path / "DOE_JANE", asymmetric(), sop_class=MR, change=with_canaries)
    server = served(find_cases(tmp_path / "DOE_JANE"))
    listed = tree(server, "api/cases")
    case = tree(server, f"api/cases/{listed['cases'][0]['id']}")
    texts = [json.dumps(listed), json.dumps(case), ask(server, case["layers"][0]["url"])[2].decode("latin-1")]
    for value in (*PERSON_TAGS.values(), "DOE"):
        assert not any(str(value) in text for text in texts)


def test_every_answer_has_the_headers_that_keep_a_page_to_itself(served: Serve, volume: Path) -> None:
    server = served(find_cases(volume))
    case = tree(server, "api/cases")["cases"][0]["id"]
    for path in (*PAGE_FILES, "api/cases", f"api/cases/{case}", "nothing", "api/files/00"):
        _, headers, _ = ask(server, path)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert ask(server, "")[1]["Content-Type"] == "text/html; charset=utf-8"
    assert ask(server, "viewer.js")[1]["Content-Type"] == "text/javascript; charset=utf-8"


def test_the_page_has_no_inline_script_and_no_address_of_another_server() -> None:
    folder = Path(sys.modules["grcsf.viewer.page"].__file__ or "").parent / "static"
    assert {path.name for path in folder.iterdir()} == set(PAGE_FILES)
    page = (folder / "index.html").read_text("utf-8")
    assert not re.search(r"<script(?![^>]* src=)| style=| on\w+=", page)
    own = [folder / name for name in PAGE_FILES if not name.startswith("niivue")]
    for path in own:
        text = path.read_text("utf-8")
        assert not re.search(r"https?://|innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), (
            path.name
        )


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_image_is_an_error_in_words_and_the_server_goes_on(
    served: Serve, volume: Path, tmp_path: Path, share: float
) -> None:
    bad = volume.parent / "bad.nii.gz"
    content = volume.read_bytes()
    bad.write_bytes(content[: int(share * len(content))])
    server = served(find_cases(volume.parent))
    ids = {case["name"]: case["id"] for case in tree(server, "api/cases")["cases"]}
    layers = {name: tree(server, f"api/cases/{key}")["layers"][0]["url"] for name, key in ids.items()}
    status, _, answer = ask(server, layers["bad"])
    message = json.loads(answer)["error"]
    assert status == 422
    assert "bad.nii.gz" in message
    assert "truncated" in message
    assert str(tmp_path) not in message
    assert ask(server, layers["scan"])[0] == 200


def test_an_error_about_a_dicom_input_does_not_tell_the_name_of_its_folder(served: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "DOE_JANE"
    paths = write_series(folder, asymmetric(), sop_class=MR)
    server = served(find_cases(folder))
    paths[3].write_bytes(paths[3].read_bytes()[:-900])
    case = tree(server, f"api/cases/{tree(server, 'api/cases')['cases'][0]['id']}")
    status, _, content = ask(server, case["layers"][0]["url"])
    assert status == 422
    assert b"DOE" not in content
    assert str(tmp_path).encode() not in content


def test_files_that_are_no_volume_are_errors_in_words(served: Serve, tmp_path: Path) -> None:
    nan = np.full((3, 3, 3), np.nan, np.float32)
    nibabel.save(nibabel.Nifti1Image(nan, np.eye(4)), tmp_path / "nan.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3, 2), np.int16), np.eye(4)), tmp_path / "four.nii.gz")
    (tmp_path / "text.nrrd").write_text("hello", encoding="utf-8")
    (tmp_path / "empty.png").touch()
    server = served(find_cases(tmp_path))
    for case in tree(server, "api/cases")["cases"]:
        url = tree(server, f"api/cases/{case['id']}")["layers"][0]["url"]
        status, _, content = ask(server, url)
        assert status == 422, case["name"]
        assert str(tmp_path) not in content.decode()


def test_masks_on_different_grids_are_listed_with_a_note(served: Serve, tmp_path: Path) -> None:
    small, large = np.ones((2, 2, 2), np.uint8), np.zeros((4, 4, 4), np.uint8)
    large[1, 1, 1] = 1
    for name, array in (("truth", small), ("mask", large), ("image", large)):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
    paths = {role: tmp_path / f"{name}.nii.gz" for role, name in (("image", "image"), ("reference", "truth"))}
    layers = (
        Layer("image", "", "Image", paths["image"]),
        Layer("reference", "", "Reference", paths["reference"]),
        Layer("prediction", "", "Prediction", tmp_path / "mask.nii.gz"),
    )
    api = ViewerApi(CaseList("grids", (ViewCase("a", layers),)))
    found = api.lesions(api.cases()["cases"][0]["id"])
    assert "grids of different size" in found["notes"][0]
    assert [(row["source"], row["state"]) for row in found["lesions"]] == [("prediction", "single")]


def test_lesions_of_the_phantoms_tell_what_was_found_missed_and_invented(served: Serve, phantoms: Path) -> None:
    server = served(find_cases(phantoms / "masks", dataset=phantoms / "Dataset900_BrainPhantoms"))
    case = tree(server, "api/cases")["cases"][0]["id"]
    found = tree(server, f"api/cases/{case}/lesions")
    states = {row["state"] for row in found["lesions"]}
    assert {"matched", "false"} <= states
    assert all(0 <= row["score"] <= 1 for row in found["lesions"])
    assert found["lesions"] == sorted(found["lesions"], key=lambda row: -row["size"])


def test_a_mask_stored_as_floating_point_is_sent_as_labels(served: Serve, tmp_path: Path) -> None:
    for name, values in (("whole", (0.0, 1.0)), ("part", (0.0, 0.5))):
        array = np.zeros((3, 3, 3), np.float32)
        array[1, 1, 1] = values[1]
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
    (tmp_path / "prediction.json").write_text("{}", encoding="utf-8")
    api = ViewerApi(find_cases(tmp_path))
    for case in api.cases()["cases"]:
        key = api.case(case["id"])["layers"][0]["id"]
        kind = nibabel.Nifti1Image.from_bytes(api.file(key)).get_data_dtype()
        assert kind == (np.uint8 if case["name"] == "whole" else np.float32)
        if case["name"] == "whole":
            assert len(api.lesions(case["id"])["lesions"]) == 1


def test_a_png_case_says_that_it_has_no_place_in_a_patient(tiny_slices: Path) -> None:
    api = ViewerApi(find_cases(tiny_slices))
    case = api.case(api.cases()["cases"][0]["id"])
    assert case["picture"] is True
    assert api.lesions(case["id"])["unit"] == "mm2"


def test_a_port_that_is_taken_or_no_port_is_a_settings_error(served: Serve, volume: Path) -> None:
    server = served(find_cases(volume))
    api = ViewerApi(find_cases(volume))
    with pytest.raises(SettingsError, match="choose another one, or 0"):
        ViewerServer(api, server.server_address[1])
    with pytest.raises(SettingsError, match="expected 0"):
        ViewerServer(api, 70000)


def test_answers_come_to_several_readers_at_once(served: Serve, phantoms: Path) -> None:
    server = served(find_cases(phantoms / "Dataset900_BrainPhantoms"))
    case = tree(server, "api/cases")["cases"][0]["id"]
    url = tree(server, f"api/cases/{case}")["layers"][0]["url"]
    sizes: list[int] = []
    threads = [threading.Thread(target=lambda: sizes.append(len(ask(server, url)[2]))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(sizes) == 6
    assert len(set(sizes)) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
def test_the_command_prints_the_address_serves_and_ends_with_ctrl_c(volume: Path) -> None:
    import signal

    command = [sys.executable, "-m", "grcsf", "view", str(volume), "--no-browser"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        address = re.search(r"http://127\.0\.0\.1:\d+/\S+/", running.stdout.readline())
        assert address is not None
        time.sleep(0.3)
        with urllib.request.urlopen(address.group() + "api/cases", timeout=20) as answer:
            assert json.load(answer)["cases"][0]["name"] == "scan"
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == 0
    assert "stopped" in out
    assert err == ""


def test_the_command_names_what_is_wrong(command_line, tmp_path: Path) -> None:
    done = command_line("view", tmp_path / "none", "--no-browser")
    assert done.code == 1
    assert "no such file or folder" in done.err
    SimpleITK.WriteImage(SimpleITK.Image(3, 3, SimpleITK.sitkUInt8), tmp_path / "a.png")
    done = command_line("view", tmp_path / "a.png", "--no-browser", "--preset", "mine")
    assert done.code == 2
    assert "unknown" in done.err
