"""Errors of the service as problem documents.

Source: standard, RFC 9457 (problem details for HTTP).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

__all__ = ["PROBLEM_TYPE", "Problem", "described", "problem_response"]

PROBLEM_TYPE = "application/problem+json"


class Problem(Exception):
    """What a client is told when a request cannot be done.

    Attributes:
        status: HTTP status, 4xx or 5xx.
        detail: what came, what was expected, what to do; never text of the client's or of a file's.
        headers: of the response.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}

    def response(self) -> JSONResponse:
        """The response that tells it."""
        return problem_response(self.status, self.detail, self.headers)


def problem_response(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A problem document."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(content, status, headers, PROBLEM_TYPE)


def described(**statuses: str) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route for OpenAPI: ``s404="no such job"`` and so on."""
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {
        int(name[1:]): {"description": text, "content": {PROBLEM_TYPE: {"schema": schema}}}
        for name, text in statuses.items()
    }
