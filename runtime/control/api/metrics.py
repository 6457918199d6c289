"""A snapshot in Prometheus' words; made when it is asked for, from values that are there."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from runtime.control.board import Board, Snapshot

COUNTERS = {
    "events": "market events told to the strategy",
    "slices": "calls of on_data",
    "orders": "orders made",
    "fills": "executions",
    "gaps": "pieces of market data known to be missing",
    "malformed": "messages or rows that could not be read",
    "reconnects": "connections that were lost and came back",
    "duplicates": "market events that came twice and were told once",
    "conflated": "quotes replaced by later ones while the strategy was slow",
}


class _Metrics(Collector):
    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        snapshot, identity = self._board.snapshot, self._board.identity
        if snapshot is None or identity is None:
            return
        info = GaugeMetricFamily(
            "tidegate_run_info", "which run this is", labels=["name", "run", "strategy"]
        )
        info.add_metric([identity.name, identity.run, identity.strategy], 1)
        yield info
        yield _gauge("start_time_seconds", "when the run began", identity.started / 1e9)
        yield _gauge("snapshot_time_seconds", "when these figures were taken", snapshot.time / 1e9)
        yield from _counts(snapshot)
        yield from _log(self._board)
        yield from _account(snapshot)
        yield from _training(snapshot)
        yield from _models(snapshot)
        yield _histogram("loop_lag_seconds", "how late the event loop woke", snapshot.lag)
        yield _histogram("latency_seconds", "from a frame to its on_data", snapshot.latency)


def _counts(snapshot: Snapshot) -> Iterator[Metric]:
    for name, words in COUNTERS.items():
        yield CounterMetricFamily(f"tidegate_{name}", words, value=snapshot.counts[name])
    yield _gauge("pending_events", "events that wait", float(snapshot.status["pending"]))
    lines = snapshot.feed.get("connections", ())
    live = sum(line["state"] == "live" for line in lines)
    yield _gauge("connections_live", "connections of the feed that are up", live)


def _log(board: Board) -> Iterator[Metric]:
    written = CounterMetricFamily(
        "tidegate_log_lines_written", "lines of the log that were written", labels=["place"]
    )
    dropped = CounterMetricFamily(
        "tidegate_log_lines_dropped",
        "lines of the log that found no room, or could not be written",
        labels=["place"],
    )
    trouble = GaugeMetricFamily(
        "tidegate_log_trouble", "1 while lines cannot be written there", labels=["place"]
    )
    for place in board.log_places():
        written.add_metric([place.place], place.written)
        dropped.add_metric([place.place], place.dropped)
        trouble.add_metric([place.place], float(bool(place.trouble)))
    yield from (written, dropped, trouble)


def _account(snapshot: Snapshot) -> Iterator[Metric]:
    yield _gauge("equity", "cash and holdings, account currency", float(snapshot.status["equity"]))
    yield _gauge("pnl", "profit since the start", float(snapshot.status["pnl"]))
    yield _gauge("halted", "1 while every order is refused", float(bool(snapshot.halted)))
    held = GaugeMetricFamily("tidegate_position", "quantity held", labels=["symbol"])
    for position in snapshot.positions:
        held.add_metric([position["symbol"]], float(position["quantity"]))
    yield held


def _training(snapshot: Snapshot) -> Iterator[Metric]:
    training = snapshot.training
    quota = training["quota"]
    yield _gauge("training_on", "1 while training is switched on", float(training["is_on"]))
    yield _gauge("quota_available_minutes", "training minutes left", quota["available"])
    yield _gauge("quota_capacity_minutes", "training minutes at most", quota["capacity"])
    yield _gauge("quota_next_refill_seconds", "when more come", quota["next_refill"] / 1e9)
    yield CounterMetricFamily(
        "tidegate_training_minutes_spent", "minutes taken", value=training["spent"]
    )
    jobs = GaugeMetricFamily("tidegate_jobs", "jobs that wait or run", labels=["state"])
    jobs.add_metric(["queued"], len(training["queued"]))
    jobs.add_metric(["running"], len(training["running"]))
    yield jobs
    ended = CounterMetricFamily("tidegate_jobs_ended", "jobs by how they ended", labels=["state"])
    for state, count in training["finished"].items():
        ended.add_metric([state], count)
    yield ended


def _models(snapshot: Snapshot) -> Iterator[Metric]:
    ready = GaugeMetricFamily("tidegate_model_ready", "1 while it may predict", labels=["slot"])
    version = GaugeMetricFamily("tidegate_model_version", "which one serves", labels=["slot"])
    trained = GaugeMetricFamily(
        "tidegate_model_trained_time_seconds", "engine time of its training", labels=["slot"]
    )
    made = CounterMetricFamily(
        "tidegate_predictions_made",
        "times that a strategy asked whether the model is ready, and it was",
        labels=["slot"],
    )
    skipped = CounterMetricFamily(
        "tidegate_predictions_skipped",
        "predictions not made for want of a ready model",
        labels=["slot", "cause"],
    )
    for model in snapshot.models:
        slot = model["slot"]
        ready.add_metric([slot], float(model["ready"]))
        version.add_metric([slot], model["version"])
        if model["trained_at"] is not None:
            trained.add_metric([slot], model["trained_at"] / 1e9)
        made.add_metric([slot], model["made"])
        for cause, count in model["skipped"].items():
            skipped.add_metric([slot, cause], count)
    yield from (ready, version, trained, made, skipped)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"tidegate_{name}", words, value=value)


def _histogram(name: str, words: str, counts: Mapping[float, int]) -> Metric:
    """Cumulate counts by upper edge (ms); the sum is that of the edges, an upper bound."""
    buckets, seen, total = [], 0, 0.0
    for edge, count in counts.items():
        seen += count
        total += count * (edge if edge != float("inf") else 0.0) / 1e3
        buckets.append(("+Inf" if edge == float("inf") else f"{edge / 1e3:g}", float(seen)))
    return HistogramMetricFamily(f"tidegate_{name}", words, buckets=buckets, sum_value=total)


def exposition(board: Board) -> bytes:
    """Return the text that a Prometheus server reads."""
    registry = CollectorRegistry()
    registry.register(_Metrics(board))
    return generate_latest(registry)
