"""What a monitoring system is told, from what the driver hears; expected values by hand."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from actors.cluster import Heard
from actors.messages import EpochDone, Progress, Repeated, Snapshot, Stall
from actors.meter import Meter
from actors.orders import Died, DriverMessage, Joined, Ready, Restarting

NONE = np.zeros(0, "float32")


@dataclass
class Kept:
    """Instruments that keep what they are given."""

    counters: dict[str, float] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)
    seen: list[float] = field(default_factory=list)

    def add(self, counter: str, amount: float) -> None:
        assert amount > 0
        self.counters[counter] = self.counters.get(counter, 0) + amount

    def set(self, gauge: str, value: float) -> None:
        self.gauges[gauge] = value

    def observe(self, histogram: str, value: float) -> None:
        assert histogram == "everstep_step_seconds"
        self.seen.append(value)


def state(epoch: int, step: int, sample_count: int) -> Snapshot:
    return Snapshot(epoch, step, sample_count, 2.0 * sample_count, NONE, NONE)


def epoch_done(epoch: int, step: int, sample_count: int) -> EpochDone:
    return EpochDone(epoch, step, sample_count, 3.0 * sample_count, NONE, NONE)


def after(*heard: tuple[float, DriverMessage], start: Snapshot | None = None) -> Kept:
    kept = Kept()
    meter = Meter(start or state(0, 0, 0), kept)
    for at_s, message in heard:
        meter.hear(Heard(at_s, message))
    return kept


def test_steps_and_samples_are_those_that_were_done_each_once() -> None:
    kept = after(
        (10.0, Ready()),
        (12.0, Progress(0, 4, 40, 80.0)),
        (13.0, epoch_done(0, 6, 60)),
        (13.5, state(0, 6, 60)),  # the same again, as an answer
        (14.0, Progress(1, 8, 20, 50.0)),
        (15.0, Progress(1, 7, 10, 30.0)),  # a restored server runs steps again
        (16.0, Progress(1, 8, 20, 50.0)),
        (16.5, Repeated(2)),
        (17.0, epoch_done(1, 12, 60)),
    )
    assert kept.counters == {"everstep_steps": 12, "everstep_samples": 120}
    assert kept.gauges == {"everstep_step": 12, "everstep_loss": 3.0}


def test_a_step_s_time_is_the_mean_since_the_last_news_and_begins_with_the_training() -> None:
    kept = after(
        (10.0, Ready()),
        (12.0, Progress(0, 4, 40, 80.0)),
        (12.2, Progress(0, 5, 50, 80.0)),
        (12.2, epoch_done(0, 6, 60)),  # at the same moment, as far as the clock goes
        (15.2, Progress(1, 7, 10, 20.0)),
    )
    assert kept.seen == [pytest.approx(0.5), pytest.approx(0.2), pytest.approx(3.0)]


def test_a_process_that_goes_on_counts_from_its_checkpoint() -> None:
    kept = after(
        (10.0, Ready()),
        (11.0, Progress(3, 45, 50, 100.0)),
        (12.0, epoch_done(3, 46, 60)),
        (13.0, epoch_done(4, 56, 100)),
        start=state(3, 44, 40),
    )
    assert kept.counters == {"everstep_steps": 12, "everstep_samples": 20 + 100}
    at_an_epoch_s_end = after((12.0, Progress(4, 60, 40, 80.0)), start=state(3, 56, 100))
    assert at_an_epoch_s_end.counters == {"everstep_steps": 4, "everstep_samples": 40}
    assert at_an_epoch_s_end.seen == []  # nobody said when the first step began


def test_who_is_there_and_who_died_is_told_with_the_nodes() -> None:
    kept = Kept()
    meter = Meter(state(0, 0, 0), kept)
    for message in (
        Joined("server", "10.0.0.1", 1),
        Joined("worker-0", "10.0.0.1", 2),
        Joined("worker-1", "10.0.0.2", 3),
    ):
        meter.hear(Heard(1.0, message))
    assert kept.gauges == {"everstep_workers": 2, "everstep_nodes": 2}
    assert kept.counters == {}
    meter.hear(Heard(2.0, Died("worker-1", "killed")))
    meter.hear(Heard(2.0, Restarting("worker-1.2", "worker-1", 1, 5, 60.0)))
    meter.hear(Heard(2.5, Stall(7, 0.25)))
    meter.hear(Heard(3.5, Stall(9, 1.5)))
    meter.hear(Heard(3.5, Stall(9, 0.0)))
    assert kept.gauges == {"everstep_workers": 1, "everstep_nodes": 1}
    assert kept.counters == {
        "everstep_deaths": 1,
        "everstep_restarts": 1,
        "everstep_stall_seconds": 1.75,
    }
    meter.end()
    assert kept.gauges == {"everstep_workers": 0, "everstep_nodes": 0}
