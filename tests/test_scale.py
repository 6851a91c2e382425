"""What the scaling benchmark computes: every expected value is worked out by hand."""

import mmap
import os
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scaling.line_chart import Axis, draw_lines
from benchmarks.scaling.memory import ProportionalPeaks, forget_peak, peak_bytes
from benchmarks.scaling.server_cost import (
    Sample,
    ServerCost,
    fit,
    most_workers,
    predict,
    relative_errors,
)
from benchmarks.scaling.step_clock import StepClock
from benchmarks.scaling.tables import counted_bytes, milliseconds
from benchmarks.scaling.toy import toy_job
from benchmarks.scaling.training import frame_sizes
from benchmarks.scaling.verdicts import Verdict, server_limit, vectors_above, worker_limit
from trainer.optimizers import SGD

# A step costs 10 us, a message 20 us, a byte 0.5 ns, a byte of the model's update 0.25 ns.
COST = ServerCost(1e-5, 2e-5, 5e-10, 2.5e-10)
SIZES = [
    (2 * workers, 2 * workers * model, model)
    for workers in (1, 2, 8)
    for model in (4_000, 120_000, 4_000_000)
]


def exact(cost: ServerCost) -> list[Sample]:
    return [Sample(*size, cost.cpu_s(*size)) for size in SIZES]


def test_the_fit_finds_the_costs_that_made_the_samples() -> None:
    samples = exact(COST)
    np.testing.assert_allclose(fit(samples), COST, rtol=1e-6)
    np.testing.assert_allclose(relative_errors(fit(samples), samples), 0, atol=1e-9)


def test_the_fit_of_noisy_samples_is_near() -> None:
    dice = np.random.default_rng(0)
    noisy = [s._replace(cpu_s=s.cpu_s * dice.uniform(0.97, 1.03)) for s in exact(COST)]
    assert fit(noisy).per_message_s == pytest.approx(COST.per_message_s, rel=0.2)
    assert fit(noisy).per_byte_s == pytest.approx(COST.per_byte_s, rel=0.1)


@given(st.lists(st.floats(0.7, 1.4), min_size=len(SIZES), max_size=len(SIZES)))
def test_no_cost_is_ever_below_nothing(noise: list[float]) -> None:
    pairs = zip(exact(COST), noise, strict=True)
    assert min(fit([s._replace(cpu_s=s.cpu_s * factor) for s, factor in pairs])) >= 0


def test_a_cost_that_is_not_there_is_fitted_as_nothing() -> None:
    cost = ServerCost(0.0, 2e-5, 5e-10, 0.0)
    np.testing.assert_allclose(fit(exact(cost)), cost, rtol=1e-6, atol=1e-15)


def test_errors_are_the_formula_against_the_measured() -> None:
    # By the formula 1e-5 + 2 * 2e-5 + 8000 * 5e-10 + 4000 * 2.5e-10 = 55 us; measured 50 us.
    assert relative_errors(COST, [Sample(2, 8_000, 4_000, 5e-5)]) == [pytest.approx(0.1)]


def test_a_predicted_step_is_worked_out_as_by_hand() -> None:
    # 1e6 parameters are 4 MB; 10 workers: 20 messages, 80 MB.
    # CPU: 0.01 ms + 20 * 0.02 ms + 80e6 * 0.5e-6 ms + 4e6 * 0.25e-6 ms = 0.01 + 0.4 + 40 + 1.
    # Wire: 640 Mbit are 64 ms at 10 Gbit/s and 6.4 ms at 100.
    step = predict(COST, 1_000_000, 10, [10e9, 100e9])
    assert step.cpu_s == pytest.approx(41.41e-3)
    assert step.wire_s == pytest.approx((64e-3, 6.4e-3))
    assert step.least_s == pytest.approx((64e-3, 41.41e-3))


def test_the_largest_cluster_is_what_cpu_and_wire_both_allow() -> None:
    # Of 12.5 ms; 1e4 parameters are 40 kB. Wire: 80 kB a worker are 64 us at 10 Gbit/s: 195.3.
    # CPU: 12.5 ms - 0.01 - 0.01 ms are for workers of 0.04 + 0.04 ms each: 156.
    assert most_workers(COST, 10_000, 10e9, 12.5e-3) == 156
    # At 1 Gbit/s a worker's bytes take 640 us: 19.5.
    assert most_workers(COST, 10_000, 1e9, 12.5e-3) == 19


def test_a_model_that_takes_too_long_alone_has_no_cluster() -> None:
    # 1e8 parameters: the update of 400 MB takes 100 ms.
    assert most_workers(COST, 100_000_000, 100e9, 12.5e-3) == 0


def test_one_worker_more_than_the_largest_cluster_takes_too_long() -> None:
    most = most_workers(COST, 79_510, 10e9, 12.5e-3)
    assert predict(COST, 79_510, most, [10e9]).least_s[0] <= 12.5e-3
    assert predict(COST, 79_510, most + 1, [10e9]).least_s[0] > 12.5e-3


def test_a_verdict_says_whether_the_limit_is_kept() -> None:
    assert str(Verdict("start-up", 1.304, 1.3)) == "reached: start-up 1.30, limit 1.3"
    assert str(Verdict("vectors", 6.04, 6, digits=1)) == "reached: vectors 6.0, limit 6"
    assert str(Verdict("start-up", 1.306, 1.3)) == "NOT REACHED: start-up 1.31, limit 1.3"


def test_memory_is_counted_in_vectors_above_the_idle_process() -> None:
    assert vectors_above(300_000_000, 100_000_000, 40_000_000) == 5
    assert server_limit(linked_workers=2) == 6
    assert worker_limit(micro_batches_bytes=20_000_000, vector_bytes=40_000_000) == 4.5


def test_frames_are_weights_to_each_worker_and_one_gradient_for_each_subtree() -> None:
    # Shards 0..3 are a subtree; 4 and 6 of the other half are two leaves, 5 and 7 another two.
    sizes = frame_sizes(toy_job(100, 8), [(0, 1, 2, 3), (4, 6), (5, 7)])
    assert len(sizes) == 3 + 1 + 2 + 2
    assert all(400 < size < 500 for size in sizes)  # 100 parameters of 4 bytes, and the header


def test_the_clock_notes_every_update_and_changes_none(tmp_path) -> None:
    clock = StepClock(tmp_path / "clock")
    plain, clocked = SGD(0.5), clock.clocked(SGD(0.5))
    parameters, gradient = np.arange(4, dtype="f4"), np.ones(4, "f4")
    results = np.empty((2, 4), "f4")
    nothing = np.empty(0, "f4")
    for _ in range(3):
        for optimizer, out in zip((plain, clocked), results, strict=True):
            optimizer.update(parameters, gradient, 2, nothing, out=out, state_out=nothing)
    assert results[0].tobytes() == results[1].tobytes()
    seconds, cpu_s = clock.steps(1, 3)
    assert len(seconds) == len(cpu_s) == 2
    assert seconds.min() > 0
    assert cpu_s.min() >= 0


def test_a_worker_that_holds_many_shards_waits_once_a_step(monkeypatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("benchmarks.scaling.toy.time.sleep", waits.append)
    shards = toy_job(10, 4, wait_s=0.05).shards
    for step in (100, 101):
        for shard in shards:
            shard.batch(step)
    assert waits == [0.05, 0.05]


def test_a_shards_row_is_a_pure_function_of_the_step() -> None:
    shard = toy_job(10, 4).shards[3]
    assert [shard.batch(step).tolist() for step in (0, 5, 0)] == [[3.0], [1.0], [3.0]]


def test_the_peak_of_this_process_holds_what_was_there_for_a_moment() -> None:
    forget_peak(os.getpid())
    before = peak_bytes(os.getpid())
    # Straight from the kernel: NumPy's may be memory that this process was given before.
    with mmap.mmap(-1, 32_000_000) as memory:
        for start in range(0, len(memory), mmap.PAGESIZE):
            memory[start] = 1
    assert peak_bytes(os.getpid()) - before > 30_000_000


def test_a_process_has_a_proportional_peak_however_short_it_was_watched() -> None:
    with ProportionalPeaks([os.getpid()]) as peaks:
        pass
    # Python with NumPy and Ray imported, without their files.
    assert 5_000_000 < peaks.most_bytes[os.getpid()] < 5_000_000_000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.000157, "0.157"), (0.0543, "54.3"), (0.1, "100"), (0.999, "999"), (12.5, "12,500")],
)
def test_milliseconds_have_three_digits(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999 B"), (8_110, "8.11 kB"), (64e6, "64 MB"), (5e9, "5 GB")]
)
def test_bytes_are_counted_in_decimal_units(count: float, text: str) -> None:
    assert counted_bytes(count) == text


def test_an_axis_goes_from_power_to_power() -> None:
    axis = Axis.over("shards", 2, [1, 48])
    assert axis.ticks == (1, 2, 4, 8, 16, 32, 64)
    assert [axis.place(value) for value in (1, 8, 64)] == pytest.approx([0, 0.5, 1])
    assert Axis.over("ms", 10, [3, 4]).ticks == (1, 10)


def test_a_chart_has_a_line_with_a_dot_for_each_value() -> None:
    points = [(1.0, 1.0), (8.0, 10.0), (64.0, 100.0)]
    x, y = Axis.over("shards", 2, [1, 64]), Axis.over("ms", 10, [1, 100])
    drawn = ElementTree.fromstring(draw_lines("A <chart>", x, y, {"one": points}))
    line = drawn.find("{*}polyline")
    assert line is not None
    # The corners of the plot, 70..750 by 366..84, and its middle.
    assert line.get("points") == "70.0,366.0 410.0,225.0 750.0,84.0"
    assert len(drawn.findall("{*}circle")) == 3
