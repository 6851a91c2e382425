"""One contestant's turn in the comparison: a process that trains the cases and writes its times.

What is alike for Everstep, the peers and the floors: the options, how long a start-up took, what
is written. A contestant gives a function from a case to `Trained`. Next: `compare.py`, which
starts these processes in turn.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from benchmarks.cases import CASES, Case, chosen_cases, loss_on_test_rows
from benchmarks.peers.kills import require
from trainer.layout import Vector

WARM_UP_STEPS: Final = 3


@dataclass(frozen=True, slots=True)
class Trained:
    """A case that is trained.

    Attributes:
        first_s, last_s: `time.monotonic()` before the first step and after the last one.
        parameters: what came out; None: nothing that could be compared.
        steps: how many were taken; 0: all of the case's.
        more: what else is known, by name.
    """

    first_s: float
    last_s: float
    parameters: Vector | None = None
    steps: int = 0
    more: dict[str, Any] | None = None


Train: TypeAlias = Callable[[Case, Path], Trained]


@dataclass(frozen=True, slots=True)
class Row:
    """What a turn says about a case; `start_s`: from the process's start to the first step."""

    case: str
    steps: int
    step_s: float
    start_s: float
    loss: float | None
    more: dict[str, Any]


def arguments(doc: str) -> argparse.ArgumentParser:
    """The options that all contestants have."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    names = [case.name for case in CASES]
    parser.add_argument("--cases", nargs="+", choices=names, default=names)
    parser.add_argument("--steps", type=float, default=1.0, help="times the cases' steps")
    parser.add_argument("--folder", type=Path, required=True, help="where the rows are")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument(
        "--began-s",
        type=float,
        default=time.monotonic(),
        help="when the process was started, by the clock that all processes share",
    )
    return parser


def begin(parser: argparse.ArgumentParser, *modules: str) -> argparse.Namespace:
    """Parse the command line; leave with one line when a module is not installed."""
    options = parser.parse_args()
    require(*modules)
    return options


def take(options: argparse.Namespace, train: Train) -> list[Row]:
    """Train each case; a start-up that serves all cases is counted for each."""
    common_s = time.monotonic() - options.began_s
    rows = []
    for case in chosen_cases(options):
        began_s = time.monotonic()
        trained = train(case, options.folder)
        steps = trained.steps or case.steps
        loss = None
        if trained.parameters is not None:
            loss = loss_on_test_rows(case, options.folder, trained.parameters)
        rows.append(
            Row(
                case.name,
                steps,
                (trained.last_s - trained.first_s) / steps,
                common_s + trained.first_s - began_s,
                loss,
                trained.more or {},
            )
        )
    return rows


def write(options: argparse.Namespace, rows: Sequence[Row]) -> None:
    """For `compare.py` to read."""
    options.out.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def main(doc: str, train: Train, *modules: str) -> int:
    """A whole turn of a contestant that needs nothing for all cases at once."""
    options = begin(arguments(doc), *modules)
    write(options, take(options, train))
    return 0
