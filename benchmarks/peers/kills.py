"""Kills of another trainer's workers, and what each one cost: what the peers' commands share.

A peer's training writes a `step_log`; `Kills` reads it, sends SIGKILL to one worker at a seeded
random moment, waits until all workers take steps again, and goes on to the next. Every wait has
a deadline, and only a process that has just written to the log is killed. How a peer is started
and stopped is in `ray_train` and `torchft_ddp`.
"""

import argparse
import importlib.util
import json
import os
import platform
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.step_log import (
    Attempt,
    finish_times,
    longest_gap,
    lost_batches,
    read_attempts,
    repeated_steps,
    short_steps,
)

WORKERS = 2
NOT_INSTALLED = 3
_POLL_S = 0.1
_FRESH_S = 1.0  # a process that finished a step this lately is no other's reused id
_QUIET_S = (3.0, 6.0)  # undisturbed time before a kill: drawn from here, with the seed
_MEANINGS = {
    "stalled_s": "longest gap between finished steps, of any worker, that ends after the kill",
    "repeated_steps": "distinct steps that were applied before the kill and again after it",
    "lost_steps": "batches of one worker for one step that never reached the weights",
    "short_steps": "steps finished after the kill without a batch of every worker",
    "back_s": "from the kill until every worker again applies new steps",
}


class PeerError(Exception):
    """The peer did not do what the measurement needs; the text is one line for the user."""


def arguments(peer: str, doc: str) -> argparse.ArgumentParser:
    """The options that all peers have."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.peers.{peer}", description=doc)
    parser.add_argument("--kills", type=int, default=3, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the victims")
    parser.add_argument("--out", type=Path, help="the JSON file to write; also printed")
    parser.add_argument(
        "--step-s", type=float, default=0.02, help="seconds of emulated compute per step"
    )
    parser.add_argument(
        "--wait-s", type=float, default=120.0, help="deadline of each wait (default: %(default)s)"
    )
    return parser


def require(*modules: str) -> None:
    """Exit with `NOT_INSTALLED` and one line, unless all top-level modules can be found."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        print(f"{', '.join(missing)} not installed: pip install '.[peers]'", file=sys.stderr)
        sys.exit(NOT_INSTALLED)


def leave_on_sigterm() -> None:
    """Let SIGTERM unwind the stack, so that what was started is ended."""

    def leave(_signal: int, _frame: object) -> NoReturn:
        sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, leave)


def emulate_compute(started_s: float, step_s: float) -> None:
    """Wait until ``step_s`` have passed since ``started_s``: stands for the work of a step."""
    time.sleep(max(0.0, started_s + step_s - time.monotonic()))


class Kills:
    """Seeded kills of a training that logs its attempts in ``folder``.

    Args:
        folder: where the training processes keep their step logs.
        options: of `arguments`.
        check: raises `PeerError` when the training has ended by itself.
    """

    def __init__(self, folder: Path, options: argparse.Namespace, check: Callable[[], None]):
        self._folder, self._check = folder, check
        self._count, self._wait_s = options.kills, options.wait_s
        self._random = random.Random(options.seed)
        self._killed: list[tuple[float, int]] = []
        self._back_s: list[float] = []

    def run(self) -> list[dict[str, float]]:
        """Kill, wait, and repeat; what each kill cost, in order."""
        self._wait("the first steps of all workers", lambda: self._all_past(0.0, 0))
        for _ in range(self._count):
            self._train_for(self._random.uniform(*_QUIET_S))
            self._kill(self._random.randrange(WORKERS))
        self._train_for(_QUIET_S[0])
        return self._costs(read_attempts(self._folder))

    def last_step(self) -> int:
        """The highest step that any worker has applied."""
        return max(attempt.step for attempt in read_attempts(self._folder))

    def undisturbed_step_s(self) -> float:
        """The median time from one step of a worker to its next."""
        attempts = read_attempts(self._folder)
        gaps: list[float] = []
        for worker in range(WORKERS):
            times = finish_times(a for a in attempts if a.worker == worker)
            gaps += [end - start for start, end in pairwise(times)]
        return statistics.median(gaps)

    def _kill(self, worker: int) -> None:
        self._wait(f"a step of worker {worker}", lambda: self._stepping(worker) is not None)
        pid = self._stepping(worker)
        if pid is None:
            raise PeerError(f"worker {worker} stopped taking steps at the moment of its kill")
        kill_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        self._killed.append((kill_s, worker))
        reached = max(attempt.step for attempt in read_attempts(self._folder))
        self._wait("steps of all workers after a kill", lambda: self._all_past(kill_s, reached))
        self._back_s.append(time.monotonic() - kill_s)

    def _stepping(self, worker: int) -> int | None:
        """The process that has just made the worker's last attempt, if it was just now."""
        now_s = time.monotonic()
        own = [attempt for attempt in read_attempts(self._folder) if attempt.worker == worker]
        return own[-1].pid if own and now_s - own[-1].time_s < _FRESH_S else None

    def _all_past(self, time_s: float, step: int) -> bool:
        """Whether every worker has applied a later step at a later time."""
        past = {
            attempt.worker
            for attempt in read_attempts(self._folder)
            if attempt.applied and attempt.time_s > time_s and attempt.step > step
        }
        return len(past) == WORKERS

    def _train_for(self, duration_s: float) -> None:
        end_s = time.monotonic() + duration_s
        self._wait("undisturbed training", lambda: time.monotonic() >= end_s)

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + self._wait_s
        while not condition():
            self._check()
            if time.monotonic() > deadline_s:
                raise PeerError(f"{what}: not within {self._wait_s:g} s; see --wait-s")
            time.sleep(_POLL_S)

    def _costs(self, attempts: list[Attempt]) -> list[dict[str, float]]:
        costs: list[dict[str, float]] = []
        untils = [kill_s for kill_s, _ in self._killed[1:]] + [time.monotonic()]
        for (kill_s, worker), until_s, back_s in zip(
            self._killed, untils, self._back_s, strict=True
        ):
            before = [attempt for attempt in attempts if attempt.time_s <= kill_s]
            until = [attempt for attempt in attempts if attempt.time_s <= until_s]
            costs.append(
                {
                    "worker": worker,
                    "stalled_s": round(longest_gap(finish_times(until), kill_s), 3),
                    "repeated_steps": repeated_steps(until, kill_s),
                    "lost_steps": len(lost_batches(until) - lost_batches(before)),
                    "short_steps": short_steps(until, kill_s, WORKERS),
                    "back_s": round(back_s, 3),
                }
            )
        return costs


def report(
    peer: str,
    options: argparse.Namespace,
    packages: Sequence[str],
    settings: dict[str, Any],
    costs: list[dict[str, float]],
    step_s: float,
) -> None:
    """Print the result as JSON, and write it to ``--out``."""
    stalls = [cost["stalled_s"] for cost in costs]
    result = {
        "peer": peer,
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
        "cores": os.cpu_count(),
        "workers": WORKERS,
        "seed": options.seed,
        "compute": f"emulated: each worker waits until {options.step_s * 1000:g} ms are over",
        "settings": settings,
        "step_s": round(step_s, 4),
        "stalled_s": {"median": statistics.median(stalls), "max": max(stalls)} if stalls else None,
        "kills": costs,
        "meanings": _MEANINGS,
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


def command(run: Callable[[], None]) -> int:
    """Run a peer's measurement; the exit status, with one line on standard error if it failed."""
    leave_on_sigterm()
    try:
        run()
    except PeerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
