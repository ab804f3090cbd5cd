"""What the service says and is asked, as JSON: models that OpenAPI shows."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Accepted",
    "Finding",
    "Format",
    "Health",
    "JobOptions",
    "JobView",
    "LabelFinding",
    "ModelView",
    "ProblemDocument",
    "Result",
    "State",
]

State = Literal["queued", "running", "done", "failed", "expired"]
Format = Literal["nii", "nii.gz", "nrrd", "mha", "png", "zip"]
_STEP = r"(?:[1-9][0-9]{0,2}(?:\.[0-9]{1,4})?|0\.[0-9]{0,3}[1-9])"
_PAIR = f"^{_STEP},{_STEP}$"


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JobOptions(_Plain):
    """What may be asked of a job, in the query or as fields of a form."""

    format: Format | None = Field(None, description="Ending of the files; none: their content and name tell.")
    spacing_mm: str | None = Field(
        None,
        pattern=_PAIR,
        description="PNG only: distance of rows and of columns, mm, such as 1,1; from 0.0001 to 999.",
    )
    threshold: float | None = Field(
        None, gt=0, lt=1, description="Every voxel above this probability is lesion; none: the model's own rule."
    )
    explain: bool = Field(False, description="Give the residual maps and the maps of the units too.")

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """``spacing_mm`` as numbers."""
        return None if self.spacing_mm is None else tuple(float(part) for part in self.spacing_mm.split(","))


class ProblemDocument(_Plain):
    """Why a request was not done (RFC 9457)."""

    type: str = Field(description="about:blank: the status says what kind of problem it is.")
    title: str = Field(description="Name of the status.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What came, what was expected, what to do.")


class Accepted(_Plain):
    """A job that was taken."""

    id: str = Field(description="Name of the job; who has it can fetch the result.")
    state: State = Field(description="queued, or running already.")
    position: int = Field(description="Place in the queue, 1 is next; 0: it runs.")


class Finding(_Plain):
    """One lesion: voxels of one label that touch (faces, edges or corners)."""

    label: str = Field(description="Name of the label.")
    number: int = Field(description="1, 2, ... within the label, the largest first.")
    voxels: int = Field(description="Its voxels.")
    volume_ml: float | None = Field(description="Its volume, ml; null in 2-D.")
    area_mm2: float | None = Field(description="Its area, mm2; null in 3-D.")
    centre_voxel: list[float] = Field(description="Mean index of its voxels along the axes of the file, from 0.")
    centre_mm: list[float] = Field(description="The same in the world: mm to the right, anterior, superior (RAS+).")
    mean_probability: float = Field(description="Mean over its voxels of the largest probability of any label.")


class LabelFinding(_Plain):
    """All lesions of one label."""

    label: str = Field(description="Name of the label.")
    value: int = Field(description="Its value in the mask.")
    lesions: int = Field(description="Number of lesions.")
    volume_ml: float | None = Field(description="Their volume together, ml; null in 2-D.")
    area_mm2: float | None = Field(description="Their area together, mm2; null in 3-D.")


class Result(_Plain):
    """What was found in a scan. Research use only."""

    labels: list[LabelFinding] = Field(description="By label.")
    lesions: list[Finding] = Field(description="The largest lesions, at most 500.")
    volume_ml: float | None = Field(description="Volume of all labels together, ml; null in 2-D.")
    area_mm2: float | None = Field(description="Area of all labels together, mm2; null in 3-D.")
    shape: list[int] = Field(description="Voxels along the axes of the file.")
    spacing_mm: list[float] = Field(description="Distance of voxels along the same axes, mm.")
    threshold: float = Field(description="Probability above which a voxel is lesion.")
    model: str = Field(description="Fingerprint of the model: SHA-256 of its weights.")
    files: dict[str, str] = Field(description="What can be fetched: name to path.")
    warnings: list[str] = Field(description="What a reader should know.")
    seconds: float = Field(description="Time that the prediction took, s.")


class JobView(_Plain):
    """State of a job."""

    id: str = Field(description="Name of the job.")
    state: State = Field(description="queued, running, done, failed or expired.")
    position: int | None = Field(description="Place in the queue, 1 is next; null if it does not wait.")
    error: str | None = Field(description="Why it failed; null if it did not.")
    result: Result | None = Field(description="What was found; null unless done.")


class ModelView(_Plain):
    """The model that predicts."""

    channels: list[str] = Field(description="Images that a job needs, in this order.")
    labels: dict[str, int] = Field(description="Label to value in the mask; 0 is background.")
    dimensions: int = Field(description="2: images; 3: volumes.")
    spacing_mm: list[float | None] = Field(description="Grid that the model works on, slices first; null: as it comes.")
    threshold: float = Field(description="Probability above which a voxel is lesion.")
    maps: list[str] = Field(description="Maps that explain=true gives: residual maps, and what the units did.")
    models: int = Field(description="Models whose mean is taken.")
    fingerprint: str = Field(description="SHA-256 of the weights.")
    version: str = Field(description="Version of grcsf.")


class Health(_Plain):
    """Whether the service works."""

    status: Literal["ok", "degraded"] = Field(description="degraded: a worker is being started again.")
    workers: int = Field(description="Workers that are ready or busy.")
    queued: int = Field(description="Jobs that wait.")
    running: int = Field(description="Jobs that run.")
