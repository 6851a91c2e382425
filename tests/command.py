"""The command in a process of its own, and what a test wants to know of it."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

from trainer.line_log import parsed_lines

LOCAL = ("--set", "cluster.kind=local")
SHORT = ("--set", "training.epochs=2")
DEADLINE_S = 60
LONG = ("--set", "training.epochs=100000")
_ENDED_S = 20.0
_AGENTS = frozenset({"ray::DashboardAgent", "ray::RuntimeEnvAgent"})
_AGENTS_ENDED_S = 90.0


class Everstep:
    """Runs the command, with a mark in the environment that all its processes inherit."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.prefix: list[str] = []  # a program that the command is given to
        self.mark = uuid.uuid4().hex
        self.environment = {**os.environ, "EVERSTEP_TEST_MARK": self.mark, "COLUMNS": "80"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "trainer", *arguments],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=DEADLINE_S)
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    def processes(self) -> list[psutil.Process]:
        """All living processes that carry the mark."""
        found = []
        for process in psutil.process_iter():
            try:
                # The bytes, as psutil's reading ends at the gap that a process leaves in its
                # environment when it gives itself a title, as Ray's do.
                environment = Path(f"/proc/{process.pid}/environ").read_bytes()
                marked = self.mark.encode() in environment
                if marked and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (OSError, psutil.Error):
                continue
        return found

    def wait_until_alone(self, but_for_agents: bool = False) -> None:
        """Wait until no process is left; fail with their names at the deadline.

        Args:
            but_for_agents: Ray's agents, which try for a minute to tell a killed driver's
                killed Ray that it was killed; `wait_for_agents` waits for them.
        """
        self._wait_until_none_left(_ENDED_S, _AGENTS if but_for_agents else frozenset())

    def wait_for_agents(self) -> None:
        """Wait until nothing is left, after a driver was killed."""
        self._wait_until_none_left(_AGENTS_ENDED_S, frozenset())

    def _wait_until_none_left(self, most_s: float, but_for: frozenset[str]) -> None:
        until_s = time.monotonic() + most_s
        while left := {process: _title(process) for process in self.processes()}:
            if not (late := {process for process, title in left.items() if title not in but_for}):
                return
            assert time.monotonic() < until_s, [left[process] for process in late]
            psutil.wait_procs(late, timeout=0.1)


def _title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()
    return "gone"


def result_of(directory: Path) -> dict[str, Any]:
    loaded = json.loads((directory / "result.json").read_text())
    assert isinstance(loaded, dict)
    return loaded


def events_of(directory: Path) -> list[dict[str, Any]]:
    path = directory / "events.jsonl"
    # The last line may still be on its way: it is none yet.
    return parsed_lines(path.read_bytes()) if path.exists() else []


Found = TypeVar("Found")


def wait_for(condition: Callable[[], Found], process: subprocess.Popen[str]) -> Found:
    """Wait, with a deadline, for something that a running command brings about."""
    until_s = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until_s
        psutil.wait_procs([psutil.Process()], timeout=0.02)
    return found


def two_workers(directory: Path) -> list[dict[str, Any]]:
    events = (e for e in events_of(directory) if e["event"] == "joined")
    joined = [e for e in events if e["worker"].startswith("worker-")]
    return joined if len(joined) == 2 else []
