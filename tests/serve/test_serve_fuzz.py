"""Requests made from the schema: whatever comes, the server does not fail and answers as the schema says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings

schemathesis = pytest.importorskip("schemathesis")

EXAMPLES = 12


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/jobs"),
        ("GET", "/jobs/{id}"),
        ("DELETE", "/jobs/{id}"),
        ("GET", "/jobs/{id}/mask"),
        ("GET", "/jobs/{id}/maps/{name}"),
        ("GET", "/jobs/{id}/view/{name}"),
        ("GET", "/model"),
        ("GET", "/health"),
    ],
)
def test_no_request_of_the_schema_makes_the_server_fail(
    method: str, path: str, open_client: Callable[..., object]
) -> None:
    from hypothesis import given
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

    client = open_client(queue=1000, max_jobs=1000)
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app, headers={"Host": "127.0.0.1"})  # type: ignore[attr-defined]
    statuses = set()

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=schema[path][method].as_strategy())
    def run(case: object) -> None:
        answer = case.call(headers={"Host": "127.0.0.1"})  # type: ignore[attr-defined]
        statuses.add(answer.status_code)
        checks = [not_a_server_error, content_type_conformance, response_schema_conformance]
        case.validate_response(answer, checks=checks)  # type: ignore[attr-defined]

    run()
    assert statuses
    assert max(statuses) < 500
