"""Calls that may never return: nobody waits for them, not even the end of the process."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from actors.side_thread import SideThread

DEADLINE_S = 60.0


def test_calls_are_made_one_after_the_other_and_each_tells_what_it_came_to() -> None:
    side, made = SideThread("side"), list[str]()
    first, second = side.call(made.append, "first"), side.call(lambda: [*made, "second"])
    failed = side.call(int, "no number")
    assert second.result(DEADLINE_S) == ["first", "second"]
    assert first.result(DEADLINE_S) is None
    with pytest.raises(ValueError, match="no number"):
        failed.result(DEADLINE_S)
    assert side.end(DEADLINE_S)


def test_one_that_never_called_anything_is_at_its_end() -> None:
    assert SideThread("side").end(0.0)


def test_a_call_that_does_not_return_holds_up_neither_who_asked_nor_the_end() -> None:
    side, began, free = SideThread("side"), threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        assert free.wait(DEADLINE_S)

    answer = side.call(hang)
    assert began.wait(DEADLINE_S)
    assert not side.end(0.01)
    free.set()
    answer.result(DEADLINE_S)


HANGING = """
import sys, threading
from actors.side_thread import SideThread, end_if_a_call_hangs
side, began, last = SideThread("side"), threading.Event(), threading.Event()

def hang():
    began.set()
    threading.Event().wait()

side.call(hang)
began.wait()
print("said")
if sys.argv[1] == "given up":
    side.end(0.0)
end_if_a_call_hangs(7)
sys.exit(3)
"""


@pytest.mark.parametrize(("how", "status"), [("given up", 7), ("forgotten", 3)])
def test_a_process_ends_while_a_call_hangs_and_says_all_that_it_had_to_say(
    how: str, status: int, repository: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING, how],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (status, "said\n"), done.stderr
