"""What the service counts about itself, for Prometheus.

Labels are few and chosen by us (a route's template, a problem's code), never by a client; nothing
here tells one person from another. With several processes, ``PROMETHEUS_MULTIPROC_DIR`` (which
``aiqyn serve`` sets) adds them up, whichever of them is asked.
"""

from __future__ import annotations

import os
from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_EVENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The metrics of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Histogram(
            "aiqyn_http_request_duration_seconds",
            "Requests by route, method and class of status, without streams.",
            ("route", "method", "status"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.signings = Counter(
            "aiqyn_signings", "Tries to sign a petition, by outcome.", ("outcome",), registry=self._registry
        )
        self.groups = Histogram(
            "aiqyn_append_group_events",
            "Events appended by one transaction.",
            buckets=_EVENTS,
            registry=self._registry,
        )
        self.feeds = Gauge(
            "aiqyn_feed_clients",
            "Clients that follow the feed.",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.waiting = Gauge(
            "aiqyn_append_queue_length",
            "Commands that wait for the next append transaction.",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.size = Gauge(
            "aiqyn_log_size", "Entries in the log.", multiprocess_mode="mostrecent", registry=self._registry
        )
        self.lag = Gauge(
            "aiqyn_projection_lag_entries",
            "Entries that a projection has not folded yet.",
            ("projection",),
            multiprocess_mode="mostrecent",
            registry=self._registry,
        )
        self.webhooks = Gauge(
            "aiqyn_webhook_messages",
            "Messages of the webhooks that exist, by what became of them.",
            ("outcome",),
            multiprocess_mode="mostrecent",
            registry=self._registry,
        )
        self.cosigned = Gauge(
            "aiqyn_log_cosigned_size",
            "Entries under a checkpoint with a quorum of cosignatures.",
            multiprocess_mode="mostrecent",
            registry=self._registry,
        )
        self.behind = Gauge(
            "aiqyn_witness_quorum_wait_seconds",
            "How long entries have been waiting for a quorum of witnesses; 0 while none does.",
            multiprocess_mode="mostrecent",
            registry=self._registry,
        )
        self.fatal = Gauge(
            "aiqyn_append_stopped",
            "1 while nothing may be appended.",
            multiprocess_mode="livemax",
            registry=self._registry,
        )

    def seen(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request was answered."""
        self.requests.labels(route, method, _status_class(status)).observe(seconds)

    def render(self) -> bytes:
        """The text exposition format."""
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            together = CollectorRegistry()
            MultiProcessCollector(together)  # type: ignore[no-untyped-call]
            return generate_latest(together)
        return generate_latest(self._registry)


def _status_class(status: int) -> str:
    return f"{status // 100}xx" if status in HTTPStatus._value2member_map_ else "other"
