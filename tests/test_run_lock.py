"""One process at a time in a run directory."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.command import LOCAL, LONG, SHORT, Everstep, wait_for
from trainer.config import Config
from trainer.errors import RunDirectoryError
from trainer.lock_holder import LOCK
from trainer.run_directory import RunDirectory
from trainer.run_lock import RunLock


def test_the_lock_names_its_holder_and_is_gone_when_it_is_released(tmp_path: Path) -> None:
    lock = RunLock(tmp_path, "train", "--out run")
    holder = json.loads((tmp_path / LOCK).read_text())
    assert (holder["pid"], holder["command"]) == (os.getpid(), "train")
    with pytest.raises(
        RunDirectoryError,
        match=rf"^--out run: process {os.getpid()} on host \S+ trains into it since"
        r" (\S+ )?\d\d:\d\d:\d\d; choose another directory$",
    ):
        RunLock(tmp_path, "train", "--out run")
    with pytest.raises(
        RunDirectoryError, match=r"^DIR run: process .*; wait until it has ended"
    ) as caught:
        RunLock(tmp_path, "resume", "DIR run")
    way = f"or stop it first: Ctrl-C there, or `kill {os.getpid()}`"
    assert str(caught.value).endswith(way)
    lock.release()
    assert list(tmp_path.iterdir()) == []
    RunLock(tmp_path, "train", "").release()


def test_a_lock_left_behind_tells_how_far_its_holder_was_also_to_the_second_that_asks(
    tmp_path: Path,
) -> None:
    lock = RunLock(tmp_path, "train", "")
    assert lock.left is None
    lock.note(1234)
    lock.note(56)  # shorter: nothing of the line before stays
    with pytest.raises(RunDirectoryError, match=r"^DIR run: process \d+ on host "):
        RunLock(tmp_path, "resume", "DIR run")
    os.close(lock._descriptor)  # as the system does when this process dies
    for _ in range(2):
        again = RunLock(tmp_path, "resume", "")
        assert again.left is not None
        assert again.left.step == 56
        again.release()  # it gave no sign of its own: it found a wrong command, say
    again = RunLock(tmp_path, "resume", "")
    again.note(60)
    again.release()
    assert not (tmp_path / LOCK).exists()


def test_a_lock_that_can_not_be_removed_is_let_go_all_the_same_and_locks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    lock = RunLock(tmp_path, "train", "")
    lock.note(7)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        lock.release()
    assert (tmp_path / LOCK).exists()
    again = RunLock(tmp_path, "resume", "")
    assert again.left is not None
    assert (again.left.step, again.left.is_last) == (7, True)
    again.note(8)
    again.release()
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff"])
def test_a_holder_that_is_not_written_yet_is_refused_all_the_same(
    content: bytes, tmp_path: Path
) -> None:
    lock = RunLock(tmp_path, "train", "")
    (tmp_path / LOCK).write_bytes(content)
    with pytest.raises(RunDirectoryError, match=r"^--out x: another process writes into it; "):
        RunLock(tmp_path, "train", "--out x")
    lock.release()


def test_a_child_that_is_another_program_does_not_hold_the_lock(tmp_path: Path) -> None:
    lock = RunLock(tmp_path, "train", "")
    script = "print('ready', flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        close_fds=False,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    os.close(lock._descriptor)  # as the system does when this process dies
    RunLock(tmp_path, "resume", "").release()
    child.communicate(b"\n", timeout=10)


def test_of_many_starts_into_one_new_directory_one_wins(tmp_path: Path) -> None:
    made: list[RunDirectory] = []
    refused: list[str] = []
    together = threading.Barrier(8)

    def start() -> None:
        together.wait()
        try:
            made.append(RunDirectory.create(tmp_path / "a" / "run", Config()))
        except RunDirectoryError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 7)
    assert all("writes into it" in line or "trains into it" in line for line in refused)
    made[0].discard()
    # A folder that another start made may stay, empty.
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_second_of_two_trainings_is_refused_and_the_lock_dies_with_the_first(
    everstep: Everstep,
) -> None:
    first = everstep.start("train", *LOCAL, *LONG, "--out", "run")
    run = everstep.directory / "run"
    wait_for(lambda: list(run.glob("checkpoints/step-*")), first)
    for command in (["train", *LOCAL, *SHORT, "--out", "run"], ["resume", "run"]):
        done = everstep.run(*command)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert f"run: process {first.pid} on host " in line
        assert "trains into it since" in line
    first.send_signal(signal.SIGKILL)
    first.communicate()
    done = everstep.run("train", *LOCAL, *SHORT, "--out", "run")
    assert (done.returncode, done.stderr) == (
        2,
        "everstep: --out run: holds an unfinished run; go on with: everstep resume run;"
        " or choose another directory\n",
    )
