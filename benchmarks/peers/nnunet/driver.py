"""In nnU-Net's Python: prepare, train or predict, as nnU-Net does. ``python driver.py STEP JOB.json``, for run.py.

Everything that decides a result is nnU-Net's own: planner, preprocessing, trainer, augmentation, loss, optimiser,
predictor. Set here are the length of the training, the seeds, and what nobody reads of it (see README.md).
"""

from __future__ import annotations

import copy
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peer_files import PeerError, read_json, write_json
from peer_schedule import Schedule, narrowed, nearest_width, schedule, step_cost, steps_within

Job = dict[str, Any]
PLANS = "nnUNetPlans"
_WATCHED_CASES = 2


def prepare(job: Job) -> None:
    """Fingerprint, plan and preprocessing; ``prepared.json`` last, with the configuration that was chosen."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )

    number = int(str(job["name"])[len("Dataset") :][:3])
    cores = int(job["cores"])
    quiet = {"verbose": False, "show_progress_bar": False}
    extract_fingerprints([number], num_processes=cores, check_dataset_integrity=True, clean=True, **quiet)
    plan_experiments([number])
    folder = Path(job["preprocessed"]) / job["name"]
    planned = list(read_json(folder / f"{PLANS}.json")["configurations"])
    wanted = job["configuration"]
    if wanted == "auto":
        wanted = "3d_fullres" if "3d_fullres" in planned else "2d"
    if wanted not in planned:
        raise PeerError(f"{job['name']}: nnU-Net planned {', '.join(planned)}, not {wanted}; choose another")
    preprocess([number], PLANS, configurations=[wanted], num_processes=[cores], **quiet)
    write_json(folder / "splits_final.json", job["splits"])
    write_json(Path(job["prepared"]), {"name": job["name"], "configuration": wanted})


def train(job: Job) -> None:
    """Train to the end of the budget, from the latest checkpoint where there is one; ``trained.json`` last."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    torch.set_num_threads(job["cores"])
    folder = Path(job["preprocessed"]) / job["name"]
    description, plans = read_json(folder / "dataset.json"), read_json(folder / f"{PLANS}.json")
    configuration = job["configuration"]
    if job["plan"] == "narrow":
        plans = narrow_plans(plans, description, configuration, job["parameters"])
    costs = count(plans, description, configuration)
    length = schedule(job["steps"] or steps_within(job["multiply_adds"], costs["step_multiply_adds"]))
    sys.stdout.write(f"{length}: {costs}\n")

    results = Path(job["results"]) / job["name"] / f"nnUNetTrainer__{plans['plans_name']}__{configuration}"
    latest = results / f"fold_{job['fold']}" / "checkpoint_latest.pth"
    seed_all(job["seed"])
    begun = {**plans, "continue_training": latest.is_file()}
    trainer = nnUNetTrainer(begun, configuration, job["fold"], description, torch.device("cpu"))
    clock = _Clock(latest.with_name("clock.json"))
    shape_training(trainer, length, job["seed"], clock, job["save_seconds"])
    trainer.initialize()
    if latest.is_file():
        clock.resume()
        trainer.load_checkpoint(str(latest))
        sys.stdout.write(f"goes on after epoch {trainer.current_epoch}\n")
    trainer.run_training()
    trained = {
        **clock.read(),
        **costs,
        "multiply_adds": length.steps * costs["step_multiply_adds"],
        "steps": length.steps,
        "epochs": length.epochs,
        "iterations_per_epoch": length.iterations_per_epoch,
        "validation_iterations": length.epochs,
        "validation_batch": min(_WATCHED_CASES, costs["batch_size"]),
        "weights": "checkpoint_final.pth",
        "plan": summary(plans, configuration),
        "versions": versions(),
        "model": str(results),
    }
    write_json(Path(job["trained"]), trained)


def predict(job: Job) -> None:
    """Predict cases as nnUNetv2_predict does: windows at half steps, mirroring, final weights."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(job["cores"])
    started = time.perf_counter()
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(job["model"], (job["fold"],), "checkpoint_final.pth")
    truncated = [str(Path(job["masks"]) / case) for case in job["cases"]]
    predictor.predict_from_files_sequential(job["images"], truncated)
    seconds = round(time.perf_counter() - started, 3)
    write_json(Path(job["predicted"]), {"prediction_seconds": seconds, "prediction_memory_mb": peak_memory_mb()})


def narrow_plans(plans: Job, description: Job, configuration: str, wanted: int) -> Job:
    """The planner's plan with other widths, of about ``wanted`` parameters; patch, batch, depth and spacing stay."""
    planned = list(plans["configurations"][configuration]["architecture"]["arch_kwargs"]["features_per_stage"])

    def of_width(widest: int) -> Job:
        changed = copy.deepcopy(plans)
        changed["plans_name"] = f"{PLANS}Narrow"
        kwargs = changed["configurations"][configuration]["architecture"]["arch_kwargs"]
        kwargs["features_per_stage"] = narrowed(planned, widest)
        return changed

    def size(widest: int) -> int:
        return parameters_of(build(of_width(widest), description, configuration))

    return of_width(nearest_width(wanted, max(planned), size))


def build(plans: Job, description: Job, configuration: str) -> Any:
    """The network of a plan, with its heads of deep supervision."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(copy.deepcopy(plans))
    chosen = manager.get_configuration(configuration)
    channels = determine_num_input_channels(manager, chosen, description)
    heads = manager.get_label_manager(description).num_segmentation_heads
    return nnUNetTrainer.build_network_architecture(manager, chosen, channels, heads, True)


def parameters_of(network: Any) -> int:
    """Trainable parameters, each once (nnU-Net's decoder holds its encoder a second time)."""
    return sum(parameter.numel() for parameter in network.parameters())


def count(plans: Job, description: Job, configuration: str) -> Job:
    """Costs of a plan: products of convolutions in one forward pass on one patch, heads included, and of a step."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    chosen = plans["configurations"][configuration]
    network = build(plans, description, configuration)
    patch = torch.zeros(1, len(description["channel_names"]), *(int(edge) for edge in chosen["patch_size"]))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(patch)
    forward, batch = counter.get_total_flops() // 2, int(chosen["batch_size"])
    return {
        "parameters": parameters_of(network),
        "forward_multiply_adds": forward,
        "batch_size": batch,
        "step_multiply_adds": step_cost(forward, batch),
    }


def shape_training(trainer: Any, length: Schedule, seed: int, clock: _Clock, save_seconds: float) -> None:
    """Give a trainer its length and seeds, and take from it what costs time and is not read.

    Set on the object, so that its class, which nnU-Net writes into checkpoints and looks up for prediction, is its own.
    """
    trainer.num_epochs, trainer.num_iterations_per_epoch = length.epochs, length.iterations_per_epoch
    trainer.num_val_iterations_per_epoch = 1
    saving, starting, ending = trainer.save_checkpoint, trainer.on_epoch_start, trainer.on_epoch_end
    watching, last_save = trainer.validation_step, [time.monotonic()]

    def save(filename: str) -> None:
        path = Path(filename)
        if path.name == "checkpoint_best.pth":  # prediction takes the final weights, as nnU-Net does
            return
        partial = path.with_suffix(".partial")
        saving(str(partial))
        clock.write()
        partial.replace(path)
        last_save[0] = time.monotonic()

    def start() -> None:
        seed_all(seed * 1_000_003 + trainer.current_epoch)  # so that a resumed training draws what it would have drawn
        starting()

    def end() -> None:
        trainer.save_every = 1 if time.monotonic() - last_save[0] >= save_seconds else sys.maxsize
        ending()

    def watch(batch: Job) -> Job:
        target = batch["target"]
        few = [part[:_WATCHED_CASES] for part in target] if isinstance(target, list) else target[:_WATCHED_CASES]
        found: Job = watching({**batch, "data": batch["data"][:_WATCHED_CASES], "target": few})
        return found

    trainer.save_checkpoint, trainer.on_epoch_start, trainer.on_epoch_end = save, start, end
    trainer.validation_step = watch
    trainer.logger.plot_progress_png = lambda folder: None


def seed_all(seed: int) -> None:
    """Seed the three global generators that nnU-Net draws from; it seeds none itself."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  nnU-Net draws from it
    torch.manual_seed(seed)


class _Clock:
    """Seconds and peak memory of a training, over all its parts: kept beside its latest checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._before: Job = {"seconds": 0.0, "cpu_seconds": 0.0, "peak_memory_mb": 0.0, "resumed": 0}
        self._started = time.perf_counter()

    def resume(self) -> None:
        """Go on from what was written with the checkpoint."""
        if self.path.is_file():
            self._before |= read_json(self.path)
        self._before["resumed"] += 1

    def read(self) -> Job:
        """Wall and CPU seconds, largest memory and number of resumptions so far."""
        return {
            "seconds": round(self._before["seconds"] + time.perf_counter() - self._started, 3),
            "cpu_seconds": round(self._before["cpu_seconds"] + time.process_time(), 3),
            "peak_memory_mb": max(self._before["peak_memory_mb"], peak_memory_mb()),
            "resumed": self._before["resumed"],
        }

    def write(self) -> None:
        """Keep it."""
        write_json(self.path, self.read())


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far."""
    try:
        import resource
    except ImportError:  # pragma: no cover  Windows
        return 0.0
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10), 1)


def summary(plans: Job, configuration: str) -> Job:
    """What a reader of a table wants to know of a plan."""
    chosen = plans["configurations"][configuration]
    kwargs = chosen["architecture"]["arch_kwargs"]
    return {
        "name": plans["plans_name"],
        "configuration": configuration,
        "patch_size": [int(edge) for edge in chosen["patch_size"]],
        "spacing": [float(edge) for edge in chosen["spacing"]],
        "batch_size": int(chosen["batch_size"]),
        "features_per_stage": list(kwargs["features_per_stage"]),
        "network": chosen["architecture"]["network_class_name"],
        "normalization_schemes": chosen["normalization_schemes"],
        "reader": plans["image_reader_writer"],
    }


def versions() -> dict[str, str]:
    """Of what computes."""
    from importlib.metadata import version

    named = ("nnunetv2", "torch", "numpy", "batchgeneratorsv2", "dynamic-network-architectures")
    return {"python": sys.version.split()[0], **{name: version(name) for name in named}}


def _end_with_parent() -> None:
    """Watch, in a thread, for the death of run.py, and end then as if killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


STEPS: dict[str, Callable[[Job], None]] = {"prepare": prepare, "train": train, "predict": predict}


def main() -> int:
    """Do one step; the exit code. Why it failed goes into a file beside the job, so that run.py can say it last."""
    _end_with_parent()
    step, path = sys.argv[1], Path(sys.argv[2])
    why = path.with_name(f"{step}-error.json")
    why.unlink(missing_ok=True)
    try:
        STEPS[step](read_json(path))
    except PeerError as error:
        write_json(why, str(error))
        return 1
    except Exception as error:
        write_json(why, f"{type(error).__name__}: {error}")
        raise
    return 0


if __name__ == "__main__":  # nnU-Net spawns processes, which import this file again
    sys.exit(main())
