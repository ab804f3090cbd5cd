"""Applications with the stand-in for workers, and clients of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

for _needed in ("fastapi", "httpx2", "python_multipart", "uvicorn"):
    pytest.importorskip(_needed)

from fastapi.testclient import TestClient  # noqa: E402

from grcsf.serve.app import build_app  # noqa: E402
from grcsf.serve.service import Service  # noqa: E402
from grcsf.serve.settings import ServeSettings  # noqa: E402
from serving import STAND_IN, save_tiny_model  # noqa: E402


class Opened(TestClient):
    """A client that knows the service behind it."""

    service: Service

    def folders(self) -> list[Path]:
        """Folders of jobs that are on disk."""
        assert self.service.folder is not None
        return list(self.service.folder.glob("job-*"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a one-channel model of volumes."""
    return save_tiny_model(tmp_path_factory.mktemp("served") / "model")


@pytest.fixture
def open_client(tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """A function that starts an application (settings as keywords) and gives a client of it."""
    with ExitStack() as stack:

        def start(mode: str = "plain", *, token: str | None = None, **settings: object) -> Opened:
            chosen = ServeSettings.of({"folder": tmp_path / "held", **settings})
            service = Service({"models": [mode], "folds": [], "device": "cpu"}, chosen, command=STAND_IN)
            client = Opened(build_app(service, token), base_url="http://127.0.0.1:8000", raise_server_exceptions=True)
            client.service = service
            return stack.enter_context(client)

        yield start
