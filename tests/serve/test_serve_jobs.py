"""Who waits, who runs, and when what is held goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from grcsf.errors import OutputError
from grcsf.io.locks import folder_lock
from grcsf.serve.folders import private_folder
from grcsf.serve.jobs import Job, JobStore
from grcsf.serve.problems import Problem
from grcsf.serve.schemas import Result
from grcsf.serve.settings import ServeSettings

RESULT = Result(
    labels=[],
    lesions=[],
    volume_ml=0,
    area_mm2=None,
    shape=[1, 1, 1],
    spacing_mm=[1, 1, 1],
    threshold=0.5,
    model="m",
    files={},
    warnings=[],
    seconds=4.0,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> JobStore:
    return JobStore(tmp_path, ServeSettings(queue=3, max_jobs=4, expire_s=60, fetched_expire_s=10), clock)


def waiting(store: JobStore) -> Job:
    job = store.admit()
    store.enqueue(job)
    return job


def done(store: JobStore) -> Job:
    job = waiting(store)
    assert store.next() is job
    mask = job.folder / "out" / "mask.nii"
    mask.write_bytes(b"mask")
    store.finish(job, RESULT, {"mask": mask})
    return job


def test_jobs_run_in_the_order_in_which_they_came(store: JobStore) -> None:
    jobs = [waiting(store) for _ in range(3)]
    assert [store.position(job) for job in jobs] == [1, 2, 3]
    assert [store.next() for _ in range(4)] == [*jobs, None]
    assert [store.position(job) for job in jobs] == [0, 0, 0]
    assert store.running == 3


def test_names_cannot_be_guessed(store: JobStore) -> None:
    names = {waiting(store).id for _ in range(3)}
    assert len(names) == 3
    assert all(len(name) == 32 for name in names)  # 24 random bytes in base64
    assert not any(name in str(path) for name in names for path in store.folder.iterdir())


def test_a_full_queue_says_when_to_come_back(store: JobStore) -> None:
    store.admit()  # one that arrives counts too
    for _ in range(2):
        waiting(store)
    with pytest.raises(Problem) as error:
        store.admit()
    assert error.value.status == 429
    assert 1 <= int(error.value.headers["Retry-After"]) <= 600
    store.next()
    store.admit()


def test_results_that_nobody_fetches_fill_the_store_until_they_expire(store: JobStore, clock: Clock) -> None:
    for _ in range(4):
        done(store)
    with pytest.raises(Problem, match="too many results") as error:
        store.admit()
    assert error.value.headers["Retry-After"] == "61"  # all end in 60 s
    clock.now += 60
    store.expire()
    store.admit()


def test_too_little_disk_is_said_before_an_upload_begins(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="free disk") as error:
        JobStore(tmp_path, ServeSettings(max_upload_mb=1e12)).admit()
    assert error.value.status == 507
    assert not list(tmp_path.iterdir())


def test_an_upload_goes_when_it_is_predicted_and_the_rest_when_it_expires(store: JobStore, clock: Clock) -> None:
    job = done(store)
    assert sorted(path.name for path in job.folder.iterdir()) == ["out"]
    clock.now += 59.9
    store.expire()
    assert store.view(job.id).state == "done"
    clock.now += 0.1
    store.expire()
    assert not job.folder.exists()
    assert store.view(job.id).state == "expired"
    with pytest.raises(Problem) as error:
        store.file(job.id, "mask")
    assert error.value.status == 410


def test_a_mask_that_was_fetched_is_held_for_a_shorter_time(store: JobStore, clock: Clock) -> None:
    job = done(store)
    store.fetched(job)
    clock.now += 5
    store.fetched(job)  # no longer for being fetched again
    clock.now += 5
    store.expire()
    assert store.view(job.id).state == "expired"


def test_fetching_late_does_not_lengthen_the_time(store: JobStore, clock: Clock) -> None:
    job = done(store)
    clock.now += 55
    store.fetched(job)
    clock.now += 5
    store.expire()
    assert store.view(job.id).state == "expired"


def test_a_job_that_failed_leaves_no_file_but_its_reason(store: JobStore) -> None:
    job = waiting(store)
    store.next()
    store.fail(job, "why")
    assert not job.folder.exists()
    assert store.view(job.id).error == "why"


def test_an_upload_that_was_refused_leaves_nothing(store: JobStore) -> None:
    job = store.admit()
    store.drop(job)
    assert not list(store.folder.iterdir())
    assert store.facts() == {"queued": 0, "running": 0}
    with pytest.raises(Problem) as error:
        store.view(job.id)
    assert error.value.status == 404


def test_files_of_a_job_that_waits_cannot_be_fetched_yet(store: JobStore) -> None:
    job = waiting(store)
    with pytest.raises(Problem, match="is queued") as error:
        store.file(job.id, "mask")
    assert error.value.status == 409
    store.forget(job)
    assert store.next() is None


def test_a_private_folder_is_private_and_goes_with_its_server(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with private_folder(root) as folder:
        assert folder.stat().st_mode & 0o077 == 0
        assert root.stat().st_mode & 0o077 == 0
        with private_folder(root) as other:  # of a second server, which leaves that of the first alone
            assert other != folder
            assert folder.exists()
    assert not list(root.iterdir())


def test_what_a_server_that_died_has_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    left, held, foreign = (tmp_path / name for name in ("server-dead", "server-live", "other"))
    for folder in (left, held, foreign):
        (folder / "job").mkdir(parents=True)
    with folder_lock(held) as lock, private_folder(tmp_path):
        assert lock is not None
        assert not left.exists()
        assert held.exists()
    assert foreign.exists()


def test_a_root_that_is_a_link_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").write_text("x")
    for name in ("link", "file"):
        with pytest.raises(OutputError), private_folder(tmp_path / name):
            pass
