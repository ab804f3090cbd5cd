"""Servers in processes of their own, over real sockets: slow and broken uploads, tokens, and every way to end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from chain import Done
from serving import (
    CANARY,
    SOURCE,
    STAND_IN_SERVER,
    Running,
    alive,
    children,
    dicom_zip,
    nifti_bytes,
    running,
    scan,
    wait_for,
)

TOKEN = "0123456789abcdef"
GOOD = nifti_bytes(scan())

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="looks processes up in /proc")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with stand-ins for workers and short limits, that asks for a token."""
    limits = ("--set", "idle_timeout_s=1", "--set", "upload_timeout_s=3", "--max-upload-mb", "5")
    work = tmp_path_factory.mktemp("quick")
    with running(Path("plain"), work, *limits, command=STAND_IN_SERVER, token=TOKEN) as server:
        yield server


def connect(server: Running) -> socket.socket:
    place = urlsplit(server.url)
    return socket.create_connection((place.hostname or "", place.port or 0), timeout=30)


def head(length: int, **headers: str) -> bytes:
    lines = ["POST /jobs HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}", f"Authorization: Bearer {TOKEN}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()


def gone(server: Running, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while server.job_folders() and time.monotonic() < end:
        time.sleep(0.05)
    return not server.job_folders()


def answer_of(line: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got and (part := line.recv(4096)):
        got += part
    return got


def test_an_upload_that_pauses_is_ended(quick: Running) -> None:
    with connect(quick) as line:
        line.sendall(head(100_000) + b"x" * 1000)
        started = time.monotonic()
        assert answer_of(line).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - started < 20
    assert gone(quick)


def test_an_upload_that_never_ends_is_ended(quick: Running) -> None:
    with connect(quick) as line:
        line.sendall(head(1_000_000))
        line.settimeout(0.2)
        got, started = b"", time.monotonic()
        while not got and time.monotonic() - started < 30:
            try:
                line.sendall(b"x")  # five bytes a second: no pause is long enough, the whole is
                got = line.recv(4096)
            except TimeoutError:
                continue
        assert got.startswith(b"HTTP/1.1 408")
    assert gone(quick)


def test_a_client_that_goes_away_leaves_nothing(quick: Running) -> None:
    with connect(quick) as line:
        line.sendall(head(4_000_000) + b"x" * 2_000_000)
        end = time.monotonic() + 10
        while not quick.job_folders() and time.monotonic() < end:
            time.sleep(0.02)
        assert quick.job_folders()
    assert gone(quick)
    with quick.client(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        assert client.get("/health").json()["queued"] == 0


def test_a_length_that_is_a_lie_is_counted_all_the_same(quick: Running) -> None:
    with connect(quick) as line:
        line.sendall(head(10**15))
        got = b""
        try:
            for _ in range(200):
                line.sendall(b"x" * 100_000)  # 20 MB, of which 5 are taken
        except OSError:
            pass  # cut once the answer was sent
        try:
            got = answer_of(line)
        except ConnectionResetError:
            pytest.fail("the client could not read the answer")
        assert got.startswith(b"HTTP/1.1 413")
    assert gone(quick)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong-wrong-wrong"}, 401),
        ({"Authorization": f"Bearer {TOKEN}", "Host": "evil.example.org"}, 421),
        ({"Authorization": f"Bearer {TOKEN}", "Origin": "https://evil.example.org"}, 403),
    ],
)
def test_who_may_not_upload_gets_an_answer_and_leaves_nothing(
    headers: dict[str, str], status: int, quick: Running
) -> None:
    with quick.client() as client:
        answer = client.post("/jobs", content=b"x" * 3_000_000, headers=headers)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
    assert not quick.job_folders()


def test_requests_that_are_no_http_do_no_harm(quick: Running) -> None:
    for garbage in (
        b"\x16\x03\x01garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\nHost: b\r\n\r\n",
    ):
        with connect(quick) as line:
            line.sendall(garbage)
            assert answer_of(line)[9:12] in (b"400", b"421", b"")
    with quick.client() as client:
        assert client.get("/health").status_code == 200


def test_the_token_stands_neither_in_the_list_of_processes_nor_in_the_log(quick: Running) -> None:
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (quick.process.pid, *children(quick.process.pid))]
    assert not any(TOKEN.encode() in line for line in lines)
    assert TOKEN not in quick.log.read_text()
    assert "\nTraceback" not in quick.log.read_text()


def test_a_real_model_predicts_nifti_and_dicom_and_no_name_is_logged(tiny_model: Path, tmp_path: Path) -> None:
    with running(tiny_model, tmp_path) as server, server.client() as client:
        model = client.get("/model").json()
        assert model["channels"] == ["FLAIR"]
        sent = [
            client.post("/jobs?explain=true", files={"files": (f"{CANARY}.nii.gz", nifti_bytes(scan(), text=CANARY))}),
            client.post("/jobs", content=dicom_zip(tmp_path / "series")),
        ]
        for answer, names in zip(sent, ({"mask", "residual-r50"}, {"mask", "image"}), strict=True):
            found = wait_for(client, answer.json()["id"])
            assert found["state"] == "done", found
            assert names <= found["result"]["files"].keys()
            assert found["result"]["model"] == model["fingerprint"]
            assert CANARY not in str(found)
            for path in found["result"]["files"].values():
                file = client.get(path)
                assert file.status_code == 200
                assert CANARY[:8].encode() not in file.content
    text = server.log.read_text()
    assert "POST /jobs 202" in text
    assert "explain" not in text
    assert CANARY not in text
    assert not list((tmp_path / "held").iterdir())
    assert server.process.returncode == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_end_in_the_midst_of_a_job_leaves_no_process_and_no_file(
    how: signal.Signals, tmp_path: Path
) -> None:
    with running(Path("slow"), tmp_path, "--workers", "2", command=STAND_IN_SERVER) as server:
        with server.client() as client:
            for _ in range(3):
                assert client.post("/jobs", content=GOOD).status_code == 202
            end = time.monotonic() + 20
            while client.get("/health").json()["running"] < 2:
                assert time.monotonic() < end
                time.sleep(0.05)
        workers = children(server.process.pid)
        assert len(workers) == 2
        assert server.job_folders()
        server.process.send_signal(how)
        assert server.process.wait(30) == 0
        assert not any(alive(pid) for pid in workers)
        assert not list(server.folder.iterdir())


def test_what_a_server_that_was_killed_has_left_goes_at_the_next_start(tmp_path: Path) -> None:
    with running(Path("slow"), tmp_path, command=STAND_IN_SERVER) as server:
        with server.client() as client:
            assert client.post("/jobs", content=GOOD).status_code == 202
        (worker,) = children(server.process.pid)
        server.process.kill()
        server.process.wait(10)
        end = time.monotonic() + 10
        while alive(worker) and time.monotonic() < end:
            time.sleep(0.05)
        assert not alive(worker)  # it ends with its server, in the midst of a job too
        assert server.job_folders()
    with running(Path("plain"), tmp_path, command=STAND_IN_SERVER) as server:
        assert not server.job_folders()
        assert len(list(server.folder.iterdir())) == 1


def test_the_command_refuses_to_be_reachable_without_a_token(
    command_line: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRCSF_SERVE_TOKEN", raising=False)
    done = command_line("serve", "-m", "nowhere", "--host", "0.0.0.0")
    assert done.code == 2
    assert "a token is needed" in done.err
    assert "--token-file" in done.err


def test_the_command_says_what_is_wrong_with_its_flags(command_line: Callable[..., Done], tmp_path: Path) -> None:
    assert command_line("serve", "-m", "x", "--port", "99999").code == 2
    assert command_line("serve", "-m", "x", "--set", "nonsense").code == 2
    assert command_line("serve", "-m", "x", "--set", "colour=1").code == 2
    assert command_line("serve", "-m", "x", "--token-file", tmp_path / "none").code == 2
    assert command_line("serve", "-m", "x", "--token", "secret").code == 2  # there is no such flag


def test_a_model_that_is_none_ends_the_command_with_its_message(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "grcsf", "serve", "-m", str(tmp_path / "none"), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    done = subprocess.run(
        [*line, "--folder", str(tmp_path / "held")],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "none" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "held").iterdir())


def test_a_port_that_is_taken_is_said(quick: Running, command_line: Callable[..., Done], tmp_path: Path) -> None:
    done = command_line("serve", "-m", "x", "--port", urlsplit(quick.url).port, "--folder", tmp_path / "held")
    assert done.code == 1
    assert "cannot listen" in done.err
