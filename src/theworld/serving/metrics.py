"""Prometheus metrics of the server; separate because the client library is optional."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_ROWS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server; `text` exports each with a line of help."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("theworld_requests", "Chat completions, by HTTP status.", ["status"], registry=registry)
        self.errors = Counter("theworld_errors", "Requests without an answer, by code.", ["code"], registry=registry)
        self.prompt_tokens = Counter(
            "theworld_prompt_tokens", "Tokens of the prompts that the model read.", registry=registry
        )
        self.completion_tokens = Counter(
            "theworld_completion_tokens", "Tokens of the answers that the model wrote.", registry=registry
        )
        self.clips_read = Counter("theworld_clips_read", "Clips that the world model read.", registry=registry)
        self.reuse_hits = Counter(
            "theworld_reuse_hits",
            "Features that were kept from an earlier request, by kind.",
            ["kind"],
            registry=registry,
        )
        self.reuse_misses = Counter(
            "theworld_reuse_misses", "Features that were not kept, by kind.", ["kind"], registry=registry
        )
        self.reuse_bytes = Gauge("theworld_reuse_bytes", "Memory of the kept features, bytes.", registry=registry)
        self.waiting = Gauge("theworld_waiting_requests", "Requests in the queue.", registry=registry)
        self.running = Gauge("theworld_running_requests", "Requests in the model.", registry=registry)
        self.batch_rows = Histogram(
            "theworld_batch_rows",
            "Requests per batch; the count is the number of batches.",
            buckets=_ROWS,
            registry=registry,
        )
        self.request_seconds = Histogram(
            "theworld_request_seconds",
            "Seconds from the arrival of a request to the end of its answer.",
            buckets=_SECONDS,
            registry=registry,
        )

    def text(self) -> bytes:
        """Export all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def value(self, name: str, **labels: str) -> float:
        """Return a value by its full name, such as `theworld_batch_rows_count`; 0 before the first event."""
        return self._registry.get_sample_value(name, labels) or 0.0
