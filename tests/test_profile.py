"""`--profile`: what is measured around the actors, and what becomes of it."""

import json
import os
import signal
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.coordinator import Coordinator
from actors.decoder import decode
from actors.likeness import Likeness
from actors.local_cluster import LocalCluster
from actors.messages import DRIVER, Dx, Snapshot, TakeTimes, Times, Weights
from actors.orders import Envelope, Message, Tick
from actors.profiling import MeteredCore, ProfiledCore, ProfiledOptimizer
from actors.simulation import Simulation
from actors.stopwatch import ACTIVITIES, SPANS_PER_MESSAGE, TIMES_BYTES, Stopwatch, clock_offset
from actors.supervisor import Crew
from actors.wire import encode
from tests.command import LOCAL, LONG, Everstep, wait_for
from tests.linked import Clock
from tests.test_equal_bytes import bytes_after
from tests.toys import Momentum, toy_job
from trainer import Config, resume, train
from trainer.reports import EpochReport, Notice, Profiled, Report
from trainer.times_heard import TimesHeard


class Busy:
    """A core that takes a second for every message, and answers nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def handle(self, message: Message) -> list[Envelope]:
        self._clock.now_s += 1.0
        return []


WEIGHTS = Weights(4, np.zeros(2, "f4"))
DX = Dx(4, 0, 1, 1, 0.0, np.zeros(2, "f4"))


def spans_of(times: list[Times]) -> list[tuple[float, ...]]:
    return [tuple(span) for each in times for span in each.spans.reshape(-1, 4).tolist()]


# --- The watch


def test_a_watch_does_one_thing_at_a_time_and_counts_from_the_first_step_on(clock: Clock) -> None:
    watch = Stopwatch("worker-0", clock)
    clock.now_s = 110.0
    watch.switch("send")  # before any step
    clock.now_s = 111.0
    watch.switch("wait")
    clock.now_s = 120.0
    watch.enter(1)
    clock.now_s = 121.0
    watch.switch("compute")
    clock.now_s = 124.0
    watch.switch("send")
    watch.switch("send")  # is going on already
    clock.now_s = 126.0
    watch.switch("wait")
    clock.now_s = 199.0  # it waits still
    (times,) = watch.times(is_answer=True)
    assert spans_of([times]) == [(1, 1, 120, 121), (1, 0, 121, 124), (1, 4, 124, 126)]
    assert dict(zip(ACTIVITIES, times.seconds, strict=True)) == {
        "compute": 3, "wait": 1, "reduce": 0, "update": 0, "send": 2,
    }  # fmt: skip
    assert (times.name, times.is_answer, times.step_count, times.left_out) == ("worker-0", 1, 1, 0)


def test_spans_are_told_once_and_in_messages_that_a_link_takes(clock: Clock) -> None:
    watch = Stopwatch("server", clock)
    watch.enter(1)
    while not watch.is_full:
        clock.now_s += 1.0
        watch.switch("reduce" if watch.switch("wait") == "wait" else "wait")
    (first,) = watch.times()
    assert first.is_answer == 0
    assert len(spans_of([first])) == SPANS_PER_MESSAGE
    assert first.spans.nbytes + first.seconds.nbytes == TIMES_BYTES
    assert decode(b"".join(encode(first)), toy_job(1).array_bound_bytes) is not None
    (last,) = watch.times(is_answer=True)
    assert spans_of([last]) == []
    assert last.seconds.tolist() == first.seconds.tolist()


def test_more_spans_than_a_message_holds_come_in_several_and_the_last_is_the_answer(
    clock: Clock,
) -> None:
    watch = Stopwatch("server", clock)
    watch.enter(1)
    for _ in range(SPANS_PER_MESSAGE + 1):
        clock.now_s += 1.0
        watch.switch("send" if watch.switch("wait") == "wait" else "wait")
    times = watch.times(is_answer=True)
    assert len(times) > 1
    assert [each.is_answer for each in times] == [0] * (len(times) - 1) + [1]
    assert all(each.spans.nbytes + each.seconds.nbytes <= TIMES_BYTES for each in times)


def test_beyond_the_limit_spans_are_counted_and_the_sums_go_on(clock: Clock) -> None:
    watch = Stopwatch("server", clock, spans_kept=2)
    watch.enter(1)
    for activity in ("reduce", "send", "wait", "reduce"):
        clock.now_s += 1.0
        watch.switch(activity)
    (times,) = watch.times()
    assert spans_of([times]) == [(1, 1, 100, 101), (1, 2, 101, 102)]
    assert times.left_out == 2
    assert float(times.seconds.sum()) == 4.0


# --- Around the cores


def test_the_meter_counts_what_is_done_for_steps_and_nothing_else(clock: Clock) -> None:
    core = MeteredCore("worker-0", Busy(clock), clock)
    for message in (WEIGHTS, Tick(1.0), WEIGHTS, Tick(2.0)):
        assert core.handle(message) == []
    ((address, times),) = core.handle(TakeTimes())
    assert isinstance(times, Times)
    assert address == DRIVER
    assert times.seconds.tolist() == [2.0, 0, 0, 0, 0]
    assert (times.is_answer, times.step_count, times.spans.size) == (1, 0, 0)


def test_the_server_s_updates_are_told_from_its_sums(clock: Clock) -> None:
    class Slow(Momentum):
        def update(self, *arguments: Any, **outputs: Any) -> None:
            clock.now_s += 5.0

    watch = Stopwatch("server", clock)
    optimizer = ProfiledOptimizer(Slow(), watch)

    class Server(Busy):
        def handle(self, message: Message) -> list[Envelope]:
            super().handle(message)
            optimizer.update(*[DX.gradient] * 2, 1, *[DX.gradient] * 3)
            return super().handle(message)

    core = ProfiledCore("server", Server(clock), watch)
    core.handle(DX)
    watch.switch("wait")
    assert spans_of(watch.times()) == [(5, 2, 100, 101), (5, 3, 101, 106), (5, 2, 106, 107)]


def test_a_late_result_of_an_old_step_belongs_to_the_running_one(clock: Clock) -> None:
    watch = Stopwatch("server", clock)
    core = ProfiledCore("server", Busy(clock), watch, waits_after=True)
    for step in (3, 4, 3):
        core.handle(replace(DX, step=step))
        clock.now_s += 1.0
    (times,) = watch.times()
    assert [span[0] for span in spans_of([times])] == [4, 5, 5, 5, 5]
    assert times.step_count == 2


def test_the_coordinator_passes_times_on_even_of_a_server_that_is_gone() -> None:
    coordinator = Coordinator(Crew(1, 1), 2, toy_job(2).state, Likeness())
    times = Times("server", 0, 0.0, 0, 0, np.zeros(5), np.empty(0))
    assert coordinator.handle(times) == [(DRIVER, times)]


def test_a_profile_changes_no_byte_and_the_simulation_does_not_see_it() -> None:
    job = toy_job(4)
    profiled = replace(job, profile=True)
    assert bytes_after(LocalCluster(profiled, 2), 9) == bytes_after(LocalCluster(job, 2), 9)
    outcomes = [Simulation(each, 2, 4, 3).run(seed=7) for each in (job, profiled)]
    digests = {outcome.done.parameters.tobytes() for outcome in outcomes}
    assert len(digests) == 1
    assert outcomes[0].facts == outcomes[1].facts
    assert "Times" not in outcomes[1].facts


# --- In the driver


def told(name: str, offset_s: float, *spans: tuple[float, ...]) -> Times:
    return Times(name, 1, offset_s, 1, 3, np.ones(5), np.array(spans, "f8").reshape(-1))


def test_the_clock_of_another_host_is_put_forward_and_that_of_this_one_left_alone() -> None:
    heard = TimesHeard()
    heard.hear(told("worker-10", clock_offset() + 1000.0))
    heard.hear(told("worker-9", clock_offset()))
    heard.hear(told("server", clock_offset()))
    shifts = {lane.name: lane.shift_s for lane in heard.lanes()}
    assert list(shifts) == ["server", "worker-9", "worker-10"]
    assert shifts["worker-9"] == shifts["server"] == 0.0
    assert shifts["worker-10"] == pytest.approx(1000.0, abs=1.0)
    assert heard.left_out == 9


def trace_of(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """The complete events of each actor, by its name."""
    trace = json.loads((directory / "trace.json").read_text())
    assert trace["displayTimeUnit"] == "ms"
    assert trace["otherData"] == {"spans_left_out": 0}
    names: dict[int, str] = {}
    events = defaultdict(list)
    for event in trace["traceEvents"]:
        if event["ph"] == "M":
            if event["name"] == "process_name":
                names[event["pid"]] = event["args"]["name"]
            continue
        assert event["ph"] == "X"
        assert event["name"] in ACTIVITIES
        assert event["dur"] >= 0
        assert event["tid"] == event["pid"]
        events[names[event["pid"]]].append(event)
    return events


def check_trace(directory: Path, steps: int, all_workers: bool = True) -> None:
    """Every step is there, no actor does two things at once, all lies within the run."""
    events = trace_of(directory)
    wall_us = 1e6 * json.loads((directory / "result.json").read_text())["wall_s"]
    assert list(events) == ["server", "worker-0", "worker-1"]
    for name, spans in events.items():
        seen = {event["args"]["step"] for event in spans}
        assert seen <= set(range(1, steps + 1))
        if name == "server" or all_workers:
            assert len(seen) == steps
        ends = [event["ts"] + event["dur"] for event in spans]
        starts = [event["ts"] for event in spans]
        assert starts[0] >= 0
        assert max(ends) <= wall_us
        rounding_us = 0.002  # three decimals each
        pairs = zip(ends, starts[1:], strict=False)
        assert all(start >= end - rounding_us for end, start in pairs), name
    work = {name: {event["name"] for event in spans} for name, spans in events.items()}
    assert {"reduce", "update", "wait"} <= work["server"]
    assert {"compute", "wait"} <= work["worker-0"]


def test_a_run_in_one_process_is_profiled_and_ends_with_the_same_digest(
    quick: Config, tmp_path: Path
) -> None:
    result = train(quick, tmp_path / "run", profile=True)
    assert result.digest == train(quick).digest
    check_trace(tmp_path / "run", steps=2 * 44)
    assert result.profile is not None
    assert [actor.name for actor in result.profile.actors] == ["server", "worker-0", "worker-1"]
    assert [actor.step_count for actor in result.profile.actors] == [88, 88, 88]
    assert result.profile.trace == tmp_path / "run" / "trace.json"


@pytest.mark.usefixtures("ray_session")
def test_a_run_on_ray_is_profiled_and_ends_with_the_same_digest(
    quick: Config, tmp_path: Path
) -> None:
    result = train(quick.with_changes(cluster={"kind": "ray"}), tmp_path / "run", profile=True)
    assert result.digest == train(quick).digest
    # A worker that is late, on a busy machine, goes on with the newest step.
    check_trace(tmp_path / "run", 2 * 44, all_workers=result.summary.suspicions == 0)
    assert result.profile is not None
    server = result.profile.server
    assert server is not None
    assert server.step_count == 88
    assert all(server.seconds[each] > 0 for each in ("wait", "reduce", "update", "send"))
    assert all(worker.seconds["compute"] > 0 for worker in result.profile.workers)


@pytest.mark.usefixtures("ray_session")
def test_without_a_profile_a_training_on_ray_still_measures_what_it_computes(
    quick: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float, ...]] = []

    def too_small(step_s: float, workers_s: list[float], server_s: float, besides_s: float) -> str:
        asked.append((step_s, *workers_s, server_s, besides_s))
        return "note: made up"

    monkeypatch.setattr("trainer.timekeeping.too_small", too_small)
    heard: list[Report] = []
    result = train(quick.with_changes(cluster={"kind": "ray"}), watchers=[heard.append])
    if not result.summary.deaths:
        (numbers,) = asked
        assert len(numbers) == 5
        assert all(seconds > 0 for seconds in numbers)
        # What is measured within steps fits into them.
        assert max(numbers[1:4]) < numbers[0]
        assert heard[-1] == Notice("note: made up")
    assert result.profile is None


def test_without_a_profile_one_process_measures_nothing_and_writes_no_trace(
    quick: Config, tmp_path: Path
) -> None:
    heard: list[Report] = []
    result = train(quick, tmp_path / "run", [heard.append])
    assert result.profile is None
    assert not (tmp_path / "run" / "trace.json").exists()
    assert not [report for report in heard if isinstance(report, Profiled | Notice)]


def test_a_training_that_is_stopped_has_its_profile(quick: Config, tmp_path: Path) -> None:
    heard: list[Report] = []

    def stop(report: Report) -> None:
        heard.append(report)
        if isinstance(report, EpochReport) and report.epoch == 3:
            raise KeyboardInterrupt

    longer = quick.with_changes(training={"epochs": 1000}, checkpoints={"every_s": 3600})
    with pytest.raises(KeyboardInterrupt):
        train(longer, tmp_path / "run", [stop], profile=True)
    (profiled,) = [report for report in heard if isinstance(report, Profiled)]
    server = profiled.profile.server
    assert server is not None
    assert server.step_count >= 3 * 44
    assert set(range(1, 3 * 44 + 1)) <= {
        e["args"]["step"] for e in trace_of(tmp_path / "run")["server"]
    }


def test_a_resumed_training_s_trace_is_of_its_own_steps(quick: Config, tmp_path: Path) -> None:
    train(quick, tmp_path / "run", profile=True)
    resume(tmp_path / "run", ["training.epochs=3"], profile=True)
    steps = {event["args"]["step"] for event in trace_of(tmp_path / "run")["server"]}
    assert steps == set(range(89, 133))


def test_a_trace_that_can_not_be_written_ends_no_training(
    quick: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, content: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.timekeeping.write_atomically", refuse)
    heard: list[Report] = []
    result = train(quick, tmp_path / "run", [heard.append], profile=True)
    line = f"{tmp_path / 'run' / 'trace.json'}: No space left on device; the trace is not written"
    assert Notice(line) in heard
    assert result.profile is not None
    assert result.profile.trace is None


# --- The command


def test_the_command_prints_table_and_advice_within_80_columns(everstep: Everstep) -> None:
    done = everstep.run("train", *LOCAL, "--profile", "--out", "run")
    assert done.returncode == 0, done.stderr
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0].startswith("accuracy")
    table = lines[9:]
    assert table[1].split() == ["profile", "compute", "wait", "reduce", "update", "send", "step"]
    assert [line.split()[0] for line in table[3:6]] == ["server", "worker-0", "worker-1"]
    assert any(line.startswith("A step takes ") for line in table)
    assert table[-1] == "trace     run/trace.json (open it in https://ui.perfetto.dev)"
    assert max(len(line) for line in table) <= 80
    check_trace(everstep.directory / "run", steps=30 * 44)


def test_ctrl_c_prints_the_profile_and_leaves_a_trace(everstep: Everstep) -> None:
    process = everstep.start("train", *LOCAL, *LONG, "--profile", "--out", "run")
    metrics = everstep.directory / "run" / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.stat().st_size > 0, process)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert " profile " in output
    assert output.splitlines()[-1].startswith("trace     run/trace.json")
    assert trace_of(everstep.directory / "run")["server"]
    assert errors.endswith("go on with: everstep resume run\n")


def test_a_snapshot_is_still_the_largest_message_of_a_large_model() -> None:
    job = toy_job(1, size=100_000)
    state = job.state
    assert isinstance(state, Snapshot)
    assert job.array_bound_bytes == state.parameters.nbytes + state.optimizer_state.nbytes
    assert toy_job(1).array_bound_bytes == TIMES_BYTES


@pytest.mark.parametrize(
    "damage",
    [
        {"seconds": np.ones(3)},
        {"spans": np.ones(5)},
        {"spans": np.array([1.0, 99.0, 0.0, 1.0])},
        {"spans": np.array([1.0, 0.0, np.nan, 1.0])},
        {"clock_offset_s": float("inf")},
    ],
)
def test_times_that_no_actor_of_ours_tells_are_passed_over(damage: dict[str, Any]) -> None:
    heard = TimesHeard()
    sound = Times("worker-0", 1, 0.0, 1, 0, np.ones(5), np.array([1.0, 0.0, 2.0, 3.0]))
    heard.hear(replace(sound, **damage))
    assert heard.actors() == ()
    assert heard.lanes() == []
    heard.hear(sound)
    assert [actor.name for actor in heard.actors()] == ["worker-0"]
