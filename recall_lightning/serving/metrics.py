"""Metrics: what Prometheus is told."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_USERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Counts and times of one service, in a registry of its own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory and processor time, on Linux
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        labels = ["path", "status"]
        self.requests = Counter("recall_requests", "Requests answered.", labels, registry=registry)
        self.seconds = Histogram(
            "recall_request_seconds", "From a request's head to the end of its answer.", ["path"], buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.inside = Gauge("recall_requests_inside", "Requests that are answered now, or wait.", registry=registry)
        self.users = Counter("recall_users", "Users recommended to.", registry=registry)
        self.batch_users = Histogram(
            "recall_batch_users", "Users ranked together.", buckets=_USERS, registry=registry
        )  # fmt: skip
        self.batch_seconds = Histogram(
            "recall_batch_seconds", "Ranking a batch.", buckets=_SECONDS, registry=registry
        )  # fmt: skip
        self.ranked = Gauge("recall_items_ranked", "Items that are ranked.", registry=registry)
        self.added = Counter("recall_items_added", "Items posted, by what came of it.", ["outcome"], registry=registry)

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)
