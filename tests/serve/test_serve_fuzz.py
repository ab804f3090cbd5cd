"""Requests made from the schema: whatever comes, the server does not fail and answers as the schema says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from grcsf.serve.app import build_app
from grcsf.serve.service import Service
from grcsf.serve.settings import ServeSettings
from serving import STAND_IN

schemathesis = pytest.importorskip("schemathesis")

EXAMPLES = 15
HOST = {"Host": "127.0.0.1"}


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The schema of an application that schemathesis starts; it is ended here."""
    from schemathesis.python.asgi import shutdown_lifespans

    limits = ServeSettings(queue=1000, max_jobs=1000, folder=tmp_path_factory.mktemp("fuzz") / "held")
    service = Service({"models": ["plain"], "folds": [], "device": "cpu"}, limits, command=STAND_IN)
    yield schemathesis.openapi.from_asgi("/openapi.json", build_app(service), headers=HOST)
    shutdown_lifespans()
    assert limits.folder is not None
    assert not list(limits.folder.iterdir())


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
def test_no_request_of_the_schema_makes_the_server_fail(method: str, path: str, schema: Any) -> None:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

    statuses = set()

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,  # the same requests at every run
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=schema[path][method].as_strategy())
    def run(case: Any) -> None:
        answer = case.call(headers=HOST)
        statuses.add(answer.status_code)
        checks = [not_a_server_error, content_type_conformance, response_schema_conformance]
        case.validate_response(answer, checks=checks)

    run()
    assert statuses
    assert max(statuses) < 500
    assert 421 not in statuses
