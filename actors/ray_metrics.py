"""A training's numbers as metrics of Ray: in its dashboard, and for Prometheus on every node.

Ray's own agent on the node collects and offers them, if `ray[default]` is installed there; else
they go nowhere, and nothing else changes. `meter.py` says what is counted.
"""

from contextlib import suppress
from typing import Final

from ray.util.metrics import Counter, Gauge, Histogram

_COUNTERS: Final = {
    "everstep_steps": "Steps that were done, each counted once",
    "everstep_samples": "Training rows that these steps took",
    "everstep_stall_seconds": "Time without a finished step, because somebody died or was late",
    "everstep_deaths": "Actors that died",
    "everstep_restarts": "Actors that were started in the place of one that died",
}
_GAUGES: Final = {
    "everstep_step": "The newest step, counted from the beginning of the training",
    "everstep_loss": "Mean loss of the running epoch so far",
    "everstep_workers": "Workers that are there",
    "everstep_nodes": "Nodes that have an actor of the training",
}
_HISTOGRAMS: Final = {"everstep_step_seconds": "Time of a step; of short ones the mean over 0.2 s"}
# From a small network's step to one that takes minutes: 1, 2, 5 of each power of ten.
_BOUNDARIES_S: Final = [
    digit * 10.0**power for power in range(-4, 2) for digit in (1, 2, 5)
]  # 0.1 ms to 50 s
_TAG: Final = "run"


class RayMetrics:
    """The instruments of `meter.Meter`, with the run's name on each number."""

    def __init__(self, run_name: str) -> None:
        """Ray has to be joined already."""
        keys, tags = (_TAG,), {_TAG: run_name}
        self._counters = {
            name: Counter(name, about, keys).set_default_tags(tags)
            for name, about in _COUNTERS.items()
        }
        self._gauges = {
            name: Gauge(name, about, keys).set_default_tags(tags) for name, about in _GAUGES.items()
        }
        self._histograms = {
            name: Histogram(name, about, _BOUNDARIES_S, keys).set_default_tags(tags)
            for name, about in _HISTOGRAMS.items()
        }
        for counter in self._counters.values():
            # From 0 on: of a counter that is first seen at 1, Prometheus sees no increase. `inc`
            # takes no 0; another Ray may have no such method.
            with suppress(AttributeError):
                counter._record(0.0)

    def add(self, counter: str, amount: float) -> None:
        self._counters[counter].inc(amount)

    def set(self, gauge: str, value: float) -> None:
        self._gauges[gauge].set(value)

    def observe(self, histogram: str, value: float) -> None:
        self._histograms[histogram].observe(value)
