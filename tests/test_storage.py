"""A place in a store, and what is kept there for a run: paths, lines, the lock."""

import os
import platform
import re
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.stores import S3Server, memory, s3, s3_server  # noqa: F401 - fixtures
from tests.test_checkpoints import checkpoint
from trainer.checkpoints import load_checkpoint
from trainer.config import Config
from trainer.errors import LockLostError, RunDirectoryError, RunWriteError
from trainer.files import FOLDER, checkpoint_name, checkpoints_in
from trainer.lock_holder import LOCK
from trainer.run_directory import RunDirectory
from trainer.run_place import resume_command
from trainer.storage import courier, stored_lock
from trainer.storage.place import as_given, place_of
from trainer.storage.stored_lines import StoredLines
from trainer.storage.stored_lock import StoredLock
from trainer.storage.stored_path import StoredPath, local_copy


def stored(url: str) -> StoredPath:
    place = place_of(url, "--out")
    assert isinstance(place, StoredPath)
    return place


@pytest.fixture(params=["memory", "s3"])
def place(request: pytest.FixtureRequest) -> StoredPath:
    """An empty one in each of two stores."""
    if request.param == "memory":
        return stored(request.getfixturevalue("memory"))
    request.getfixturevalue("s3")
    name = re.sub(r"\W", "-", request.node.name)
    return stored(f"s3://runs/{name}")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("run", "run"),
        ("runs/a://b", "runs/a://b"),
        ("file:///tmp/a b%20", "/tmp/a b%20"),
        ("local:///tmp/run", "/tmp/run"),
        ("", "."),
    ],
)
def test_a_path_and_a_file_url_are_the_local_path_itself(given: str, meant: str) -> None:
    assert place_of(given) == Path(meant)


def test_what_is_a_place_already_stays_it(memory: str) -> None:  # noqa: F811
    for place in (Path("run"), stored(memory)):
        assert place_of(place) is place


def test_a_path_that_looks_like_a_url_can_be_given_and_gone_on_with() -> None:
    odd = place_of("./s3:/b/x")
    assert odd == Path("s3:/b/x")
    assert resume_command(odd) == "everstep resume ./s3:/b/x"
    assert place_of(as_given(odd)) == odd
    assert resume_command(Path("runs/a")) == "everstep resume runs/a"
    assert resume_command(Path("-x y")) == "everstep resume './-x y'"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("file://run", "must be absolute: file:///PATH"),
        ("s3:/b/x", "looks like a URL with one slash; give s3://b/x, or ./s3:/b/x for a path"),
        ("file:/a", "looks like a URL with one slash; give file:///a, or ./file:/a for a path"),
        ("s3://", "names no place; like s3://BUCKET/NAME"),
        ("simplecache::s3://a/b", "is a chain of stores; give the one that keeps the files"),
        ("s3://a::memory://b", "is a chain of stores; give the one that keeps the files"),
        (
            "nosuch://a/b",
            "fsspec opens no nosuch:// (Protocol not known: nosuch);"
            " give a path, s3://, gs:// or file://",
        ),
        ("absent://a", "a package is missing (Install absent_store first); install that"),
    ],
)
def test_a_url_that_can_be_no_place_is_refused_in_one_line(
    url: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.registry import known_implementations

    absent = {"class": "absent_store.Store", "err": "Install absent_store first"}
    monkeypatch.setitem(known_implementations, "absent", absent)
    with pytest.raises(RunDirectoryError) as caught:
        place_of(url, "--out")
    assert str(caught.value) == f"--out {url}: {told}"


@pytest.mark.parametrize(
    ("name", "url", "told"),
    [
        ("fsspec", "memory://a/b", "needs the package fsspec"),
        ("s3fs", "s3://a/b", "a package is missing (Install s3fs to access S3)"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it(
    name: str, url: str, told: str
) -> None:
    script = f"""
import sys
sys.modules[{name!r}] = None  # as if it were not there
from trainer.errors import RunDirectoryError
from trainer.storage.place import as_given, place_of
try:
    place_of({url!r})
except RunDirectoryError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        f"DIR {url}: {told}; install Everstep with its extra `storage`:"
        " pip install '.[storage]' in its directory\n"
    )


def test_a_stored_path_answers_as_a_local_one_does(place: StoredPath) -> None:
    run = place / "run"
    assert (run.exists(), run.is_dir(), run.glob("*")) == (False, False, [])
    run.mkdir(parents=True, exist_ok=True)
    one, two = run / "checkpoints" / "step-1", run / "config.yaml"
    one.write(b"1")
    two.write(b"two")
    two.write(b"2")
    assert (run.is_dir(), run.is_file(), two.is_file(), two.is_dir()) == (True, False, True, False)
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.yaml"]
    assert (run / "checkpoints").glob("step-*") == [one]
    assert (two.read_bytes(), two.read_text(), str(two)) == (b"2", "2", f"{place}/run/config.yaml")
    with pytest.raises(FileExistsError):
        two.create(b"3")
    assert two.read_bytes() == b"2"
    with local_copy(two) as copy:
        assert copy.read_bytes() == b"2"
    assert not copy.exists()
    two.rename(two.with_name("other"))
    assert (two.exists(), (run / "other").read_bytes()) == (False, b"2")
    for path in (one, run / "other"):
        path.unlink()
    two.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError) as caught:
        two.read_bytes()
    assert (caught.value.strerror, caught.value.filename) == ("not in the store", str(two))
    assert not run.exists()


@pytest.mark.parametrize(
    ("change", "url", "told"),
    [
        (None, "s3://no-such-bucket/run", "The specified bucket does not exist"),
        ("refused", "s3://runs/run", "access denied (Forbidden); check the credentials"),
        ("AWS_SECRET_ACCESS_KEY", "s3://runs/run", "no credentials for this store ("),
        ("AWS_ENDPOINT_URL", "s3://runs/run", "the store can not be reached (Could not connect to"),
        (None, "s3://No Bucket/run", "Parameter validation failed: Invalid bucket name"),
    ],
)
def test_a_store_that_takes_no_run_is_a_wrong_place_before_anything_starts(
    change: str | None,
    url: str,
    told: str,
    s3: S3Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if change == "AWS_ENDPOINT_URL":
        monkeypatch.setenv(change, "http://127.0.0.1:9")
    elif change == "AWS_SECRET_ACCESS_KEY":
        monkeypatch.delenv(change)
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    refusing = s3.refusing() if change == "refused" else nullcontext()
    with refusing, pytest.raises(RunDirectoryError) as caught:  # which is exit status 2
        RunDirectory.create(stored(url), Config())
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"--out {url}: {told}")


def test_lines_wait_until_they_are_flushed_and_a_crash_loses_no_others(place: StoredPath) -> None:
    log = StoredLines(place / "log")
    for number in (1, 2):
        log.append({"line": number})
    assert not log.path.exists()
    log.flush()
    log.append({"line": 3})
    again = StoredLines(log.path)
    assert again.lines() == [{"line": 1}, {"line": 2}]
    again.append({"line": 4})
    again.flush()
    assert log.path.read_text().splitlines() == ['{"line": 1}', '{"line": 2}', '{"line": 4}']
    again.rewrite([{"line": 4}])
    again.append({"line": 5})
    again.flush()
    assert StoredLines(log.path).lines() == [{"line": 4}, {"line": 5}]


def test_only_the_newest_checkpoints_are_kept_in_a_store(place: StoredPath) -> None:
    run = RunDirectory.create(place, Config(checkpoints={"keep": 2}))
    for step in (1, 2, 10, 3):
        run.save(checkpoint()._replace(step=step))
    assert [path.name for path in checkpoints_in(place / FOLDER)] == [
        checkpoint_name(step) for step in (3, 10)
    ]
    assert load_checkpoint(place).step == 10
    run.release()


def test_lines_that_the_store_does_not_take_are_written_with_the_next(
    memory: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = StoredLines(stored(memory) / "log")
    log.append({"line": 1})
    with monkeypatch.context() as patch:
        patch.setattr("fsspec.implementations.memory.MemoryFileSystem.pipe_file", refuse)
        with pytest.raises(RunWriteError, match=r"^memory://store/run/log: the store can not be"):
            log.flush()
    log.append({"line": 2})
    log.flush()
    assert StoredLines(log.path).lines() == [{"line": 1}, {"line": 2}]


def refuse(*arguments: object, **options: object) -> None:
    raise ConnectionError("gone")


def test_the_stored_lock_names_its_holder_and_is_gone_when_it_is_released(
    place: StoredPath,
) -> None:
    lock = StoredLock(place, "train", f"--out {place}")
    stop = threading.Event()

    def live() -> None:
        while not stop.wait(0.1):
            lock.confirm()

    living = threading.Thread(target=live)
    living.start()
    try:
        with pytest.raises(
            RunDirectoryError,
            match=rf"^DIR x: process {os.getpid()} on host \S+ trains into it since"
            rf" (\S+ )?\d\d:\d\d:\d\d; wait until it has ended, or stop it first: Ctrl-C there,"
            rf" or `kill {os.getpid()}`$",
        ):
            StoredLock(place, "resume", "DIR x")
    finally:
        stop.set()
        living.join()
    lock.release()
    assert not place.exists()
    for late in (lock.confirm, lock.check):  # by whoever was on its way
        with pytest.raises(LockLostError) as caught:
            late()
        line = f"{place}/run.lock: is given back; this process writes nothing any more"
        assert str(caught.value) == line
    assert not place.exists()


HOLD = """
import os, sys
from trainer.storage.place import as_given, place_of
from trainer.storage.stored_lock import StoredLock
lock = StoredLock(place_of(sys.argv[1]), "train", "")
lock.note(56)
lock.confirm()
os.kill(os.getpid(), 9)
"""


def test_a_lock_whose_holder_was_killed_here_is_taken_at_once_and_tells_how_far_it_was(
    s3: S3Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stored_lock, "SILENCE_S", 3600.0)  # for which nobody waits
    place = stored("s3://runs/killed-holder")
    subprocess.run([sys.executable, "-c", HOLD, str(place)], check=False)
    for _ in range(2):
        again = StoredLock(place, "resume", "")
        assert again.left is not None
        assert again.left.step == 56
        again.release()  # it gave no sign of its own: it found a wrong command, say
    again = StoredLock(place, "resume", "")
    again.note(60)
    again.release()
    assert not place.exists()


def test_a_lock_of_elsewhere_is_left_behind_when_it_was_silent_for_long(
    memory: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stored_lock, "SILENCE_S", 0.3)
    monkeypatch.setattr(stored_lock, "_LOOK_S", 0.05)
    place = stored(memory)
    (place / LOCK).write(
        b'{"pid": 7, "host": "elsewhere", "command": "train", "since": "2026-01-02 03:04:05",'
        b' "machine": "other", "token": "t", "unix_s": 9.0, "step": 8, "is_last": false}'
    )
    lock = StoredLock(place, "resume", "")
    assert lock.left is not None
    assert (lock.left.step, lock.left.unix_s) == (8, 9.0)
    lock.note(9)
    lock.release()
    assert not place.exists()


def test_who_lost_the_lock_to_another_writes_nothing_any_more(
    memory: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stored_lock, "SILENCE_S", 0.0)
    monkeypatch.setattr(courier, "EVERY_S", 3600.0)
    place = stored(memory)
    first = RunDirectory.create(place, Config())
    first.events.append({"event": "of the first"})
    second = RunDirectory.reopen(place)
    with pytest.raises(LockLostError) as caught:
        first.finish({"digest": "x"})
    assert re.fullmatch(
        rf"{place}/run\.lock: process {os.getpid()} on host {re.escape(platform.node())} resumes it"
        r" since (\S+ )?\d\d:\d\d:\d\d; this process writes nothing any more; the result is not"
        r" saved",
        str(caught.value),
    )
    first.release()
    assert sorted(path.name for path in place.iterdir()) == ["config.yaml", "run.lock"]
    second.release()
    assert sorted(path.name for path in place.iterdir()) == ["config.yaml"]
    assert second.events.lines() == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": -1}', b"\xff"])
def test_a_lock_that_says_nothing_of_use_is_waited_for_all_the_same(
    content: bytes,
    memory: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stored_lock, "SILENCE_S", 0.0)
    place = stored(memory)
    (place / LOCK).write(content)
    lock = StoredLock(place, "resume", "")
    assert lock.left is None
    lock.note(1)
    lock.release()
    assert not place.exists()


def test_of_many_starts_into_one_new_place_one_wins(
    s3: S3Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(courier, "EVERY_S", 0.1)
    place = stored("s3://runs/many")
    made: list[RunDirectory] = []
    refused: list[str] = []
    together = threading.Barrier(4)

    def start() -> None:
        together.wait()
        try:
            made.append(RunDirectory.create(place, Config()))
        except RunDirectoryError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 3)
    assert all("trains into it since" in line for line in refused), refused
    made[0].discard()
    assert not place.exists()
