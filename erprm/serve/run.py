"""A server from its settings, until a signal or the end of a block."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from erprm.engines.base import Engine
from erprm.engines.registry import check_prompt, open_engine, require_package
from erprm.models.scorers.http import HTTPStepScorer
from erprm.models.scorers.opening import check_step_formats, device_named, named_scorer, opened_scorer
from erprm.models.scorers.settings import is_url
from erprm.scoring import StepScorer, scorer_or_name
from erprm.search.opening import opened_cascade
from erprm.serve.app import Service, make_app
from erprm.serve.config import RETRIES, ServeConfig, check_key
from erprm.serve.solving import Solver
from erprm.serve.worker import Worker

if TYPE_CHECKING:
    import uvicorn

log = logging.getLogger(__name__)


def run_server(config: ServeConfig, on_ready: Callable[[str, str], object], engine: Engine | None = None) -> None:
    """Serves until SIGTERM or the interrupt key: then what runs is finished, and the rest gets status 503.

    Args:
        config: the settings.
        on_ready: called with the address and the name of the model, once requests are taken.
        engine: the policy; by default the one that ``config`` names.

    Raises:
        ImportError: if the extra ``serve`` is not installed.
        OSError: if the address cannot be listened at.
        ValueError: if policy, scorer and settings do not go together.
        FileNotFoundError: if the policy or the scorer does not exist.
        EngineError: if a server of the policy or the scorer does not answer.
    """
    with _opened(config, engine) as (server, listener, service):
        announcer = threading.Thread(target=_announce, args=(server, listener, service, on_ready), daemon=True)
        announcer.start()
        server.run(sockets=[listener])


@contextmanager
def serving(config: ServeConfig, engine: Engine | None = None) -> Iterator[str]:
    """Serves in a thread while the block lasts; yields the address, without ``/v1``.

    Args:
        config: the settings.
        engine: the policy; by default the one that ``config`` names.

    Raises:
        Exception: as :func:`run_server`.
    """
    with _opened(config, engine) as (server, listener, service):
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            _wait_until_ready(server, thread)
            yield _address(listener)
        finally:
            service.worker.close()
            service.worker.join()
            server.should_exit = True
            thread.join()


@contextmanager
def _opened(config: ServeConfig, engine: Engine | None) -> Iterator[tuple[uvicorn.Server, socket.socket, Service]]:
    for package in ("starlette", "uvicorn", "prometheus_client"):
        require_package(package)
    check_key(config.key)
    with ExitStack() as stack:
        listener = stack.enter_context(closing(_bound_socket(config.host, config.port)))
        config = config.located()
        if engine is None:
            check_prompt(config, config.prompt)
        named = scorer_or_name(config.scorer, "scorer")
        if isinstance(named, str):
            named = _named_scorer(named, config.calibration)
        scorer: StepScorer = stack.enter_context(opened_scorer(named, device_named(config.device)))
        check_step_formats(config.model, getattr(scorer, "step_format", None), "scorer")
        cascade = stack.enter_context(opened_cascade(config, device_named(config.device), _named_scorer))
        policy = engine if engine is not None else stack.enter_context(closing(open_engine(config, config.prompt)))
        config.prompt.identity(policy.tokenizer)
        if policy.tokenizer.chat_template and not config.prompt.chat:
            log.warning("the policy has a chat template, which is not used: --prompt.chat true puts questions into it")
        terms = config.terms(policy.name)
        solver = Solver(policy, scorer, terms, config.aggregation, config.grading, cascade)
        worker = Worker(solver, config.max_waiting, config.max_batch, config.gather_s)
        service = Service(worker, terms, config.key, config.max_body_bytes)
        worker.start()
        yield _server(service), listener, service


def _named_scorer(name: str, calibration: str | None = None) -> StepScorer:
    if is_url(name):
        return HTTPStepScorer(name, calibration=calibration, retries=RETRIES)
    return named_scorer(name, calibration)


def _server(service: Service) -> uvicorn.Server:
    import uvicorn

    class FinishingServer(uvicorn.Server):  # type: ignore[misc]
        """Still answers while what runs is finished; a second signal closes the port at once."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.should_exit or service.worker.is_closing:
                super().handle_exit(sig, frame)
            else:
                # Not in the handler itself, which may have interrupted the owner of the worker's lock.
                threading.Thread(target=self._finish, args=(sig,), daemon=True).start()

        def _finish(self, sig: int) -> None:
            log.warning("%s: what runs is finished, everything else is refused", signal.Signals(sig).name)
            service.worker.close()
            service.worker.join()
            if not self.should_exit:
                super().handle_exit(sig, None)

    config = uvicorn.Config(make_app(service), log_level="warning", access_log=False, lifespan="off", ws="none")
    return FinishingServer(config)


def _bound_socket(host: str, port: int) -> socket.socket:
    """A socket that is bound before anything is loaded, so that a port in use is found out early."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(f"{host}:{port} cannot be listened at: {error.strerror or error}") from error
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _announce(
    server: uvicorn.Server, listener: socket.socket, service: Service, on_ready: Callable[[str, str], object]
) -> None:
    address = _address(listener)
    with contextlib.suppress(RuntimeError):
        _wait_until_ready(server, threading.main_thread())
        on_ready(address, service.terms.name)


def _wait_until_ready(server: uvicorn.Server, thread: threading.Thread) -> None:
    while not server.started:
        if not thread.is_alive() or server.should_exit:
            raise RuntimeError("the server ended before it was ready")
        time.sleep(0.02)
