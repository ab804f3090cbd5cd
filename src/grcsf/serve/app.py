"""The routes of the service, and the application with its guard."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException

from grcsf.io.map_names import case_of_map
from grcsf.serve.guard import Guard
from grcsf.serve.pages import list_of_cases, page
from grcsf.serve.problems import Problem, described, problem_response
from grcsf.serve.schemas import Accepted, Health, JobOptions, JobView, ModelView, ProblemDocument
from grcsf.serve.service import Service
from grcsf.serve.settings import package_version

__all__ = ["build_app"]

_ABOUT = (
    "Upload a scan, ask for the state of its job, fetch mask, probability and maps. Nothing is kept: uploads go when "
    "they are predicted, results when they are deleted or expire. Research use only; not a medical device."
)
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
_GONE = {"s404": "No such job or file.", "s410": "The job has expired."}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "One file per channel, in the order that /model names; or one file as the whole body.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}},
                        **JobOptions.model_json_schema()["properties"],
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A file: NIfTI, NRRD or MetaImage as the upload (NIfTI for DICOM), PNG for masks of PNG.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

router = APIRouter()


def _service(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


Served = Annotated[Service, Depends(_service)]


@router.post(
    "/jobs",
    status_code=202,
    openapi_extra=_BODY,
    tags=["jobs"],
    responses=described(
        s400="A damaged form.",
        s408="Too slow.",
        s413="Too large.",
        s415="No format that is taken.",
        s422="A file that cannot be used, another number of files than the model takes, or a wrong option.",
        s429="The queue is full; Retry-After says when to come back.",
        s507="Too little free disk.",
    ),
)
async def post_job(request: Request, options: Annotated[JobOptions, Query()], service: Served) -> Accepted:
    """Upload a scan: .nii, .nii.gz, .nrrd, .mha, .png, or a .zip of one DICOM series."""
    job = await service.take(request, options)
    return Accepted(id=job.id, state=job.state, position=service.store.position(job))


@router.get("/jobs/{id}", tags=["jobs"], responses=described(s404=_GONE["s404"]))
async def get_job(id: str, service: Served) -> JobView:
    """State of a job; with the result when it is done."""
    return service.store.view(id)


@router.delete("/jobs/{id}", status_code=204, tags=["jobs"], responses=described(**_GONE))
async def delete_job(id: str, service: Served) -> None:
    """Remove a job and all its files; one that runs is ended."""
    service.delete(id)


def _file(id: str, name: str, service: Service) -> FileResponse:
    job, path = service.store.file(id, name)
    if name == "mask":
        service.store.fetched(job)
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


_FILE_ANSWERS = {**_FILE, **described(**_GONE, s409="The job is not done.")}


@router.get("/jobs/{id}/mask", tags=["files"], response_class=Response, responses=_FILE_ANSWERS)
async def get_mask(id: str, service: Served) -> FileResponse:
    """The mask: label values on the grid of the scan."""
    return _file(id, "mask", service)


@router.get("/jobs/{id}/probability", tags=["files"], response_class=Response, responses=_FILE_ANSWERS)
async def get_probability(id: str, service: Served) -> FileResponse:
    """The probability of lesion, the largest over the labels."""
    return _file(id, "probability", service)


@router.get("/jobs/{id}/image", tags=["files"], response_class=Response, responses=_FILE_ANSWERS)
async def get_image(id: str, service: Served) -> FileResponse:
    """The scan as NIfTI, where it came as DICOM or PNG, which viewers cannot show."""
    return _file(id, "image", service)


@router.get("/jobs/{id}/maps/{name}", tags=["files"], response_class=Response, responses=_FILE_ANSWERS)
async def get_map(id: str, name: str, service: Served) -> FileResponse:
    """A residual map or a map of the units; jobs with explain=true have them."""
    if case_of_map(f"job_{name}") is None:
        raise Problem(404, "the job has no such file; its result lists those that it has")
    return _file(id, name, service)


@router.get("/model", tags=["server"])
async def get_model(service: Served) -> ModelView:
    """What the model takes and gives."""
    return service.view


@router.get("/health", tags=["server"])
async def get_health(service: Served) -> Health:
    """Whether the service works."""
    alive = service.pool.alive
    status = "ok" if alive == service.settings.workers else "degraded"
    return Health(status=status, workers=alive, **service.store.facts())


@router.get("/jobs/{id}/view/{name}", tags=["files"], response_class=Response, responses=_FILE_ANSWERS)
async def get_view(id: str, name: str, service: Served) -> FileResponse:
    """Mask and maps of a PNG as NIfTI, for viewers; other uploads need none."""
    return _file(id, f"view-{name}", service)


@router.get("/api/cases", include_in_schema=False)
async def get_cases(service: Served) -> dict[str, Any]:
    """What the page of the viewer asks for first: no cases, but the part of it that uploads."""
    return list_of_cases(service.view)


@router.get("/", include_in_schema=False)
async def get_front_page() -> Response:
    """The front page."""
    return page("")


@router.get("/{name}", include_in_schema=False)
async def get_page(name: str) -> Response:
    """A file of a page."""
    return page(name)


def build_app(service: Service, token: str | None = None) -> Guard:
    """The application for a server.

    Args:
        service: started and ended with the application.
        token: that clients must send; none: no token is asked for.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with service:
            yield

    app = FastAPI(
        title="grcsf",
        version=package_version(),
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        telemetry=_NO_TELEMETRY,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.service = service
    app.include_router(router)
    app.add_exception_handler(Problem, _answer_problem)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    made = app.openapi()
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    _describe(made, token)
    return Guard(app, service.settings, token)


def _describe(schema: dict[str, Any], token: str | None) -> None:
    """Errors as they are: FastAPI describes its own form of 422 everywhere; and the token, if one is asked for."""
    invalid = described(s422="A wrong value.")[422]
    for path in schema["paths"].values():
        for operation in path.values():
            answers = operation["responses"]
            if "HTTPValidationError" in str(answers.get("422")):
                answers["422"] = invalid
            if token is not None:
                answers.update({str(code): answer for code, answer in described(s401="No token.").items()})
    if token is not None:
        schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"token": []}]


def _answer_problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return error.response()


def _answer_invalid(_request: Request, error: Exception) -> JSONResponse:
    """Which value is wrong; not the value itself."""
    assert isinstance(error, RequestValidationError)
    names = {str(item["loc"][-1]) for item in error.errors()}
    known = sorted(name for name in names if name in JobOptions.model_fields)
    expected = re.sub(r"[^a-z_, ]", "", ", ".join(JobOptions.model_fields))
    detail = f"wrong value of {', '.join(known)}" if known else "an option that is not known"
    return problem_response(422, f"{detail}; expected {expected} as the schema describes them")


def _answer_http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    texts = {404: "there is nothing at this path; /docs names what there is", 405: "this path has no such method"}
    headers = dict(error.headers) if error.headers else None
    return problem_response(error.status_code, texts.get(error.status_code, "the request cannot be answered"), headers)
