"""Fifty uploads of 20 MB at a time for two workers: none is lost, and memory stays within a bound that is reckoned."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving import STAND_IN_SERVER, children, nifti_bytes, running, scan, wait_for

UPLOADS = 50
SHAPE = (216, 216, 215)  # 10.03e6 voxels of two bytes: 20 MB
MB = 1e6

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads peak memory in /proc"),
]


def peak_mb(pid: int) -> float:
    """Largest resident memory so far, MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(kib) * 1024 / MB


@pytest.mark.timeout(600)
def test_fifty_uploads_at_a_time_are_all_predicted_within_a_bound_of_memory(
    tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    image = np.random.default_rng(0).integers(0, 1000, SHAPE, np.int16)
    content = nifti_bytes(image, packed=False)
    assert 20 * MB < len(content) < 21 * MB
    limits = ("--workers", "2", "--queue", str(UPLOADS))
    with running(Path("plain"), tmp_path, *limits, command=STAND_IN_SERVER) as server, server.client() as client:
        for _ in range(4):  # every library that reading and writing needs is loaded in both workers
            wait_for(client, client.post("/jobs", content=nifti_bytes(scan())).json()["id"])
        pids = {"server": server.process.pid, **{f"worker {n}": p for n, p in enumerate(children(server.process.pid))}}
        idle = {name: peak_mb(pid) for name, pid in pids.items()}
        gate = threading.Barrier(UPLOADS)

        def upload(_: int) -> str:
            gate.wait()
            with server.client(timeout=500) as own:
                answer = own.post("/jobs", content=content)
                assert answer.status_code == 202, answer.text
                return str(answer.json()["id"])

        started = time.monotonic()
        with ThreadPoolExecutor(UPLOADS) as threads:
            names = list(threads.map(upload, range(UPLOADS)))
        uploaded = time.monotonic() - started
        states = [wait_for(client, name, seconds=500)["state"] for name in names]
        seconds = time.monotonic() - started
        peak = {name: peak_mb(pid) for name, pid in pids.items()}
    assert states == ["done"] * UPLOADS
    assert len(set(names)) == UPLOADS
    grown = {name: peak[name] - idle[name] for name in pids}
    record_property("load", f"uploads {uploaded:.0f} s, all {seconds:.0f} s, idle {idle}, peak {peak}")
    # The server holds per upload one block of 1 MiB twice (gathered, and on its way to disk) and what the socket and
    # the parser hold, 2 x 64 KiB; two files at a time are checked, in blocks of 1 MiB twice. Python gives memory back
    # late, so twice that: 2 x (50 x 2.25 + 2 x 2) MiB = 233 MiB. Kept in memory whole, the uploads would be 1000 MB.
    assert grown["server"] < 2 * (UPLOADS * 2.25 + 4) * 1.048576
    # A worker holds the file (2 bytes a voxel), the image (2), comparison, mask and their bytes on the way to disk
    # (1 each, 4 in all): 8 bytes of 10.03e6 voxels are 80 MB; twice that for what is given back late.
    for name in list(grown)[1:]:
        assert grown[name] < 2 * 8 * np.prod(SHAPE) / MB


@pytest.mark.timeout(300)
def test_more_than_the_queue_holds_are_told_to_come_back_and_then_taken(tmp_path: Path) -> None:
    content = nifti_bytes(scan())
    with (
        running(Path("plain"), tmp_path, "--queue", "2", command=STAND_IN_SERVER) as server,
        server.client() as client,
    ):
        refused, names = 0, []

        def send(_: int) -> tuple[int, str]:
            waits = 0
            while (answer := client.post("/jobs", content=content)).status_code == 429:
                waits += 1
                assert int(answer.headers["retry-after"]) >= 1
                time.sleep(0.2)
            assert answer.status_code == 202
            return waits, str(answer.json()["id"])

        with ThreadPoolExecutor(20) as threads:
            for waits, name in threads.map(send, range(20)):
                refused += waits
                names.append(name)
        assert refused
        assert [wait_for(client, name)["state"] for name in names] == ["done"] * 20
