"""Prometheus: the meter that Prometheus reads, and the small server of /metrics, /live and /ready.

Rule 1: a registry of our own: nothing of the process is shown that is not declared in `service/metrics.py`.
Rule 2: it answers GET only, closes every connection, and what it answers holds no setting.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from streamkl.errors import ConfigError
from streamkl.service.health import Health
from streamkl.service.metrics import METRICS, Metric

TEXT: Final = "text/plain; charset=utf-8"
PATIENCE_SECONDS: Final = 10
LABELS: Final = {metric.name: metric.labels for metric in METRICS}


class PrometheusMeter:
    """Counts what `service/metrics.py` declares.

    >>> meter = PrometheusMeter()
    >>> meter.count("streamkl_records_total", 3)
    >>> meter.value("streamkl_records_total")
    3.0
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own time of birth beside each counter and histogram
        self.registry = CollectorRegistry(auto_describe=True)
        self._metrics = {metric.name: _made(metric, self.registry) for metric in METRICS}

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """See `Meter.count`."""
        counter = self._metrics[name]
        assert isinstance(counter, Counter)
        (counter.labels(**labels) if labels else counter).inc(amount)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """See `Meter.gauge`."""
        gauge = self._metrics[name]
        assert isinstance(gauge, Gauge)
        (gauge.labels(**labels) if labels else gauge).set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """See `Meter.observe`."""
        histogram = self._metrics[name]
        assert isinstance(histogram, Histogram)
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def forget(self, name: str, **labels: str) -> None:
        """See `Meter.forget`."""
        metric = self._metrics[name]
        values = [labels[label] for label in LABELS[name]]
        with suppress(KeyError):  # some versions of the library raise where there is none
            metric.remove(*values)

    def value(self, name: str, **labels: str) -> float | None:
        """Return what a sample shows; None: nothing."""
        return self.registry.get_sample_value(name, labels)


class MetricsServer:
    """Answers over HTTP, from threads of its own, from construction to `close`. port 0: any that is free; `port` says which.

    Raises ConfigError, naming the setting, where the address cannot be had.
    """

    def __init__(self, meter: PrometheusMeter, health: Health, host: str = "127.0.0.1", port: int = 9464, setting: str = "monitoring") -> None:
        try:
            self._server = _Server((host, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(f"{setting}: cannot listen on {host}:{port}: {why}; choose another {setting}.host or {setting}.port") from error
        self._server.meter, self._server.health = meter, health
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    meter: PrometheusMeter
    health: Health

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is no fault of ours."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "streamkl"
    sys_version = ""
    timeout = PATIENCE_SECONDS

    def do_GET(self) -> None:
        health = self.server.health
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, encode(self.server.meter.registry), content_type)
        elif path == "/live":
            is_live = health.is_live()
            self._answer(200 if is_live else 503, f"{'live' if is_live else 'not live: ' + health.reason()}\n".encode(), TEXT)
        elif path == "/ready":
            is_ready = health.is_ready()
            self._answer(200 if is_ready else 503, f"{'ready' if is_ready else 'not ready: ' + health.reason()}\n".encode(), TEXT)
        else:
            self._answer(404, b"there are /metrics, /live and /ready\n", TEXT)

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """A probe every few seconds is nothing to log."""


def _made(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if metric.kind == "counter":
        return Counter(metric.name, metric.help, metric.labels, registry=registry)
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.help, metric.labels, registry=registry)
    return Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)
