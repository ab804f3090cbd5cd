"""nnU-Net v2 as an outside entry of ``grcsf benchmark``: train a fold within a budget and predict its validation part.

run.py --plan default --dataset DATA/Dataset501_X --fold 0 --seed 0 --output OUT --multiply-adds 9e13 --cores 2
run.py --predict --model OUT --cases CASES.json --dataset DATA/Dataset502_Y --output OTHER

Needs the standard library only; nnU-Net runs in an environment of its own (README.md). The same line again goes on
where it was stopped, kill -9 included, and does nothing when all is done.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from peer_data import RawData, image_lists, link_raw_data, read_raw_data
from peer_environment import nnunet_python, variables
from peer_files import PeerError, folder_lock, read_json, write_json

NARROW_PARAMETERS = 2_700_000
"""Parameters of our network with both units."""
RUN_FILE = "run.json"
DRIVER = Path(__file__).resolve().with_name("driver.py")


@dataclass(frozen=True)
class NnUnet:
    """nnU-Net's Python, and the threads that it gets."""

    python: Path
    cores: int

    def do(self, step: str, job: dict[str, Any], *, own: Path, work: Path, lock: int) -> None:
        """Do a step of driver.py, which dies with this process and holds the lock until then.

        Args:
            step: its name.
            job: what it needs.
            own: folder of the job's file, and of results.
            work: folder of raw and preprocessed data.
            lock: descriptor that the step holds on to.

        Raises:
            PeerError: it failed; with what it said of it.
        """
        path, results = own / f"{step}-job.json", own / "results"
        places = {"preprocessed": str(work / "preprocessed"), "results": str(results), "cores": self.cores}
        write_json(path, {**job, **places})
        command = [str(self.python), str(DRIVER), step, str(path)]
        kept: dict[str, Any] = {"pass_fds": (lock,)} if os.name != "nt" else {}
        environment = variables(step, work, results, self.cores)
        code = subprocess.run(command, stdin=subprocess.DEVNULL, env=environment, check=False, **kept).returncode
        if code:
            told = own / f"{step}-error.json"
            why = read_json(told) if told.is_file() else "it was killed, or ran out of memory"
            raise PeerError(f"step {step} of nnU-Net, exit code {code}: {why}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command; exit code 2 where they do not fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="data set in nnU-Net raw layout")
    parser.add_argument("--output", type=Path, required=True, help="folder of masks (validation/) and run.json")
    parser.add_argument("--work", type=Path, help="folder of nnU-Net's preprocessed data, shared by runs; OUTPUT/work")
    parser.add_argument("--cores", type=int, default=1, help="threads")
    parser.add_argument("--plan", choices=("default", "narrow"), default="default", help="nnU-Net's own, or narrow")
    parser.add_argument("--parameters", type=int, default=NARROW_PARAMETERS, help="of the narrow plan, about")
    parser.add_argument("--configuration", choices=("auto", "2d", "3d_fullres"), default="auto", help="auto: by data")
    parser.add_argument("--fold", type=int, default=0, help="of splits_final.json")
    parser.add_argument("--seed", type=int, default=0, help="of Python, numpy and torch")
    parser.add_argument("--multiply-adds", type=float, default=0, help="budget of the training")
    parser.add_argument("--steps", type=int, default=0, help="budget in optimiser steps, in place of multiply-adds")
    parser.add_argument("--save-seconds", type=float, default=120, help="from one checkpoint to the next, about")
    parser.add_argument("--predict", action="store_true", help="predict --cases with --model, without training")
    parser.add_argument("--model", type=Path, help="OUTPUT of the run that trained")
    parser.add_argument("--cases", type=Path, help="JSON list of cases of --dataset")
    given = parser.parse_args(arguments)
    if given.predict and (given.model is None or given.cases is None):
        parser.error("--predict needs --model and --cases")
    if not given.predict and (given.multiply_adds > 0) == (given.steps > 0):
        parser.error("expected either --multiply-adds or --steps above 0")
    if min(given.cores - 1, given.fold, given.seed, given.parameters - 1) < 0:
        parser.error("--cores and --parameters go from 1, --fold and --seed from 0")
    return given


def train_and_validate(given: argparse.Namespace) -> None:
    """The whole run; ``run.json`` comes last, and what is done is not done again."""
    data, out = read_raw_data(given.dataset.resolve()), given.output.resolve()
    cases = data.validation(given.fold)
    own = out / "nnunet"
    with folder_lock(own) as lock:
        refuse_other_request(own / "request.json", request_of(given, data))
        if (out / RUN_FILE).is_file() and (out / "validation").is_dir():
            return
        nnunet, work = NnUnet(nnunet_python(), given.cores), prepared_folder(given, data)
        prepared = prepare(nnunet, work, data, given.configuration)
        if not (own / "trained.json").is_file():
            job = {**prepared, "fold": given.fold, "seed": given.seed, "plan": given.plan}
            job |= {"multiply_adds": int(given.multiply_adds), "steps": given.steps, "parameters": given.parameters}
            job |= {"save_seconds": given.save_seconds}
            nnunet.do("train", {**job, "trained": str(own / "trained.json")}, own=own, work=work, lock=lock)
        trained = read_json(own / "trained.json")
        said = predict(nnunet, out, out, data=data, cases=cases, lock=lock)
        write_json(out / RUN_FILE, {**{key: trained[key] for key in trained if key != "model"}, **said})


def predict_cases(given: argparse.Namespace) -> None:
    """Cases of another data set, with what a run has trained.

    Raises:
        PeerError: no trained model, or images of another kind.
    """
    data, model, out = read_raw_data(given.dataset.resolve()), given.model.resolve(), given.output.resolve()
    if not (model / "nnunet" / "trained.json").is_file():
        raise PeerError(f"{model}: no nnunet/trained.json; expected the output of a run of this command that trained")
    cases = read_json(given.cases)
    if not isinstance(cases, list) or not cases or not all(isinstance(case, str) for case in cases):
        raise PeerError(f"{given.cases}: expected a JSON list of names of cases")
    nnunet = NnUnet(nnunet_python(), given.cores)
    with folder_lock(out / "nnunet") as lock:
        if (out / RUN_FILE).is_file() and (out / "validation").is_dir():
            return
        write_json(out / RUN_FILE, predict(nnunet, model, out, data=data, cases=cases, lock=lock))


def predict(
    nnunet: NnUnet, trained_in: Path, out: Path, *, data: RawData, cases: list[str], lock: int
) -> dict[str, Any]:
    """Masks of cases in ``out/validation``, which appears when all are there; what the prediction says of itself."""
    own = out / "nnunet"
    model = model_folder(trained_in)
    ending = read_json(model / "dataset.json")["file_ending"]
    if ending != data.ending:
        raise PeerError(f"{data.root.name}: files end in {data.ending}, the model was trained on {ending}")
    fold = read_json(trained_in / "nnunet" / "request.json")["fold"]
    masks = own / "masks"
    for folder in (masks, out / "validation"):
        shutil.rmtree(folder, ignore_errors=True)
    masks.mkdir(parents=True)
    job = {"model": str(model), "fold": fold, "cases": cases, "images": image_lists(data, cases)}
    job |= {"masks": str(masks), "predicted": str(own / "predicted.json")}
    nnunet.do("predict", job, own=own, work=own, lock=lock)
    missing = [case for case in cases if not (masks / f"{case}{ending}").is_file()]
    if missing:
        raise PeerError(f"nnU-Net left no mask of {missing[0]} ({len(missing)} of {len(cases)} are missing)")
    for path in masks.glob("*.json"):  # nnU-Net's notes beside its masks
        path.replace(own / path.name)
    masks.replace(out / "validation")
    said = read_json(own / "predicted.json")
    return dict(said)


def model_folder(trained_in: Path) -> Path:
    """nnU-Net's folder of a model, wherever the output of its run lies now."""
    model: str = read_json(trained_in / "nnunet" / "trained.json")["model"]
    parts = Path(model).parts[-2:]
    return trained_in / "nnunet" / "results" / Path(*parts)


def request_of(given: argparse.Namespace, data: RawData) -> dict[str, Any]:
    """What decides the result of a run."""
    wanted = {key: getattr(given, key) for key in ("plan", "configuration", "fold", "seed", "multiply_adds", "steps")}
    wanted["parameters"] = given.parameters if given.plan == "narrow" else None
    return {**wanted, "data_set": data.root.name, "data_digest": data.digest(with_times=False)}


def refuse_other_request(path: Path, wanted: dict[str, Any]) -> None:
    """Write down what a folder is for, and refuse one that is for something else.

    Raises:
        PeerError: naming what differs.
    """
    if not path.is_file():
        write_json(path, wanted)
        return
    before = read_json(path)
    other = [key for key in wanted if before.get(key) != wanted[key]]
    if other:
        key = other[0]
        raise PeerError(
            f"{path.parent}: holds a run with {key} {before.get(key)}, wanted is {wanted[key]}; choose another --output"
        )


def prepared_folder(given: argparse.Namespace, data: RawData) -> Path:
    """Where the preprocessed data of a data set lie: another folder whenever one of its files changed."""
    work = (given.work or given.output / "work").resolve()
    return Path(work) / f"{data.root.name}-{given.configuration}-{data.digest(with_times=True)}"


def prepare(nnunet: NnUnet, work: Path, data: RawData, configuration: str) -> dict[str, Any]:
    """Preprocess a data set once, whoever comes first; its name in nnU-Net and the configuration."""
    prepared = work / "prepared.json"
    with folder_lock(work) as lock:
        if not prepared.is_file():
            shutil.rmtree(work / "preprocessed", ignore_errors=True)
            (work / "preprocessed").mkdir()
            name = link_raw_data(data, work / "raw").name
            job = {"name": name, "configuration": configuration, "splits": data.splits, "prepared": str(prepared)}
            nnunet.do("prepare", job, own=work, work=work, lock=lock)
    found = read_json(prepared)
    return dict(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 done, 1 failed, 2 wrong arguments."""
    given = parse(arguments)
    try:
        (predict_cases if given.predict else train_and_validate)(given)
    except PeerError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
