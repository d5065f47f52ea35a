"""A run's figures as metrics of Ray, which exports them for Prometheus on every node."""

from __future__ import annotations

from collections.abc import Iterable

from ray.util import metrics as ray_metrics

from synth.metrics import CATALOGUE, Kind, Measurement

_KINDS = {Kind.COUNTER: ray_metrics.Counter, Kind.GAUGE: ray_metrics.Gauge}


class RayMetrics:
    """Hands measurements to Ray. Where Ray has no agent to export them, they go nowhere.

    Args:
        run: id of the run, a label of every series.
        restored: what the counters stood at before this process did anything; a counter counts
            what happened since, as Prometheus expects of a process that was restarted.
    """

    def __init__(self, run: str, restored: Iterable[Measurement]):
        self._run = run
        self._metrics = {
            metric: _KINDS[metric.kind](metric.name, metric.help, ("run", *metric.labels))
            for metric in CATALOGUE
        }
        self._told = {(m.metric, m.labels): m.value for m in restored}

    def emit(self, measurements: Iterable[Measurement]) -> None:
        """Set each gauge, and move each counter by what it gained since the last call."""
        for measured in measurements:
            exported = self._metrics[measured.metric]
            labels = {"run": self._run} | dict(
                zip(measured.metric.labels, measured.labels, strict=True)
            )
            if measured.metric.kind is Kind.GAUGE:
                exported.set(measured.value, labels)
                continue
            key = measured.metric, measured.labels
            gained = measured.value - self._told.get(key, 0.0)
            if gained > 0:
                exported.inc(gained, labels)
                self._told[key] = measured.value
