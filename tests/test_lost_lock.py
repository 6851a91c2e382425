"""The lock of a stored run when its holder was cut off, when two take it, when the store hangs."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command import DEADLINE_S
from tests.stores import memory  # noqa: F401 - a fixture
from tests.test_checkpoints import checkpoint
from trainer import Config, train
from trainer.errors import LockLostError, RunDirectoryError, RunWriteError
from trainer.faults.log import FAULTS, FaultLog
from trainer.files import FOLDER
from trainer.lock_holder import LOCK
from trainer.past import Before
from trainer.reports import CheckpointFailed, EpochReport, Event, InEpoch, Notice, Report
from trainer.run_directory import RunDirectory
from trainer.run_place import CONFIG, EVENTS, TRACE
from trainer.storage import courier, stored_lock
from trainer.storage.courier import Courier
from trainer.storage.place import place_of
from trainer.storage.stored_lock import StoredLock
from trainer.storage.stored_path import StoredPath

ANOTHER = b'{"pid": 7, "host": "b", "command": "resume", "since": "2026-01-02 03:04:05"}'
TAKEN = "process 7 on host b resumes it since 2026-01-02 03:04:05"


@pytest.fixture
def place(memory: str, monkeypatch: pytest.MonkeyPatch) -> StoredPath:  # noqa: F811
    """Where no courier goes unasked, and nobody waits before he takes what is left behind."""
    monkeypatch.setattr(courier, "EVERY_S", 3600.0)
    monkeypatch.setattr(stored_lock, "_LOOK_S", 0.0)
    place = place_of(memory)
    assert isinstance(place, StoredPath)
    return place


def silent_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on whatever was written is older than the silence that is waited for."""
    monkeypatch.setattr(stored_lock, "SILENCE_S", 0.0)


def contents(place: StoredPath) -> dict[str, bytes]:
    from fsspec.implementations.memory import MemoryFileSystem

    return {name: bytes(file.getvalue()) for name, file in MemoryFileSystem.store.items()}


def test_a_run_that_another_finished_meanwhile_is_not_taken_back(
    place: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = RunDirectory.create(place, Config())
    first.save(checkpoint())
    faults = FaultLog(first.held, 0.0)
    faults.moment(0.0, 1)
    first.events.append({"event": "of the first"})
    silent_for_long(monkeypatch)  # the store did not hear of the first
    second = RunDirectory.reopen(place)
    second.events.append({"event": "of the second"})
    second.finish({"digest": "of the second"})
    finished = contents(place)
    assert f"{place.url.removeprefix('memory:/')}/{LOCK}" not in finished
    attempts: list[Callable[[], object]] = [
        lambda: first.save(checkpoint()._replace(step=99)),
        first.events.flush,
        faults.close,
        (first.held / TRACE).unlink,
        lambda: (first.held / TRACE).write(b""),
        first.discard,
        first.take_trouble,
        lambda: first.finish({"digest": "of the first"}),
    ]
    for attempt in attempts:
        with pytest.raises(LockLostError) as caught:
            attempt()
        told = str(caught.value).removesuffix("; the result is not saved")
        assert told == (
            f"{place}/run.lock: is gone, 0 s after this process last wrote it;"
            " this process writes nothing any more"
        )
    first.release()
    assert contents(place) == finished


def test_a_lock_that_was_lost_once_stays_lost(
    place: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = StoredLock(place, "train", "")
    (place / LOCK).write(ANOTHER)
    for _ in range(2):
        with pytest.raises(LockLostError, match=f"run.lock: {TAKEN}; this process writes nothing"):
            lock.confirm()
        (place / LOCK).unlink(missing_ok=True)  # the other has ended
    lock.release()
    assert not place.exists()


def test_a_lock_that_somebody_removed_is_written_anew_as_long_as_nobody_can_have_taken_it(
    place: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_lock, "SILENCE_S", 3600.0)
    lock = StoredLock(place, "train", "")
    (place / LOCK).unlink()
    lock.confirm()
    assert (place / LOCK).exists()
    lock.release()


def test_nobody_looks_at_the_lock_before_a_write_shortly_after_a_sign_of_life(
    place: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_lock, "SILENCE_S", 3600.0)
    lock = StoredLock(place, "train", "")
    before = (place / LOCK).read_bytes()
    lock.check()
    assert (place / LOCK).read_bytes() == before
    silent_for_long(monkeypatch)
    lock.check()
    assert (place / LOCK).read_bytes() != before
    lock.release()


def test_of_two_that_take_a_lock_left_behind_at_once_one_has_it(
    place: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second reads the dead one's lock, and writes after the first has written."""
    from fsspec.implementations.memory import MemoryFileSystem

    silent_for_long(monkeypatch)
    (place / LOCK).write(ANOTHER)
    may_write, has_written = threading.Event(), threading.Event()
    put, cat = MemoryFileSystem.pipe_file, MemoryFileSystem.cat_file
    has_taken = set[str]()

    def paused_put(self: Any, path: str, content: bytes, **options: Any) -> Any:
        if options.get("mode") == "create":
            return put(self, path, content, **options)
        name = threading.current_thread().name
        if name == "second":
            assert may_write.wait(DEADLINE_S)
        answer = put(self, path, content, **options)
        has_taken.add(name)
        if name == "second":
            has_written.set()
        return answer

    def watched_cat(self: Any, path: str, *arguments: Any, **options: Any) -> Any:
        content = cat(self, path, *arguments, **options)
        if threading.current_thread().name == "first" and "first" in has_taken:
            may_write.set()  # it has looked for the last time
        return content

    def looking(seconds: float) -> None:
        if threading.current_thread().name == "first":
            may_write.set()
            assert has_written.wait(DEADLINE_S)

    ends = list[str]()
    both_know = threading.Barrier(2)

    def take() -> None:
        try:
            StoredLock(place, "resume", "DIR x")
            ends.append("taken")
        except RunDirectoryError as error:
            ends.append(str(error))

    real = StoredLock._watched

    def found_together(self: StoredLock, found: dict[str, Any]) -> dict[str, Any] | None:
        now = real(self, found)
        both_know.wait(DEADLINE_S)
        return now

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "pipe_file", paused_put)
        patch.setattr(MemoryFileSystem, "cat_file", watched_cat)
        patch.setattr(StoredLock, "_watched", found_together)
        patch.setattr(time, "sleep", looking)
        threads = [threading.Thread(target=take, name=name) for name in ("first", "second")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
    assert len(ends) == 2
    assert ends.count("taken") == 1, ends
    assert any("resumes it since" in end for end in ends)


def news_in(told: list[Report]) -> list[Report]:
    """What a person sees of it."""
    return [
        each
        for each in told
        if isinstance(each, Notice) or (isinstance(each, CheckpointFailed) and not each.again)
    ]


def test_a_training_that_lost_its_lock_in_an_outage_ends_with_that_when_the_store_is_back(
    place: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setattr(courier, "EVERY_S", 0.01)
    told, reached = list[Report](), list[int]()
    put, gone = MemoryFileSystem.pipe_file, threading.Event()
    knows = threading.Event()
    confirm = StoredLock.confirm

    def maybe_put(self: Any, path: str, content: bytes, **options: Any) -> Any:
        if gone.is_set():
            raise ConnectionError("gone")
        return put(self, path, content, **options)

    def confirming(self: StoredLock) -> None:
        try:
            confirm(self)
        except LockLostError:
            knows.set()
            raise

    def watch(report: Report) -> None:
        if isinstance(report, EpochReport):
            reached.append(report.epoch)
            if report.epoch == 1:
                gone.set()
            has_failed = any(isinstance(each, CheckpointFailed) for each in told)
            if gone.is_set() and has_failed and news_in(told):
                gone.clear()  # and another has it meanwhile
                (place / LOCK).write(ANOTHER)
                assert knows.wait(DEADLINE_S)
        elif isinstance(report, Notice | CheckpointFailed):
            told.append(report)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", maybe_put)
    monkeypatch.setattr(StoredLock, "confirm", confirming)
    checkpoints = {"every_s": 0.001, "time_share": 0.5}
    config = Config(
        training={"epochs": 100_000}, cluster={"kind": "local"}, checkpoints=checkpoints
    )
    with pytest.raises(LockLostError) as caught:
        train(config, place, [watch])
    line = f"{place}/run.lock: {TAKEN}; this process writes nothing any more"
    assert str(caught.value) == line
    assert caught.value.__notes__ == [f"how far the run is: everstep status {place}"]
    assert knows.is_set()
    assert len(news_in(told)) == 1  # the outage
    texts = [report.text if isinstance(report, Notice) else report.reason for report in told]
    assert not any(TAKEN in text for text in texts)  # nothing said that training goes on
    assert (place / LOCK).read_bytes() == ANOTHER


def test_who_lost_the_lock_before_an_epoch_was_done_does_not_clear_the_other_s_run_away(
    place: StoredPath,
) -> None:
    def watch(report: Report) -> None:
        (place / LOCK).write(ANOTHER)
        raise ValueError("and so it ends")

    config = Config(cluster={"kind": "local"})
    with pytest.raises(ValueError, match="and so it ends") as caught:
        train(config, place, [watch])
    assert sorted(path.name for path in place.iterdir()) == [CONFIG, LOCK]
    assert caught.value.__notes__ == [
        "no epoch was finished; nothing is kept",
        f"and then: {place}/run.lock: {TAKEN}; this process writes nothing any more",
    ]


def test_faults_are_not_written_into_a_run_that_was_lost(place: StoredPath) -> None:
    run = RunDirectory.create(place, Config())
    (place / LOCK).write(ANOTHER)
    with pytest.raises(LockLostError):
        run.save(checkpoint())
    with pytest.raises(LockLostError):
        FaultLog(run.held, 0.0)
    assert not (place / FAULTS).exists()
    assert not (place / FOLDER).exists()
    run.release()


class Hung:
    """A call that comes back only when it is let."""

    def __init__(self) -> None:
        self.began, self.free = threading.Event(), threading.Event()

    def __call__(self, *arguments: object, **options: object) -> None:
        self.began.set()
        assert self.free.wait(DEADLINE_S)


def ended(name: str) -> None:
    """Every thread of that name has ended."""
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


def test_a_courier_that_waits_for_the_store_is_given_up_and_does_nothing_more_when_it_wakes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(courier, "EVERY_S", 0.0)
    monkeypatch.setattr(courier, "_PATIENCE_S", 0.0)
    hung, done = Hung(), list[str]()
    each = Courier((hung, lambda: done.append("line")), lambda error: None)
    assert hung.began.wait(DEADLINE_S)
    assert not each.close(lambda: done.append("released"))
    assert not each.close()
    hung.free.set()
    ended("courier")
    assert done == []


def test_a_courier_goes_once_more_and_then_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "EVERY_S", 3600.0)
    done = list[str]()

    def refuse() -> None:
        done.append("line")
        raise RunWriteError("no")

    each = Courier((refuse,), lambda error: done.append(str(error)))
    assert each.close(lambda: done.append("released"))
    assert each.close(lambda: done.append("again"))
    assert done == ["line", "no", "released"]


@pytest.mark.parametrize("end", [RunDirectory.release, RunDirectory.discard])
def test_a_run_is_let_go_although_the_store_does_not_answer(
    end: Callable[[RunDirectory], None], place: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setattr(courier, "_PATIENCE_S", 0.0)
    run, hung = RunDirectory.create(place, Config()), Hung()
    with monkeypatch.context() as patch:
        for method in ("cat_file", "pipe_file", "rm_file"):
            patch.setattr(MemoryFileSystem, method, hung)
        ending = threading.Thread(target=end, args=(run,), daemon=True)
        ending.start()
        ending.join(DEADLINE_S / 2)
        assert not ending.is_alive()
        hung.free.set()
        ended("courier")
    assert sorted(path.name for path in place.iterdir()) == [CONFIG, LOCK]


def test_what_a_local_directory_holds_is_the_directory_itself(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", Config())
    assert run.held is run.path
    assert run.take_trouble() is None
    run.release()


def test_a_run_that_can_not_be_cleared_away_is_let_go_all_the_same(
    place: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory.create(place, Config())
    unlink = StoredPath.unlink

    def refuse(path: StoredPath, missing_ok: bool = False) -> None:
        if path.name == CONFIG:
            raise OSError(13, "access denied")
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(StoredPath, "unlink", refuse)
        with pytest.raises(OSError, match="access denied"):
            run.discard()
    assert [path.name for path in place.iterdir()] == [CONFIG]


def test_a_run_whose_end_the_store_did_not_take_is_left_with_a_lock_that_says_it(
    place: StoredPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, write = RunDirectory.create(place, Config()), StoredPath.write

    def refuse(path: StoredPath, content: bytes) -> None:
        if path.name == EVENTS:
            raise OSError(13, "access denied")
        write(path, content)

    run(InEpoch(1, 7, 1.0, 1.0, 1))
    run(Event(1.0, 7, "ended", "driver", {"reason": "why"}))
    with monkeypatch.context() as patch:
        patch.setattr(StoredPath, "write", refuse)
        run.release()
    again = RunDirectory.reopen(place)
    assert again.how_it_ended() == Before(7, pytest.approx(time.time(), abs=60))
    again(Event(2.0, 7, "resumed", "driver", {}))
    again.release()
    assert not (place / LOCK).exists()
