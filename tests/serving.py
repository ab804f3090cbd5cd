"""A model so small that it predicts in a second, scans for it, and a server of it on a free port."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import nibabel
import numpy as np

from dicoms import asymmetric, with_canaries, write_series

SOURCE = str(Path(__file__).resolve().parent.parent / "src")
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
CANARY = "XCANARYX"
STAND_IN = (sys.executable, str(Path(__file__).resolve().parent / "serve" / "stand_in.py"))
"""A worker that loads no model; see there."""
STAND_IN_SERVER = (sys.executable, str(Path(__file__).resolve().parent / "serve" / "stand_in_server.py"))
"""``grcsf serve`` with such workers."""


def save_tiny_model(folder: Path, names: Sequence[str] = ("FLAIR",), *, native_2d: bool = False) -> Path:
    """An untrained network with random units and an MAE, for volumes or for PNG; returns its folder."""
    import torch  # here, for most tests need no model

    from grcsf.config import InferenceSettings, MaeSettings, NetworkSettings, Settings
    from grcsf.mae.bundle import MaeBundle
    from grcsf.mae.model import build_mae
    from grcsf.preprocess.normalise import ChannelPlan
    from grcsf.training.package import LesionModel, build_network, save_model
    from stores import plain_plan

    dims = 2 if native_2d else 3
    plan = plain_plan(dims).model_copy(
        update={
            "native_2d": native_2d,
            "axis_order": (0, 1, 2) if native_2d else (2, 1, 0),
            "spacing_mm": (None, None, None),
            "patch_size": (16,) * dims,
            "channels": tuple(ChannelPlan(name=name, scheme="zscore") for name in names),
            "crop": True,
            "file_ending": ".png" if native_2d else ".nii.gz",
        }
    )
    settings = Settings(
        mae=MaeSettings(patch=4, dim=16, depth=1, heads=2, decoder_dim=16, decoder_depth=1),
        network=NetworkSettings(features=(4, 6), rcu_levels=(0,), rcu_patch=4, rcu_dim=8, rcu_heads=2),
        inference=InferenceSettings(min_lesion_peak=0),  # an untrained network is sure of nothing
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        networks = build_mae(settings.mae, dims, len(names)).eval().requires_grad_(False)
        bundle = MaeBundle(networks, settings.mae, dims, len(names), (16,) * dims, "plan", {}, "0" * 64)
        network = build_network(plan, settings, bundle)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    save_model(folder, LesionModel(network.eval().requires_grad_(False), plan, settings, bundle, {}))
    return folder


def scan(shape: tuple[int, ...] = (20, 18, 16), seed: int = 0, dtype: type = np.int16) -> np.ndarray:
    """Noise with a brighter block, in a margin of air."""
    image = np.zeros(shape)
    inside = tuple(slice(2, -2) for _ in shape)
    image[inside] = 300 + 40 * np.random.default_rng(seed).standard_normal(image[inside].shape)
    image[tuple(slice(5, 9) for _ in shape)] += 500
    return image.astype(dtype)


def nifti_bytes(array: np.ndarray, *, packed: bool = True, text: str = "") -> bytes:
    """A NIfTI file with ``text`` in every text field of its header and in an extension."""
    image = nibabel.Nifti1Image(array, AFFINE)
    for name in ("descrip", "aux_file", "intent_name", "db_name", "data_type"):
        image.header[name] = text.encode()[:10]
    if text:
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", text.encode()))
    plain = image.to_bytes()
    return gzip.compress(plain, 1, mtime=0) if packed else plain


def dicom_zip(folder: Path, *, names: str = "{}") -> bytes:
    """A zip of one DICOM series with canaries in every person tag; ``names`` makes the names of its members."""
    files = write_series(folder, asymmetric(), change=with_canaries)
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, names.format(path.name))
    return held.getvalue()


@dataclass
class Running:
    """A server in a process of its own."""

    url: str
    process: subprocess.Popen[str]
    folder: Path
    log: Path

    def client(self, **options: object) -> httpx2.Client:
        return httpx2.Client(**{"base_url": self.url, "timeout": 120, "trust_env": False, **options})

    def job_folders(self) -> list[Path]:
        return list(self.folder.glob("server-*/job-*"))


@contextmanager
def running(
    model: Path, work: Path, *arguments: str, command: Sequence[str] = (), token: str | None = None
) -> Iterator[Running]:
    """``grcsf serve`` (or another command) on a free port; it is ended afterwards."""
    folder, log = work / "held", work / "server.log"
    line = [*(command or (sys.executable, "-m", "grcsf", "serve")), "-m", str(model), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([SOURCE, str(Path(__file__).parent)])}
    environment.pop("GRCSF_SERVE_TOKEN", None)
    if token is not None:
        environment["GRCSF_SERVE_TOKEN"] = token
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*line, "--folder", str(folder), *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready.startswith("ready: http://"), log.read_text()
        yield Running(ready.split()[1].rstrip("/"), process, folder, log)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)
        process.stdout.close()


def wait_for(client: httpx2.Client, name: str, *, seconds: float = 60) -> dict[str, object]:
    """State of a job once it neither waits nor runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = client.get(f"/jobs/{name}").json()
        if found["state"] not in ("queued", "running"):
            return dict(found)
        time.sleep(0.05)
    raise AssertionError(f"still {found['state']} after {seconds} s")


def children(pid: int) -> list[int]:
    """Processes whose parent is ``pid``."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
