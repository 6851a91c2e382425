"""Which knob to turn, and the table: from numbers that are made up, so known by hand."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from actors.stopwatch import ACTIVITIES, Activity
from trainer.advice import advise, too_small
from trainer.profile import ActorTimes, Profile, Setting
from trainer.profile_table import show_profile

STEPS = 1000


def spent(name: str, steps: int = STEPS, **ms: float) -> ActorTimes:
    """An actor that spent so many milliseconds a step on each."""
    seconds: dict[Activity, float] = {each: ms.get(each, 0.0) * steps / 1e3 for each in ACTIVITIES}
    return ActorTimes(name, steps, seconds)


def server(
    step_ms: float, reduce: float = 0.1, update: float = 0.1, send: float = 0.1
) -> ActorTimes:
    wait = step_ms - reduce - update - send
    return spent("server", wait=wait, reduce=reduce, update=update, send=send)


def workers(*compute_ms: float) -> list[ActorTimes]:
    return [spent(f"worker-{i}", compute=ms, wait=1.0) for i, ms in enumerate(compute_ms)]


def profile(
    server: ActorTimes,
    workers: list[ActorTimes],
    in_one_process: bool = False,
    shards: int = 8,
    batch_size: int = 256,
    cores: int = 2,
) -> Profile:
    setting = Setting(in_one_process, len(workers), shards, batch_size, cores)
    return Profile((server, *workers), setting)


ROWS = (
    "A shard's micro-batch has 4 rows: fewer training.shards (at least 2) or a larger"
    " training.batch_size make larger, quicker products."
)


@pytest.mark.parametrize(
    ("measured", "advice"),
    [
        # One process: 0.2 + 0.2 + 0.1 + 0.1 = 0.6 of 1.2 ms.
        (profile(server(1.2), workers(0.2, 0.2)),
         ["Messages cost more than the workers save: a step takes 1.2 ms, one process"
          " (cluster.kind=local) would take about 0.60 ms.",
          "To make workers worth it, give each message more work: a larger training.batch_size"
          " or training.local_steps."]),
        (profile(server(10.0), workers(6.0, 3.0, 3.0), shards=8),
         ["The others wait for worker-0: it computes 6.0 ms a step, worker-1 3.0 ms.",
          "8 shards do not divide evenly among 3 workers: set training.shards to a multiple of 3,"
          " or change cluster.workers."]),
        (profile(server(10.0), workers(3.0, 9.0)),
         ["The others wait for worker-1: it computes 9.0 ms a step, worker-0 3.0 ms.",
          "If both have as many shards, see what else runs there, or do without it."]),
        # The server's own: 3 + 2 + 2 = 7 of 10 ms.
        (profile(server(10.0, reduce=3.0, update=2.0, send=2.0), workers(3.0, 3.0)),
         ["The server adds, updates and sends for 70 % of a step, and the workers wait for it:"
          " fewer cluster.workers make fewer messages.",
          "A larger training.batch_size or training.local_steps lets workers compute more between"
          " two messages."]),
        (profile(server(10.0), workers(8.0, 8.0), cores=16),
         ["Workers compute for 80 % of a step: more cluster.workers share the work, as long as"
          " each has a core (this machine has 16)."]),
        (profile(server(10.0), workers(8.0, 8.0), cores=2),
         ["Workers compute for 80 % of a step, and this machine has 2 cores for 2 workers: more"
          " machines (--address) make it quicker."]),
        (profile(server(10.0), workers(8.0, 8.0), shards=2, cores=16),
         ["Workers compute for 80 % of a step, and each has one of the 2 shards: more"
          " training.shards let more cluster.workers share the work."]),
        (profile(server(10.0), workers(8.0, 8.0), batch_size=32),
         ["Workers compute for 80 % of a step, and this machine has 2 cores for 2 workers: more"
          " machines (--address) make it quicker.", ROWS]),
        (profile(server(10.0, reduce=1.0, update=0.5), workers(5.0, 5.0)),
         ["Of a step's 10.0 ms, 50 % are the slowest worker's computing and 15 % the server's; the"
          " rest are messages and waiting.",
          "A larger training.batch_size or training.local_steps makes messages rarer."]),
        (profile(server(1.0), workers(0.4, 0.4), in_one_process=True),
         ["A step takes 1.0 ms, 80 % of it computation: too short for messages to pay, stay in one"
          " process."]),
        (profile(server(10.0), workers(4.0, 5.0), in_one_process=True, batch_size=32),
         ["A step takes 10.0 ms, 90 % of it computation: workers in processes of their own"
          " (cluster.kind=ray, cluster.workers=2) can share it.",
          ROWS.replace("at least 2", "at least 1")]),
        (profile(server(10.0), workers(9.0), in_one_process=True, shards=1, cores=4),
         ["A step takes 10.0 ms, 90 % of it computation: it can not be shared here, with 4 cores"
          " and 1 shard."]),
        (profile(server(10.0), []),
         ["No step was seen from its beginning to its end: nothing can be said."]),
    ],
)  # fmt: skip
def test_the_numbers_decide_which_knob_is_named(measured: Profile, advice: list[str]) -> None:
    assert advise(measured) == advice


def test_a_worker_that_took_part_in_few_steps_is_not_called_slow() -> None:
    late = spent("worker-2.2", steps=STEPS // 10, compute=60.0)
    measured = profile(server(10.0), [*workers(8.0, 8.0), late], cores=16)
    assert advise(measured)[0].startswith("Workers compute for 80 % of a step")


def test_of_several_lives_of_the_server_the_longest_counts() -> None:
    short = spent("server", steps=10, wait=500.0)
    longer = spent("server.2", wait=9.0, reduce=1.0)
    measured = Profile((short, longer, *workers(8.0, 8.0)), Setting(False, 2, 8, 256, 16))
    assert measured.server == longer
    assert "80 % of a step" in advise(measured)[0]


@pytest.mark.parametrize(
    ("seconds", "line"),
    [
        # 0.00025 + 0.00015 + 0.00005 + 0.00005 = 0.0005; the slower worker and the server: 0.0003.
        ((0.0012, [0.00025, 0.00015], 0.00005, 0.00005),
         "note: a step takes 1.2 ms, of which 0.30 ms are computation; one process"
         " (--set cluster.kind=local) would take about 0.50 ms"),
        ((0.100, [0.045, 0.040], 0.001, 0.0),
         "note: a step takes 100 ms, of which 46.0 ms are computation; one process"
         " (--set cluster.kind=local) would take about 86.0 ms"),
        ((0.100, [0.045, 0.045], 0.001, 0.0), None),  # a tenth less is asked for
        ((0.100, [0.045, 0.040], 0.001, 0.005), None),  # the driver's part would come on top
        ((0.100, [0.090, 0.090], 0.010, 0.0), None),
    ],
)  # fmt: skip
def test_a_training_is_called_too_small_when_one_process_would_clearly_be_quicker(
    seconds: tuple[float, list[float], float, float], line: str | None
) -> None:
    assert too_small(*seconds) == line


def shown(measured: Profile) -> list[str]:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    show_profile(console, measured)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_table_has_a_row_for_each_actor_and_fits_80_columns() -> None:
    lines = shown(profile(server(1.2), workers(0.2, 123.4, 9999.0)))
    assert max(len(line) for line in lines) <= 80
    rows = [line.split() for line in lines]
    assert ["profile", "compute", "wait", "reduce", "update", "send", "step"] in rows
    # 1.2 ms: 0.9 of waiting, 0.1 each for the rest; a worker of 0.2 waits 1.0.
    assert ["server", "-", "0.90", "75%", "0.10", "8%", "0.10", "8%", "0.10", "8%", "1.20"] in rows
    assert ["worker-0", "0.20", "17%", "1.00", "83%", "-", "-", "-", "1.20"] in rows
    assert ["worker-1", "123", "99%", "1.00", "1%", "-", "-", "-", "124"] in rows


def test_of_many_workers_the_mean_the_slowest_and_the_quickest_are_shown() -> None:
    lines = shown(profile(server(20.0), workers(*range(1, 17)), shards=16))
    rows = [line.split() for line in lines]
    # The mean of 1 to 16 is 8.5.
    assert ["16", "workers", "8.50", "89%", "1.00", "11%", "-", "-", "-", "9.50"] in rows
    assert ["slow:", "worker-15", "16.0", "94%", "1.00", "6%", "-", "-", "-", "17.0"] in rows
    assert ["quick:", "worker-0", "1.00", "50%", "1.00", "50%", "-", "-", "-", "2.00"] in rows
    assert len(lines) < 24  # one screen
    assert max(len(line) for line in lines) <= 80


def test_where_the_trace_is_and_what_it_lacks_is_said(tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    plain = profile(server(1.2), workers(0.2))
    measured = Profile(plain.actors, plain.setting, trace, left_out=12_345)
    assert not any(line.startswith("trace") for line in shown(measured))  # it is not there
    trace.touch()
    assert shown(measured)[-2:] == [
        f"trace     {trace} (open it in https://ui.perfetto.dev)",
        "          without the last 12,345 spans, which are only summed up",
    ]
