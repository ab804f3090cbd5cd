"""``grcsf serve``: the service on a socket, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from grcsf.errors import GrcsfError, ModelError, OutputError
from grcsf.serve.settings import ServeSettings, check_address, read_token

__all__ = ["serve"]

_INSTALL = "pip install 'grcsf[serve]'"
_SHUTDOWN_S = 5
_BACKLOG = 2048


def serve(
    model: str | Path | Sequence[str | Path],
    *,
    folds: Sequence[int] = (),
    device: str = "auto",
    settings: ServeSettings | None = None,
    token_file: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> None:
    """Serve predictions of a model over HTTP until interrupted.

    Args:
        model: a model folder, several (averaged), or a run folder whose folds are averaged.
        folds: of a run folder: which; none: all.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
        settings: address and limits; none: the defaults, on loopback.
        token_file: file of the token that clients must send; none: the variable ``GRCSF_SERVE_TOKEN``, if it is set.
        say: called with the address when the service is ready.

    Raises:
        GrcsfError: packages that are not installed.
        ModelError: a model that cannot be loaded.
        OutputError: a folder or port that cannot be used.
        SettingsError: an address that other machines reach, without a token.
    """
    settings = settings or ServeSettings()
    token = read_token(Path(token_file) if token_file is not None else None)
    check_address(settings, token)
    try:
        uvicorn = import_module("uvicorn")
        app = import_module("grcsf.serve.app")
        service_module = import_module("grcsf.serve.service")
    except ImportError as error:
        raise GrcsfError(f"serving needs packages that are not installed ({error.name}): {_INSTALL}") from None
    given = [model] if isinstance(model, str | Path) else list(model)
    message = {"models": [str(Path(path).resolve()) for path in given], "folds": list(folds), "device": device}
    listening = _listen(settings)
    with listening:

        def ready(_service: object) -> None:
            listening.listen(_BACKLOG)  # from here on connections wait for the server instead of being refused
            if say is not None:
                say(_ready_text(listening, settings))

        service = service_module.Service(message, settings, started=ready)
        config = uvicorn.Config(
            app.build_app(service, token),
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=settings.connections,
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
        server = uvicorn.Server(config)
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # its tracebacks could quote a file
        with suppress(KeyboardInterrupt, SystemExit):  # uvicorn exits where the start fails; the reason is told below
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # either way out ends here, with the clean-up
            try:
                asyncio.run(server.serve(sockets=[listening]))
            finally:
                service.abandon()
    if service.failure is not None:
        raise service.failure
    if not server.started:
        raise ModelError("the service could not start")


def _listen(settings: ServeSettings) -> socket.socket:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            if sys.platform != "win32":
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(f"{settings.host} port {settings.port}: cannot listen ({reason}); choose --port") from None
    return listening


def _ready_text(listening: socket.socket, settings: ServeSettings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"ready: http://{host}:{listening.getsockname()[1]}/ (Ctrl-C ends)"
