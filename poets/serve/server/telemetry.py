"""Counts requests for Prometheus, and logs each as a line of JSON."""

import json
import logging
import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from poets.serve.server.models import Models

logger = logging.getLogger("poets.access")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16)


class Telemetry:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "poets_requests",
            "Requests, by interface and status.",
            ("interface", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "poets_request_seconds",
            "Time from the head of a request to the end of its answer.",
            ("interface",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "poets_batch_pictures",
            "Pictures that a process scores at once.",
            buckets=SIZES,
            registry=self._registry,
        )
        self._rejected = Counter(
            "poets_rejected",
            "Requests refused because too many pictures waited.",
            registry=self._registry,
        )
        self._versions = Gauge(
            "poets_model_version",
            "The version that serves, by model.",
            ("model",),
            registry=self._registry,
        )

    def observe_batch(self, size: int) -> None:
        """Counts a batch of pictures."""
        self._batches.observe(size)

    def request(
        self, interface: str, method: str, path: str, status: str, started: float
    ) -> None:
        """Counts and logs an answered request.

        Args:
          interface: "http" or "grpc".
          method: of HTTP, or "".
          path: without its query, which may hold secrets.
          status: of HTTP, or a code of gRPC.
          started: `time.monotonic()` of its beginning.
        """
        seconds = time.monotonic() - started
        self._requests.labels(interface, status).inc()
        self._seconds.labels(interface).observe(seconds)
        if status in ("429", "RESOURCE_EXHAUSTED"):
            self._rejected.inc()
        if logger.isEnabledFor(logging.INFO):
            line = {
                "interface": interface,
                "method": method,
                "path": path,
                "status": status,
                "ms": round(seconds * 1000, 1),
            }
            logger.info("%s", json.dumps(line))

    def text(self, models: Models) -> bytes:
        """Returns all figures in Prometheus' text format."""
        for model in models:
            if model.serving:
                self._versions.labels(model.name).set(model.serving[-1].number)
        return generate_latest(self._registry)
