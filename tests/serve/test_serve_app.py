"""The routes, with a stand-in for workers: what is taken, what is refused, and that nothing stays on disk."""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from grcsf.errors import ModelError
from serving import AFFINE, STAND_IN, nifti_bytes, scan, wait_for

Open = Callable[..., object]
GOOD = nifti_bytes(scan())


def send(client: object, *contents: bytes, name: str = "a.nii.gz", **fields: str) -> object:
    files = [("files", (name, content)) for content in contents]
    return client.post("/jobs", files=files, data=fields)  # type: ignore[attr-defined]


def empty(client: object, seconds: float = 10) -> bool:
    """Whether no folder of a job is left, in a while."""
    end = time.monotonic() + seconds
    while client.folders() and time.monotonic() < end:  # type: ignore[attr-defined]
        time.sleep(0.02)
    return not client.folders()  # type: ignore[attr-defined]


def test_a_scan_becomes_a_mask_on_its_grid_and_can_be_deleted(open_client: Open) -> None:
    import nibabel

    client = open_client()
    answer = send(client, GOOD)
    assert answer.status_code == 202
    name = answer.json()["id"]
    found = wait_for(client, name)
    assert found["state"] == "done"
    assert found["result"]["files"] == {"mask": f"/jobs/{name}/mask"}
    mask = client.get(f"/jobs/{name}/mask")
    assert mask.headers["content-disposition"] == 'attachment; filename="mask.nii.gz"'
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(mask.content))
    assert np.array_equal(image.affine, AFFINE)
    assert np.array_equal(np.asarray(image.dataobj), scan() > scan().mean())
    assert client.get(f"/jobs/{name}/probability").status_code == 404
    assert client.get(f"/jobs/{name}/maps/mask").status_code == 404
    assert client.delete(f"/jobs/{name}").status_code == 204
    assert not client.folders()
    assert client.get(f"/jobs/{name}").status_code == 404
    assert client.delete(f"/jobs/{name}").status_code == 404


def test_one_file_can_be_the_whole_body(open_client: Open) -> None:
    client = open_client()
    answer = client.post("/jobs?format=nii.gz&threshold=0.3", content=GOOD)
    found = wait_for(client, answer.json()["id"])
    assert found["result"]["threshold"] == 0.3


def test_options_come_in_the_query_or_in_the_form_but_not_in_both(open_client: Open) -> None:
    client = open_client()
    found = wait_for(client, send(client, GOOD, threshold="0.4").json()["id"])
    assert found["result"]["threshold"] == 0.4
    both = client.post("/jobs?threshold=0.4", files={"files": ("a.nii.gz", GOOD)}, data={"threshold": "0.4"})
    assert both.status_code == 422
    assert "given in the query and in the form" in both.json()["detail"]


@pytest.mark.parametrize(
    "fields",
    [
        {"threshold": "1.5"},
        {"threshold": "nan"},
        {"colour": "XCANARYX"},
        {"XCANARYX": "1"},
        {"spacing_mm": "0,1"},
        {"spacing_mm": "1,1"},  # not for NIfTI
        {"format": "png"},
        {"format": "exe"},
        {"explain": "x" * 1000},
    ],
)
def test_a_wrong_option_is_refused_without_repeating_it(fields: dict[str, str], open_client: Open) -> None:
    client = open_client()
    for answer in (send(client, GOOD, **fields), client.post("/jobs", params=fields, content=GOOD)):
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert "XCANARYX" not in answer.text
        assert not client.folders()


def bomb() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("IM0", b"\0" * 128 + b"DICM" + b"\0" * 100_000_000)
    return held.getvalue()


def leading_out() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("../../../evil", b"\0" * 128 + b"DICM")
    return held.getvalue()


@pytest.mark.parametrize(
    ("content", "name", "status"),
    [
        (b"", "a.nii", 415),
        (b"not an image", "a.nii.gz", 415),
        (b"MZ" * 500, "a.exe", 415),
        (GOOD[:-200], "a.nii.gz", 422),
        (GOOD, "a.png", 422),
        (bomb(), "a.zip", 422),
        (leading_out(), "a.zip", 422),
        (b"NRRD0005\ntype: short\nsizes: 3 3\nencoding: raw\ndata file: /etc/passwd\n\n", "a.nrrd", 422),
    ],
    ids=["empty", "text", "program", "truncated", "ending", "zip-bomb", "zip-out", "nrrd-other-file"],
)
def test_a_hostile_upload_is_refused_and_leaves_nothing(
    content: bytes, name: str, status: int, open_client: Open
) -> None:
    client = open_client(max_unpacked_mb=50)
    answer = send(client, content, name=name)
    assert answer.status_code == status
    assert answer.json()["status"] == status
    assert not client.folders()
    assert client.get("/health").json()["queued"] == 0


def test_a_body_that_is_empty_or_a_form_without_files_is_refused(open_client: Open) -> None:
    client = open_client()
    assert client.post("/jobs", content=b"").status_code == 422
    assert client.post("/jobs", data={"threshold": "0.5"}, files={}).status_code in (415, 422)
    boundary = {"content-type": "multipart/form-data; boundary=x"}
    for body in (
        b"",
        b"garbage",
        b"--x\r\n",
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.nii"\r\n\r\nab',
    ):
        answer = client.post("/jobs", content=body, headers=boundary)
        assert answer.status_code in (400, 422), body
    assert client.post("/jobs", content=b"x", headers={"content-type": "multipart/form-data"}).status_code == 400
    assert not client.folders()


@pytest.mark.parametrize(
    "name", ["../../../../tmp/XCANARYX.nii.gz", "/etc/XCANARYX.nii.gz", "XCANARYX\n.nii.gz", "..."]
)
def test_a_file_name_is_used_neither_on_disk_nor_in_the_log(
    name: str, open_client: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = open_client("slow")
    with caplog.at_level(logging.DEBUG):
        answer = send(client, GOOD, name=name)
    if answer.status_code == 202:
        (folder,) = client.folders()
        assert [path.name for path in (folder / "in").iterdir()] == ["image_0000.nii.gz"]
    assert not [path for path in tmp_path.rglob("*") if "XCANARYX" in path.name]
    assert "XCANARYX" not in caplog.text.replace(str(caplog), "")
    assert "XCANARYX" not in answer.text


def test_a_body_larger_than_the_limit_is_refused_whatever_its_length_is_said_to_be(open_client: Open) -> None:
    client = open_client(max_upload_mb=0.01)

    def chunks() -> Iterator[bytes]:
        for _ in range(300):
            yield b"\0" * 1000

    for body in (chunks(), b"\0" * 300_000):
        answer = client.post("/jobs", content=body)
        assert answer.status_code == 413
        assert not client.folders()
    wrong = client.post("/jobs", content=b"\0" * 300_000, headers={"content-length": "10"})
    assert wrong.status_code == 413


def test_a_model_of_two_channels_takes_two_files_in_order(open_client: Open) -> None:
    client = open_client("two")
    assert client.get("/model").json()["channels"] == ["FLAIR", "T1"]
    answer = send(client, GOOD)
    assert answer.status_code == 422
    assert "1 file(s) came; the model takes 2, one per channel in this order: FLAIR, T1" in answer.json()["detail"]
    assert send(client, GOOD, GOOD, GOOD).status_code == 422
    assert not client.folders()
    assert wait_for(client, send(client, GOOD, nifti_bytes(scan(seed=1))).json()["id"])["state"] == "done"


def test_more_files_than_any_model_takes_are_not_even_written(open_client: Open) -> None:
    client = open_client()
    answer = send(client, *[GOOD] * 65)
    assert answer.status_code == 422
    assert "more than 64 files" in answer.json()["detail"]
    assert not client.folders()


def test_a_full_queue_is_answered_with_429(open_client: Open) -> None:
    client = open_client("slow", queue=2)
    answers = [send(client, GOOD) for _ in range(4)]
    while client.get("/health").json()["running"] < 1:
        time.sleep(0.02)
    assert [answer.status_code for answer in answers[:2]] == [202, 202]
    last = send(client, GOOD), send(client, GOOD)
    refused = next(answer for answer in (*answers, *last) if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    health = client.get("/health").json()
    assert health["running"] == 1
    assert health["queued"] == 2
    assert len(client.folders()) == 3


def test_a_job_that_takes_too_long_is_killed_and_the_next_one_runs(open_client: Open) -> None:
    client = open_client("slow", job_timeout_s=1.0)
    first = send(client, GOOD).json()["id"]
    second = send(client, GOOD, explain="true").json()["id"]  # 0.2 s in the stand-in, others 60 s
    found = wait_for(client, first)
    assert found["state"] == "failed"
    assert "took longer than 1 s" in found["error"]
    assert wait_for(client, second)["state"] == "done"
    assert len(client.folders()) == 1


@pytest.mark.parametrize("mode", ["dies", "wrong"])
def test_a_worker_that_dies_or_answers_nonsense_fails_its_job_alone(mode: str, open_client: Open) -> None:
    client = open_client(mode)
    first, second = (send(client, GOOD, threshold=value).json()["id"] for value in ("0.25", "0.5"))
    found = wait_for(client, first)
    assert found["state"] == "failed"
    assert "died" in found["error"]
    assert wait_for(client, second)["state"] == "done"
    assert client.get("/health").json() == {"status": "ok", "workers": 1, "queued": 0, "running": 0}


def test_a_worker_that_is_killed_between_jobs_is_started_again(open_client: Open) -> None:
    import os
    import signal

    client = open_client()
    (first,) = client.service.pool.pids
    os.kill(first, signal.SIGKILL)
    found = wait_for(client, send(client, GOOD).json()["id"])
    assert found["state"] in ("done", "failed")  # the job may have met the death
    assert wait_for(client, send(client, GOOD).json()["id"])["state"] == "done"
    assert client.service.pool.pids != [first]


def test_the_model_is_loaded_once_per_worker(open_client: Open) -> None:
    client = open_client()
    said = [wait_for(client, send(client, GOOD).json()["id"])["result"]["warnings"][-1] for _ in range(3)]
    (process,) = client.service.pool.pids
    assert said == [f"job {number} of process {process}" for number in (1, 2, 3)]


def test_a_job_that_runs_can_be_deleted(open_client: Open) -> None:
    client = open_client("slow")
    name = send(client, GOOD).json()["id"]
    while client.get(f"/jobs/{name}").json()["state"] != "running":
        time.sleep(0.02)
    assert client.get(f"/jobs/{name}/mask").status_code == 409
    assert client.delete(f"/jobs/{name}").status_code == 204
    assert empty(client)
    assert wait_for(client, send(client, GOOD, explain="true").json()["id"])["state"] == "done"


def test_an_image_that_the_worker_cannot_use_fails_with_a_reason(open_client: Open) -> None:
    client = open_client()
    image = scan(dtype=np.float32)
    image[3, 3, 3] = np.nan
    found = wait_for(client, send(client, nifti_bytes(image)).json()["id"])
    assert found["state"] == "failed"
    assert empty(client)


def test_results_expire(open_client: Open) -> None:
    client = open_client(expire_s=1.0)
    name = send(client, GOOD).json()["id"]
    assert wait_for(client, name)["state"] == "done"
    time.sleep(1.8)
    assert client.get(f"/jobs/{name}").json()["state"] == "expired"
    assert client.get(f"/jobs/{name}/mask").status_code == 410
    assert client.delete(f"/jobs/{name}").status_code == 410
    assert not client.folders()


def test_results_go_soon_after_the_mask_was_fetched(open_client: Open) -> None:
    client = open_client(fetched_expire_s=0.5)
    name = send(client, GOOD).json()["id"]
    wait_for(client, name)
    assert client.get(f"/jobs/{name}/mask").status_code == 200
    time.sleep(1.3)
    assert client.get(f"/jobs/{name}/mask").status_code == 410
    assert not client.folders()


def test_a_model_that_cannot_be_loaded_stops_the_start_and_leaves_nothing(open_client: Open, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model"):
        open_client("absent")
    assert not list((tmp_path / "held").iterdir())


def test_the_end_of_the_server_is_the_end_of_its_files_and_processes(tmp_path: Path) -> None:
    from fastapi.testclient import TestClient

    from grcsf.serve.app import build_app
    from grcsf.serve.service import Service
    from grcsf.serve.settings import ServeSettings
    from serving import alive

    settings = ServeSettings(folder=tmp_path / "held", workers=2)
    service = Service({"models": ["slow"], "folds": [], "device": "cpu"}, settings, command=STAND_IN)
    with TestClient(build_app(service), base_url="http://127.0.0.1") as client:
        for _ in range(3):
            assert send(client, GOOD).status_code == 202
        pids = service.pool.pids
        assert len(pids) == 2
    assert not list((tmp_path / "held").iterdir())
    assert not any(alive(pid) for pid in pids)


def test_pages_are_whole_and_name_nothing_elsewhere(open_client: Open) -> None:
    client = open_client()
    for path in ("/", "/docs", "/plain"):
        answer = client.get(path)
        assert answer.headers["content-type"].startswith("text/html")
        assert "'unsafe" not in answer.headers["content-security-policy"]
        assert "http://" not in answer.text
        assert "https://" not in answer.text
    for name in ("viewer.js", "upload.js", "jobs.js", "docs.js", "plain.js", "page.css", "style.css"):
        answer = client.get(f"/{name}")
        assert answer.status_code == 200
        assert "http://" not in answer.text
        assert "https://" not in answer.text
    cases = client.get("/api/cases").json()
    assert cases["extension"] == "upload.js"
    assert cases["labels"] == {"1": "lesion"}
    for path in (
        "/app.py",
        "/..%2fapp.py",
        "/static/page.css",
        "/%2e%2e/%2e%2e/pyproject.toml",
        "/api/files/x",
        "/redoc",
    ):
        answer = client.get(path)
        assert answer.status_code == 404, path
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_schema_says_what_comes(open_client: Open) -> None:
    client = open_client(token="0123456789abcdef")
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        *("/jobs", "/jobs/{id}", "/jobs/{id}/mask", "/jobs/{id}/probability", "/jobs/{id}/image"),
        *("/jobs/{id}/maps/{name}", "/jobs/{id}/view/{name}", "/model", "/health"),
    }
    assert "HTTPValidationError" not in str(schema)
    assert schema["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    assert client.get("/model").status_code == 401
    assert client.get("/model", headers={"Authorization": "Bearer 0123456789abcdef"}).status_code == 200


def test_fastapi_sends_no_telemetry_whatever_the_environment_says(
    open_client: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    client = open_client()  # with telemetry on, the start would ask for an exporter
    assert client.get("/health").json()["status"] == "ok"
    assert not client.app.app._native_telemetry.enabled()


def test_waiting_for_a_worker_that_never_speaks_ends(tmp_path: Path) -> None:
    import sys

    from grcsf.serve.jobs import JobStore
    from grcsf.serve.pool import WorkerPool
    from grcsf.serve.settings import ServeSettings

    settings = ServeSettings(start_timeout_s=0.5)
    silent = (sys.executable, "-c", "import sys; sys.stdin.read()")
    pool = WorkerPool(JobStore(tmp_path, settings), {}, settings, silent)
    with pytest.raises(ModelError, match="took too long"):
        asyncio.run(pool.start())
    assert pool.alive == 0
