"""Everstep's command under faults: the driver killed and resumed, and what snapshots cost.

A network whose step takes about 20 ms with two workers on two cores, on generated rows. All
is seen from outside: a line of metrics.jsonl says that an epoch's steps are done.
"""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

_ROWS: Final = 9_000
_STEPS_PER_EPOCH: Final = 20
_MOST_S: Final = 300.0
_CONFIG: Final = """
data: {{source: npz, path: {rows}, test_fraction: 0.1}}
network: {{sizes: [64, 768, 768, 10], activation: relu, output: softmax, loss: cross_entropy}}
training: {{epochs: {epochs}, batch_size: 400, shards: 8, learning_rate: 0.01}}
cluster: {{workers: 2}}
"""


class Command:
    """The command in a folder of its own, with a configuration whose step takes about 20 ms."""

    def __init__(self, folder: Path, epochs: int) -> None:
        self.folder = folder
        rows = folder / "rows.npz"
        if not rows.exists():
            dice = np.random.default_rng(0)
            x = dice.normal(size=(_ROWS, 64)).astype("f4")
            np.savez(rows, x=x, y=dice.integers(0, 10, _ROWS))
        self.config = folder / f"config-{epochs}.yaml"
        self.config.write_text(_CONFIG.format(rows=rows, epochs=epochs))

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """`everstep ARGUMENTS`, in the background."""
        command = [sys.executable, "-m", "trainer", *arguments]
        with (self.folder / "output.txt").open("ab") as output:
            return subprocess.Popen(command, stdout=output, stderr=output)

    def run(self, *arguments: str) -> None:
        """`everstep ARGUMENTS`, until it is done."""
        if self.start(*arguments).wait(_MOST_S):
            raise RuntimeError((self.folder / "output.txt").read_text()[-2000:])

    def result(self, run: Path) -> dict[str, Any]:
        """What result.json says."""
        result: dict[str, Any] = json.loads((run / "result.json").read_text())
        return result


def driver_killed(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Kill the driver so often in one run, each time resume it, and let it end.

    Returns:
        stalled_s: from each `everstep resume` to its first finished epoch of 20 steps, so up
            to 0.4 s more than to its first step; repeated_steps: of each kill, counted from
            the last finished epoch; whether the digest is the undisturbed run's.
    """
    epochs = 20 + 7 * count
    command, run, dice = Command(folder, epochs), folder / "killed", random.Random(seed)
    stalled_s, repeated = [], []
    process = command.start("train", str(command.config), "--out", str(run))
    for number in range(count):
        first = _epochs(run)
        _wait(lambda least=first: _epochs(run) > least, process)
        rest_s = time.monotonic() + dice.uniform(0.5, 1.5)
        _wait(lambda until_s=rest_s: time.monotonic() > until_s, process)
        process.kill()
        process.wait()
        done, began_s = _last_step(run), time.monotonic()
        process = command.start("resume", str(run))
        _wait(lambda most=number: len(_resumed(run)) > most, process)
        kept = _resumed(run)[-1]
        repeated.append(max(0, done - kept))
        _wait(lambda step=kept: _last_step(run) > step, process)
        stalled_s.append(time.monotonic() - began_s)
    if process.wait(_MOST_S):
        raise RuntimeError((folder / "output.txt").read_text()[-2000:])
    command.run("train", str(command.config), "--out", str(folder / "plain"))
    digests = {command.result(path)["digest"] for path in (run, folder / "plain")}
    return {
        "kind": "driver killed",
        "stalled_s": stalled_s,
        "repeated_steps": repeated,
        "steps": epochs * _STEPS_PER_EPOCH,
        "same_bytes": len(digests) == 1,
    }


def overhead(folder: Path, rounds: int, epochs: int = 30) -> dict[str, Any]:
    """The same training with snapshots on and off, in turn; seconds of training each.

    Which of the two comes first changes from round to round, so that a machine that grows
    slower or quicker favours neither.
    """
    command = Command(folder, epochs)
    seconds: dict[str, list[float]] = {"on": [], "off": []}
    digests = set()
    pair = [("on", ()), ("off", ("--set", "checkpoints.time_share=0"))]
    for number in range(rounds):
        for what, settings in pair[:: 1 if number % 2 == 0 else -1]:
            run = folder / f"{what}-{number}"
            command.run("train", str(command.config), *settings, "--out", str(run))
            result = command.result(run)
            seconds[what].append(result["train_s"])
            digests.add(result["digest"])
    return {
        "kind": "undisturbed, snapshots on against off",
        "on_s": seconds["on"],
        "off_s": seconds["off"],
        "steps": epochs * _STEPS_PER_EPOCH,
        "same_bytes": len(digests) == 1,
    }


def _wait(condition: Callable[[], object], process: "subprocess.Popen[bytes]") -> None:
    until_s = time.monotonic() + _MOST_S
    while not condition():
        if process.poll() is not None or time.monotonic() > until_s:
            raise RuntimeError(f"the command ended or took too long: {process.poll()}")
        time.sleep(0.01)


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file that may be growing."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def _epochs(run: Path) -> int:
    return len(_lines(run / "metrics.jsonl"))


def _last_step(run: Path) -> int:
    lines = _lines(run / "metrics.jsonl")
    return int(lines[-1]["step"]) if lines else 0


def _resumed(run: Path) -> list[int]:
    """From which step on, for each time that the run was resumed."""
    lines = _lines(run / "events.jsonl")
    return [int(line["step"]) for line in lines if line["event"] == "resumed"]
