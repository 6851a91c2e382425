"""The thread that fires a plan's faults: what it sends, what it writes, what it lets go."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import pytest

from actors.cluster import Heard
from actors.messages import Progress
from actors.orders import Died, DriverMessage, Joined
from trainer.errors import RunWriteError
from trainer.faults.injection import FaultInjector
from trainer.faults.log import Hit, Moment, read_faults, read_timeline
from trainer.faults.plan import Plan

DEADLINE_S = 30


class Actors:
    """Processes that only write down what is sent to them; those in `missing` are gone."""

    def __init__(self, missing: tuple[str, ...] = ()) -> None:
        self.sent: Queue[tuple[str, int]] = Queue()
        self.missing = missing

    def signal(self, name: str, number: int) -> bool:
        if name in self.missing:
            return False
        self.sent.put((name, number))
        return True

    def next(self) -> tuple[str, int]:
        return self.sent.get(timeout=DEADLINE_S)


class Injected:
    def __init__(self, injector: FaultInjector) -> None:
        self.injector = injector
        self.now_s = injector._began_s

    def hear(self, *messages: DriverMessage) -> None:
        for message in messages:
            self.now_s += 1.0
            self.injector.hear(Heard(self.now_s, message))


@contextmanager
def injected(
    folder: Path, actors: Actors, *faults: dict[str, Any], step: int = 0
) -> Iterator[Injected]:
    with FaultInjector(Plan(faults=faults), actors.signal, folder, step) as injector:
        yield Injected(injector)


def at(step: int) -> Progress:
    return Progress(0, step, 32, 1.0)


WORKER = Joined("worker-1", "10.0.0.1", 4711)


def test_a_fault_is_fired_and_written_down_with_whom_it_hit(tmp_path: Path) -> None:
    actors = Actors()
    with injected(tmp_path, actors, {"kill": "worker-1", "at_step": 100}) as run:
        run.hear(WORKER, at(99), at(104))
        assert actors.next() == ("worker-1", SIGKILL)
    (record,) = read_faults(tmp_path)
    assert record.fired
    assert (record.number, record.fault) == ("1", "kill worker-1 at step 100")
    assert (record.step, record.attempt) == (104, 1)
    assert record.at_s >= 0
    assert record.hits == (Hit("worker-1", "10.0.0.1", 4711),)


def test_the_timeline_holds_what_was_heard_and_when(tmp_path: Path) -> None:
    with injected(tmp_path, Actors(), step=40) as run:
        run.hear(WORKER, at(50), at(60))
    assert read_timeline(tmp_path) == [Moment(1, 0.0, 40), Moment(1, 2.0, 50), Moment(1, 3.0, 60)]


def test_whoever_stands_goes_on_when_training_ends(tmp_path: Path) -> None:
    actors = Actors()
    with injected(tmp_path, actors, {"pause": "worker-1", "for_s": 999, "at_s": 0}) as run:
        run.hear(WORKER)
        assert actors.next() == ("worker-1", SIGSTOP)
    assert actors.next() == ("worker-1", SIGCONT)


def test_a_slow_process_stands_and_goes_on_by_the_clock_and_is_written_once(
    tmp_path: Path,
) -> None:
    actors = Actors()
    fault = {"slow": "worker-1", "factor": 2, "at_s": 0}
    with injected(tmp_path, actors, fault) as run:
        run.hear(WORKER)
        numbers = [actors.next()[1] for _ in range(6)]
    assert numbers == [SIGSTOP, SIGCONT] * 3
    assert len(read_faults(tmp_path)) == 1
    assert len((tmp_path / "faults.jsonl").read_text().splitlines()) == 2


def test_a_missing_process_is_not_hit_and_its_next_life_is(tmp_path: Path) -> None:
    actors = Actors(missing=("worker-1",))
    with injected(tmp_path, actors, {"kill": "worker-1", "at_s": 0}) as run:
        run.hear(WORKER, Died("worker-1", "gone"), Joined("worker-1.2", "10.0.0.1", 4712))
        assert actors.next() == ("worker-1.2", SIGKILL)
    (record,) = read_faults(tmp_path)
    assert [hit.process_id for hit in record.hits] == [4712]


def test_an_unfired_fault_is_written_down_with_the_reason(tmp_path: Path) -> None:
    with injected(tmp_path, Actors(), {"kill": "worker-7", "at_step": 1}) as run:
        run.hear(WORKER, at(50))
    (record,) = read_faults(tmp_path)
    assert not record.fired
    assert record.why == "no such actor lived: worker-7; there were worker-1"


def test_a_failure_of_the_thread_is_raised_where_the_block_ends(tmp_path: Path) -> None:
    def broken(name: str, number: int) -> bool:
        raise RunWriteError("no")

    plan = Plan(faults=({"kill": "worker-1", "at_s": 0},))
    with pytest.raises(RunWriteError, match="no"), FaultInjector(plan, broken, tmp_path) as made:
        made.hear(Heard(0.0, WORKER))


def test_a_line_that_a_crash_cut_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "faults.jsonl").write_text('{"attempt": 1, "unix_s": 5.0}\n{"number": "1", "fau')
    with injected(tmp_path, Actors(), {"kill": "worker-7", "at_s": 0}):
        pass
    (record,) = read_faults(tmp_path)
    assert record.attempt == 2
    assert record.at_s > 1e9  # the first attempt began in 1970


DRIVER = """
import sys, threading, time
from pathlib import Path
from trainer.faults.injection import FaultInjector
from trainer.faults.plan import load_plan
folder = Path(sys.argv[1])
with FaultInjector(load_plan(folder / "plan.yaml"), lambda *_: False, folder):
    before_s = time.monotonic()
    until_s = before_s + 20
    while time.monotonic() < until_s:
        threading.Event().wait(0.01)
        now_s = time.monotonic()
        if now_s - before_s > 0.4:
            print("woken")
            break
        before_s = now_s
"""


def run_driver(folder: Path, plan: str) -> "subprocess.CompletedProcess[str]":
    (folder / "plan.yaml").write_text(plan)
    return subprocess.run(
        [sys.executable, "-c", DRIVER, str(folder)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        cwd=Path(__file__).parent.parent,
    )


def test_a_driver_that_kills_itself_has_said_so_and_does_not_do_it_again(tmp_path: Path) -> None:
    plan = "faults: [{kill: driver, at_s: 0}, {kill: driver, at_s: 0.1}, {pause: driver, for_s: 1, at_s: 0.2}]"  # noqa: E501
    for count in (1, 2):
        done = run_driver(tmp_path, plan)
        assert done.returncode == -SIGKILL, done.stderr
        records = read_faults(tmp_path)
        assert [record.number for record in records if record.fired] == ["1", "2"][:count]
        assert records[-1].attempt == count
        assert records[-1].hits[0].name == "driver"
    done = run_driver(tmp_path, plan)
    assert (done.returncode, done.stdout) == (0, "woken\n"), done.stderr


def test_a_paused_driver_is_woken(tmp_path: Path) -> None:
    done = run_driver(tmp_path, "faults: [{pause: driver, for_s: 0.5, at_s: 0}]")
    assert (done.returncode, done.stdout) == (0, "woken\n"), done.stderr
    (record,) = read_faults(tmp_path)
    assert record.fired


def test_the_first_fault_knows_who_joined_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a random one that is due at once would find nobody."""
    first: Queue[list[str]] = Queue()

    def due(schedule: object, now_s: float, step: int, living: dict[str, Any]) -> list[Any]:
        first.put([*living])
        return []

    monkeypatch.setattr("trainer.faults.schedule.FaultSchedule.due", due)
    injector = FaultInjector(Plan(), Actors().signal, tmp_path)
    injector.hear(Heard(0.0, WORKER))
    with injector:
        assert first.get(timeout=DEADLINE_S) == ["worker-1"]
