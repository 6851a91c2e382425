"""`everstep status` of a run in a store: what is known at once, what by watching, what never."""

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.command import DEADLINE_S, LOCAL, LONG, Everstep, wait_for
from tests.stores import S3Server, memory, s3, s3_server  # noqa: F401 - fixtures
from tests.test_status import BEGAN_S, EVENTS, METRICS, NOW_S, event, unbroken
from trainer import Config, train
from trainer.errors import RunDirectoryError
from trainer.files import FOLDER, checkpoints_in
from trainer.lock_holder import LOCK
from trainer.past import UNKNOWN_CAUSE
from trainer.status import read_status
from trainer.status_command import as_lines
from trainer.storage import stored_lock
from trainer.storage.place import place_of
from trainer.storage.stored_lock import SILENCE_S
from trainer.storage.stored_path import StoredPath

# As a process of another machine writes it, of which only its writing can be known.
HOLDER = {"pid": 4711, "host": "head", "command": "train", "began_unix_s": BEGAN_S, "life": 1}
SIGN = {"unix_s": 1_019.0, "step": 76, "is_last": False, "machine": "another", "token": "ab"}
SILENT = (
    "process 4711 on host head gave the store no sign of life for 15 s: it was killed, its machine"
    " failed, or it does not reach the store"
)
HERE = {"machine": stored_lock.this_machine(), "pid": os.getpid()}


def stored(url: str) -> StoredPath:
    place = place_of(url)
    assert isinstance(place, StoredPath)
    return place


def put(path: StoredPath, *lines: dict[str, Any]) -> None:
    path.write("".join(json.dumps(line) + "\n" for line in lines).encode())


@pytest.fixture
def run(memory: str) -> StoredPath:  # noqa: F811
    """The run of tests/test_status.py, and nobody holds it."""
    place = stored(memory)
    (place / "config.yaml").write(b"training:\n  epochs: 10\n")
    put(place / "events.jsonl", *EVENTS)
    put(place / "metrics.jsonl", *METRICS)
    return place


def kept() -> dict[str, Any]:
    """All that the store in memory has, and when it was written."""
    from fsspec.implementations.memory import MemoryFileSystem

    return {k: (file.getvalue(), file.modified) for k, file in MemoryFileSystem.store.items()}


class Clock:
    """Runs only while somebody waits; at each of these looks something happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **at_s: Callable[[], None]) -> None:
        self.now_s, self._at_s = 0.0, {float(key[1:]): call for key, call in at_s.items()}
        monkeypatch.setattr("trainer.lock_look.time", self)

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self._at_s.pop(self.now_s, lambda: None)()


def test_a_holder_that_lives_on_this_machine_is_known_at_once(
    run: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(run / LOCK, HOLDER | SIGN | HERE)
    clock, before = Clock(monkeypatch), kept()
    told = unbroken(read_status(run, NOW_S))
    assert (clock.now_s, kept()) == (0.0, before)
    assert told.startswith(
        f"state running for 20.0 s: `everstep train`, process {os.getpid()} on host head; the store"
        " hears of it every 3.0 s progress 3 of 10 epochs done, step 76 of 200 speed 4.00 steps a"
        " second (last 3.0 s), 160 samples a second (epoch 3)"
    )
    # It was told 3 s ago; who reads so late has heard nothing that the store could have had.
    assert read_status(run, NOW_S + 3.5).rate == 4.0
    assert "no news for 10.5 s" in unbroken(read_status(run, 1_029.5))


def test_a_holder_that_died_on_this_machine_is_known_at_once(
    run: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], dict(os.environ))
    os.waitpid(number, 0)
    put(run / LOCK, HOLDER | SIGN | HERE | {"pid": number})
    clock, before = Clock(monkeypatch), kept()
    status = read_status(run, NOW_S)
    assert (clock.now_s, kept()) == (0.0, before)
    assert (status.state, status.reason, status.step) == ("died", UNKNOWN_CAUSE, 76)
    assert as_lines(status)[-1] == f"go on with: everstep resume {run}"


def test_a_holder_whose_number_is_another_process_s_by_now_has_died(
    run: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that was started anew, which may get the old one's names and numbers."""
    lock = stored_lock.StoredLock(run, "train", "--out")
    holder = json.loads((run / LOCK).read_bytes())
    assert holder["pid"] == os.getpid()
    clock = Clock(monkeypatch)
    assert read_status(run, NOW_S).state == "running"
    lock.release()
    put(run / LOCK, holder | SIGN | HERE | {"started_ticks": holder["started_ticks"] - 1})
    status = read_status(run, NOW_S)
    assert (status.state, status.reason, clock.now_s) == ("died", UNKNOWN_CAUSE, 0.0)


def test_a_holder_elsewhere_lives_when_its_lock_changes(
    run: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(run / LOCK, HOLDER | SIGN)
    clock = Clock(monkeypatch, _2=lambda: put(run / LOCK, HOLDER | SIGN | {"life": 2, "step": 80}))
    told: list[str] = []
    status = read_status(run, NOW_S, told.append)
    assert (status.state, status.step, clock.now_s, told) == ("running", 80, 2.0, [])
    assert status.lock.holder is not None
    assert len(status.roster.members()) == 2


@pytest.mark.parametrize("free", [{"is_free": True}, None])
def test_a_holder_elsewhere_that_lets_go_meanwhile_is_gone(
    free: dict[str, Any] | None, run: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(run / LOCK, HOLDER | SIGN)

    def let_go() -> None:
        put(run / "events.jsonl", *EVENTS, event(1_020.0, 80, "ended", "driver", reason="done"))
        put(run / "result.json", {"digest": "abc"})
        if free is None:
            (run / LOCK).unlink()
        else:
            put(run / LOCK, HOLDER | SIGN | free)

    clock = Clock(monkeypatch, _2=let_go)
    status = read_status(run, NOW_S)
    assert (status.state, clock.now_s) == ("finished", 2.0)


def test_of_a_silent_holder_elsewhere_it_is_told_what_can_not_be_known(
    run: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(run / LOCK, HOLDER | SIGN)
    clock, before, told = Clock(monkeypatch), kept(), list[str]()
    status = read_status(run, NOW_S, told.append)
    assert (clock.now_s, kept()) == (SILENCE_S, before)
    assert told == [f"{run}/run.lock: process 4711 on host head is silent; watched for 15 s"]
    assert (status.state, status.reason, status.step) == ("died", SILENT, 76)
    assert f"state died, 1.0 s ago: {SILENT} progress" in unbroken(status)
    assert max(map(len, as_lines(status))) <= 80
    assert status.roster.members() == []
    # What its last words say, or a plan, is known all the same.
    put(run / "events.jsonl", *EVENTS, event(1_016.0, 64, "ended", "driver", reason="why"))
    assert read_status(run, NOW_S).reason == "why"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"pid": "x", "machine": 3}'])
def test_a_lock_that_nobody_can_read_is_watched_too(
    content: bytes, run: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / LOCK).write(content)
    Clock(monkeypatch)
    status = read_status(run, NOW_S)
    assert (status.state, str(status.reason)[:28]) == ("died", "its holder gave the store no")


def test_a_store_that_does_not_answer_is_one_line(
    run: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def gone(*arguments: Any, **options: Any) -> None:
        raise ConnectionError("gone")

    for method, named in (("cat_file", "/run.lock"), ("info", "")):
        monkeypatch.setattr(MemoryFileSystem, method, gone)
        with pytest.raises(RunDirectoryError) as caught:
            read_status(run, NOW_S)
        file = f"{run}{named}: " if named else ""
        assert str(caught.value) == (
            f"DIR {run}: {file}the store can not be reached (gone);"
            " check its address and the network"
        )


def test_a_file_url_is_the_directory_itself(everstep: Everstep) -> None:
    config = Config(training={"epochs": 2}, cluster={"kind": "local"})
    digest = train(config, everstep.directory / "run").digest
    done = everstep.run("status", f"file://{everstep.directory}/run")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"digest    {digest}" in done.stdout.splitlines()


def test_a_training_into_s3_is_told_of_while_it_runs_and_after_it_was_killed(
    s3: S3Server,  # noqa: F811
    everstep: Everstep,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = stored("s3://runs/status")
    everstep.environment = everstep.environment | dict(os.environ)
    process = everstep.start("train", *LOCAL, *LONG, "--out", str(place))
    wait_for(lambda: checkpoints_in(place / FOLDER), process)

    def told() -> dict[str, Any]:
        done = everstep.run("status", str(place), "--json")
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        fields = json.loads(done.stdout)
        assert isinstance(fields, dict)
        return fields

    fields = wait_for(lambda: (now := told())["actors"] and now, process)
    assert (fields["state"], fields["process_id"]) == ("running", process.pid)
    assert (fields["directory"], len(fields["actors"])) == (str(place), 3)
    with monkeypatch.context() as patch:  # as another machine sees it, by its signs of life
        patch.setattr("trainer.storage.stored_lock.this_machine", lambda: "another")
        assert read_status(place).state == "running"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=DEADLINE_S)
    dead = told()
    assert (dead["state"], dead["reason"], dead["actors"]) == ("died", UNKNOWN_CAUSE, [])
    absent = everstep.run("status", "s3://runs/absent")
    line = "everstep: DIR s3://runs/absent: no such directory\n"
    assert (absent.returncode, absent.stderr) == (2, line)


def test_the_command_says_why_it_takes_long(
    run: StoredPath, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from trainer.status_command import print_status

    put(run / LOCK, HOLDER | SIGN)
    Clock(monkeypatch)
    print_status(str(run), as_json=True)
    output, errors = capsys.readouterr()
    assert json.loads(output)["reason"] == SILENT
    assert errors.startswith(f"everstep: {run}/run.lock: process 4711 on host head is silent;")
