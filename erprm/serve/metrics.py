"""Numbers of a server for Prometheus."""

from __future__ import annotations

from collections.abc import Callable


class Metrics:
    """Counts requests, their time and the generated tokens.

    Args:
        waiting: says how many requests wait.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = CollectorRegistry()
        self._requests = Counter(
            "erprm_requests", "Requests by path and status", ["path", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "erprm_request_seconds",
            "Seconds from a request to its answer",
            ["path"],
            registry=self._registry,
            buckets=(0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
        )
        self._tokens = Counter(
            "erprm_generated_tokens", "Tokens that the policy has generated", registry=self._registry
        )
        Gauge("erprm_waiting_requests", "Requests that wait", registry=self._registry).set_function(waiting)

    def count(self, path: str, status: int, seconds: float) -> None:
        """Takes in a request that was answered."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_tokens(self, tokens: int) -> None:
        """Takes in tokens that were generated."""
        self._tokens.inc(tokens)

    def text(self) -> tuple[bytes, str]:
        """All numbers in the format of Prometheus, and the content type of that."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self._registry), CONTENT_TYPE_LATEST
