"""From the command to the first step, against the barest Ray program of three actors.

Both are processes of their own, and both clocks start when the process is spawned. Everstep's
stops when the first line of metrics.jsonl is written: its first epoch is one step, so that
the step is done, evaluated and on the disk. The other's stops when three actors have answered.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.scaling.quiet import wait_until_quiet
from benchmarks.scaling.tables import Shown, table
from benchmarks.scaling.verdicts import MOST_STARTUP_RATIO, Verdict

_ROUNDS: Final = 7
_MOST_S: Final = 120.0
# As many rows as the eight shards of the digits have in full: one step is an epoch.
_ONE_STEP: Final = ("--set", "training.epochs=1", "--set", "training.batch_size=1432")


def run(say: Callable[[str], None]) -> dict[str, Any]:
    """Both in turn, the first one another one each time."""
    everstep, bare = [], []
    for number in range(_ROUNDS):
        say(f"startup: round {number + 1} of {_ROUNDS}")
        pair: list[Callable[[], None]] = [
            lambda: everstep.append(_everstep()),
            lambda: bare.append(_bare()),
        ]
        for start in pair if number % 2 else reversed(pair):
            wait_until_quiet()
            start()
    return {"everstep": everstep, "bare": bare}


def show(measured: dict[str, Any]) -> Sequence[Shown | str]:
    """Medians, and what was asked for."""
    everstep_s, bare_s = (
        [round_["all_s"] for round_ in measured[name]] for name in ("everstep", "bare")
    )
    ratio = median(everstep_s) / median(bare_s)
    rows = [
        (name, f"{median(seconds):.2f}", f"{min(seconds):.2f}", f"{max(seconds):.2f}")
        for name, seconds in (
            ("everstep train, to its first step's end", everstep_s),
            ("  of it until its imports are done", _column(measured, "everstep", "called_s")),
            ("  of it until the last actor has joined", _column(measured, "everstep", "joined_s")),
            ("ray.init and three bare actors", bare_s),
            ("  of it until Ray is imported", _column(measured, "bare", "imported_s")),
            ("  of it until Ray is there", _column(measured, "bare", "there_s")),
        )
    ]
    return [
        table(
            "Start-up: seconds since the process was spawned",
            ("", "median", "least", "most"),
            rows,
            f"{len(bare_s)} of each, in turn; two workers and a server, a private Ray",
        ),
        str(Verdict("start-up, times ray.init and three bare actors", ratio, MOST_STARTUP_RATIO)),
    ]


def _column(measured: dict[str, Any], name: str, key: str) -> list[float]:
    return [round_[key] for round_ in measured[name]]


def _everstep() -> dict[str, float]:
    """`everstep train`, as installed; its files tell when."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        began_s = time.time()
        _run("trainer", "train", *_ONE_STEP, "--out", str(out))
        result = json.loads((out / "result.json").read_text())
        lines = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
        # result.json is written at the end of what `wall_s` measures.
        called_s = (out / "result.json").stat().st_mtime - result["wall_s"] - began_s
        joined_s = max(line["at_s"] for line in lines if line["event"] == "joined")
        return {
            "called_s": called_s,
            "joined_s": called_s + joined_s,
            "all_s": (out / "metrics.jsonl").stat().st_mtime - began_s,
        }


def _bare() -> dict[str, float]:
    began_s = time.time()
    imported_s, there_s, answered_s = map(float, _run("benchmarks.peers.bare_ray").split())
    return {
        "imported_s": imported_s - began_s,
        "there_s": there_s - began_s,
        "all_s": answered_s - began_s,
    }


def _run(module: str, *arguments: str) -> str:
    """`python -m MODULE`, to its end; what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=_MOST_S, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed: {done.stderr[-2000:]}")
    return done.stdout
