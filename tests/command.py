"""The command in a process of its own, and what a test wants to know of it."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil

LOCAL = ("--set", "cluster.kind=local")
SHORT = ("--set", "training.epochs=2")
DEADLINE_S = 60
LONG = ("--set", "training.epochs=100000")


class Everstep:
    """Runs the command, with a mark in the environment that all its processes inherit."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mark = uuid.uuid4().hex
        self.environment = {**os.environ, "EVERSTEP_TEST_MARK": self.mark, "COLUMNS": "80"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "trainer", *arguments],
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
                marked = process.environ().get("EVERSTEP_TEST_MARK") == self.mark
                if marked and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def wait_until_alone(self) -> None:
        """Wait until no process is left; fail with their names at the deadline."""
        until_s = time.monotonic() + 20
        while left := self.processes():
            assert time.monotonic() < until_s, [process.cmdline() for process in left]
            psutil.wait_procs(left, timeout=0.1)


def result_of(directory: Path) -> dict[str, Any]:
    loaded = json.loads((directory / "result.json").read_text())
    assert isinstance(loaded, dict)
    return loaded


def events_of(directory: Path) -> list[dict[str, Any]]:
    path = directory / "events.jsonl"
    # The last line may still be on its way.
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


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
