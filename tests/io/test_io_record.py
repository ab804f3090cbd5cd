"""run.json says what ran and how it ended, and names nobody."""

from __future__ import annotations

import getpass
import json
import logging
import os
import socket
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from grcsf.errors import ImageError, OutputError
from grcsf.io.files import hash_file
from grcsf.io.record import RunRecord


def read(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


@pytest.fixture
def private(tmp_path) -> Path:
    """An input in a folder named after a patient."""
    folder = tmp_path / "Erika Mustermann" / "scans"
    folder.mkdir(parents=True)
    (folder / "case.nii.gz").write_bytes(b"voxels")
    return folder


def test_a_finished_run_is_described(tmp_path, private):
    out = tmp_path / "out"
    settings = {"training": {"steps": 3}}
    with RunRecord(
        out, verb="train", settings=settings, inputs=[private / "case.nii.gz"], seed=7, device="cpu"
    ) as record:
        record.add("cases", np.int64(12))
    run = read(out)
    assert run["verb"] == "train"
    assert run["settings"] == settings
    assert run["inputs"] == {"case.nii.gz": hash_file(private / "case.nii.gz")}
    assert (run["seed"], run["device"], run["cases"]) == (7, "cpu", 12)
    assert (run["status"], run["error"]) == ("done", None)
    assert run["versions"]["numpy"] == np.__version__
    assert run["seconds"] >= 0
    assert run["cpu_seconds"] >= 0
    assert run["peak_memory_mb"] > 1
    assert datetime.fromisoformat(run["started"]).utcoffset().total_seconds() == 0


def test_no_record_imports_torch(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from grcsf.io.record import RunRecord\n"
        "with RunRecord(Path(sys.argv[1]), verb='x'): pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code, tmp_path], env=environment, check=False).returncode == 0


def test_a_users_error_is_kept_without_folders(tmp_path, private):
    path = private / "case.nii.gz"
    with (
        pytest.raises(ImageError),
        RunRecord(tmp_path / "out", verb="predict", inputs=[path]),
    ):
        raise ImageError(f"{path}: truncated; see /data/Jane/scans/b.nii.gz and/or 3/4 of the rest")
    run = read(tmp_path / "out")
    assert run["status"] == "failed"
    assert run["error"] == "ImageError: case.nii.gz: truncated; see b.nii.gz and/or 3/4 of the rest"
    assert "Mustermann" not in (tmp_path / "out" / "grcsf.log").read_text()


def test_messages_of_cases_and_lines_of_the_log_name_no_folder(tmp_path, private):
    path = private / "case.nii.gz"
    with RunRecord(tmp_path / "out", verb="predict", inputs=[path]) as record:
        logging.getLogger("grcsf").error("case: %s: truncated", path)
        record.add_messages("failed", {"case": f"{path}: truncated"})
    assert read(tmp_path / "out")["failed"] == {"case": "case.nii.gz: truncated"}
    (line,) = (tmp_path / "out" / "grcsf.log").read_text().splitlines()
    assert line.endswith("Z ERROR case: case.nii.gz: truncated")


@pytest.mark.parametrize("error", [ValueError("/data/Jane/secret"), KeyboardInterrupt("Jane")])
def test_of_any_other_error_only_the_class_is_kept(tmp_path, error):
    with pytest.raises(type(error)), RunRecord(tmp_path, verb="train"):
        raise error
    run = read(tmp_path)
    assert (run["status"], run["error"]) == ("failed", type(error).__name__)
    assert "Jane" not in (tmp_path / "run.json").read_text()


def test_neither_user_nor_host_nor_folder_is_written(tmp_path, private):
    with RunRecord(tmp_path / "out", verb="train", inputs=[private]):
        pass
    run = read(tmp_path / "out")
    del run["versions"]
    words = set(json.dumps(run).replace('"', " ").replace(",", " ").split())
    assert not words & {socket.gethostname(), getpass.getuser(), str(tmp_path)}
    assert "Mustermann" not in json.dumps(run)


def test_a_data_set_is_hashed_by_its_description(tmp_path):
    folder = tmp_path / "Dataset001"
    folder.mkdir()
    (folder / "dataset.json").write_text("{}")
    with RunRecord(tmp_path / "out", verb="train", inputs=[folder, tmp_path / "gone.json"]):
        pass
    assert read(tmp_path / "out")["inputs"] == {"Dataset001": hash_file(folder / "dataset.json"), "gone.json": None}


def test_inputs_of_the_same_name_are_told_apart(tmp_path):
    paths = [tmp_path / fold / "model.json" for fold in ("fold_0", "fold_1")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(path.parent.name)
    with RunRecord(tmp_path / "out", verb="predict", inputs=paths):
        pass
    assert set(read(tmp_path / "out")["inputs"]) == {"fold_0/model.json", "fold_1/model.json"}


def test_entries_of_the_record_itself_cannot_be_replaced(tmp_path):
    with RunRecord(tmp_path, verb="train") as record:
        with pytest.raises(ValueError, match=r"run\.json writes 'status' itself"):
            record.add("status", "done")
        with pytest.raises(TypeError, match="as JSON"):
            record.add("object", object())


def test_the_record_of_an_earlier_run_is_gone_while_the_next_one_runs(tmp_path):
    with RunRecord(tmp_path, verb="train"):
        pass
    with RunRecord(tmp_path, verb="train"):
        assert not (tmp_path / "run.json").exists()
    assert read(tmp_path)["status"] == "done"


def test_the_log_is_open_only_inside(tmp_path):
    logger = logging.getLogger("grcsf")
    level, handlers = logger.level, list(logger.handlers)
    logging.getLogger("grcsf.training").info("before")
    with RunRecord(tmp_path, verb="train"):
        logging.getLogger("grcsf.training").info("inside")
    logging.getLogger("grcsf.training").info("after")
    lines = (tmp_path / "grcsf.log").read_text().splitlines()
    assert [line.split("Z ")[1] for line in lines] == ["INFO inside"]
    assert (logger.level, logger.handlers) == (level, handlers)


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match="a file is in its place"), RunRecord(tmp_path / "out", verb="train"):
        pass
