"""What the tests of the viewer share: a set of phantoms with predictions and maps, and a served list of cases."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from browser import browser, page  # noqa: F401
from grcsf.viewer.api import ViewerApi
from grcsf.viewer.layers import CaseList
from grcsf.viewer.server import ViewerServer
from viewer_data import write_predicted_phantoms


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``Dataset900_BrainPhantoms`` and ``masks`` (predictions with maps). Do not write in it."""
    return write_predicted_phantoms(tmp_path_factory.mktemp("viewer"), subjects=2, spacing_mm=4.0)


@pytest.fixture
def served() -> Iterator[Callable[[CaseList], ViewerServer]]:
    """A function that serves a list of cases until the test ends."""
    with ExitStack() as stack:

        def serve(cases: CaseList) -> ViewerServer:
            server = stack.enter_context(ViewerServer(ViewerApi(cases)))
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            stack.callback(thread.join, 10)
            stack.callback(server.shutdown)
            return server

        yield serve
