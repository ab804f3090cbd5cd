"""nnU-Net's Python: an environment of its own, made on first use, never that of grcsf."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

from peer_files import PeerError, folder_lock

HERE = Path(__file__).resolve().parent
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLOSC_NTHREADS", "NUMEXPR_MAX_THREADS")


def nnunet_python() -> Path:
    """The interpreter that has nnU-Net: ``NNUNET_PYTHON``, else one in the cache, made if need be.

    Raises:
        PeerError: it is not there, or it could not be made.
    """
    given = os.environ.get("NNUNET_PYTHON")
    if given:
        if not Path(given).is_file():
            raise PeerError(f"NNUNET_PYTHON: {given} is no file; expected the python of nnU-Net's environment")
        return Path(given)
    folder = cache_folder() / "environment"
    with folder_lock(folder.parent):
        if not (folder / "ready").is_file():
            make_environment(folder)
    return interpreter(folder)


def cache_folder() -> Path:
    """``GRCSF_PEERS_CACHE``, else the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("GRCSF_PEERS_CACHE") or Path(base) / "grcsf-peers") / "nnunet"


def interpreter(environment: Path) -> Path:
    """Python of a virtual environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make_environment(folder: Path) -> None:
    """Make a virtual environment with the versions that were tested (about 2 GB).

    Raises:
        PeerError: pip failed; its last words are part of the message.
    """
    sys.stdout.write(f"making nnU-Net's environment in {folder}\n")
    sys.stdout.flush()
    venv.create(folder, with_pip=True, clear=True)
    files = ["-r", str(HERE / "requirements.txt"), "-c", str(HERE / "constraints.txt")]
    command = [str(interpreter(folder)), "-m", "pip", "install", *files]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "pip said nothing").splitlines()[-1]
        raise PeerError(f"nnU-Net cannot be installed ({last}); install it elsewhere and set NNUNET_PYTHON")
    (folder / "ready").touch()


def variables(step: str, work: Path, results: Path, cores: int) -> dict[str, str]:
    """Environment of nnU-Net's processes: its folders, no compiling, ``cores`` threads.

    Augmentation runs in the training process itself (0 workers), where the seeds reach it; the planner, which takes the
    same variable for a number of threads, refuses 0.
    """
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" and not key.startswith("nnUNet_")}
    return {
        **kept,
        **dict.fromkeys(_THREADS, str(cores)),
        "OMP_WAIT_POLICY": "PASSIVE",
        "MPLBACKEND": "Agg",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONUNBUFFERED": "1",
        "nnUNet_raw": str(work / "raw"),
        "nnUNet_preprocessed": str(work / "preprocessed"),
        "nnUNet_results": str(results),
        "nnUNet_n_proc_DA": "0" if step == "train" else str(cores),
        "nnUNet_def_n_proc": str(cores),
        "nnUNet_compile": "f",
    }


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{nnunet_python()}\n")
    except PeerError as error:
        sys.exit(f"error: {error}")
