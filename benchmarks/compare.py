"""Everstep and its peers on the same work, in turn, in one session: the time of a step.

    python -m benchmarks.compare [--out compare.json] [--picture compare.svg]
    python -m benchmarks.compare --from compare.json --picture compare.svg

Three networks, each trained by every contestant for the same number of steps on the same rows in
the same order; repetition by repetition, everyone once. Prints medians, ratios and targets; the
JSON holds every single run. Peers: `pip install '.[peers]'`; who is not installed is left out.
`docs/performance.md` says what is compared and how.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks import machine
from benchmarks.cases import CASES, LEARNING_RATE, Case, chosen_cases, write_rows
from benchmarks.compare_picture import draw_comparison
from benchmarks.compare_table import tables
from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.peers.kills import NOT_INSTALLED, leave_on_sigterm
from benchmarks.verdict import Run, complaints, judged, medians

_TURN_MOST_S: Final = 900.0
_TOO_LONG: Final = 124
_LEAVE_S: Final = 10.0
_MEANINGS: Final = {
    "step_s": "seconds from the first step's start to the last step's end, by the steps",
    "start_s": "seconds from the process's start to the first step; what serves all cases of a"
    " turn (imports, Ray, process group) is counted for each",
    "loss": "over the test rows, of the final weights: the same for all who did the same work",
    "times": "a contestant's median step_s by that of Everstep with two workers",
    "limit": "the time that two processes with one BLAS thread each need, at the same time, for"
    " just the matrix products of a step, each for half of the batch",
}


def main() -> int:
    """Run everyone in turn, and show what came out; the exit status."""
    options = _options()
    console = Console(highlight=False)
    leave_on_sigterm()  # by way of `_end`, which ends the running turn
    earlier: Path | None = options.source
    found = _earlier(earlier) if earlier else _compare(options, console)
    return _show(found, options, console)


def _earlier(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        return {key: found[key] for key in ("machine", "cases", "runs", "failures")}
    except OSError as error:
        raise SystemExit(f"--from {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise SystemExit(f"--from {path}: this is no JSON of this command") from None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    case_names, names = [case.name for case in CASES], [each.name for each in CONTESTANTS]
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--cases", nargs="+", choices=case_names, default=case_names)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME",
                        help=f"of: {', '.join(names)}")  # fmt: skip
    parser.add_argument("--steps", type=float, default=1.0, help="times the cases' steps")
    parser.add_argument("--out", type=Path, default=Path("compare.json"))
    parser.add_argument("--picture", type=Path, help="the SVG file to write")
    parser.add_argument(
        "--from", dest="source", type=Path, help="show an earlier run's JSON, measure nothing"
    )
    options = parser.parse_args()
    if options.repetitions < 1 or options.steps <= 0:
        parser.error("--repetitions must be at least 1, and --steps more than 0")
    return options


def _compare(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    found: dict[str, Any] = {
        "machine": machine.describe(),
        "measured": time.strftime("%Y-%m-%d"),
        "repetitions": options.repetitions,
        "learning_rate": LEARNING_RATE,
        "meanings": _MEANINGS,
        "cases": [asdict(case) for case in chosen_cases(options)],
        "failures": [],
        "runs": [],
    }
    with tempfile.TemporaryDirectory(prefix="compare-") as name:
        for case in chosen_cases(options):
            write_rows(case, Path(name))
        taken = _turns(options, Path(name), found["failures"].append, console)
        for repetition, contestant, rows in taken:
            known = {"contestant": contestant.name, "repetition": repetition}
            found["runs"] += [known | row for row in rows]
            _write(options.out, found)
    return found


def _turns(
    options: argparse.Namespace, folder: Path, tell: Callable[[str], None], console: Console
) -> Iterator[tuple[int, Contestant, list[Run]]]:
    """Repetition by repetition, everyone once; who could not is not asked again."""
    out = set[str]()
    for repetition in range(options.repetitions):
        began_s = time.monotonic()
        for contestant in CONTESTANTS:
            if contestant.name not in options.only or contestant.name in out:
                continue
            if contestant.once:
                out.add(contestant.name)
            with console.status(f"{repetition + 1}/{options.repetitions}: {contestant.label}"):
                status, said, rows = _turn(contestant, options, folder)
            if rows is not None:
                yield repetition, contestant, rows
                continue
            out.add(contestant.name)
            if status == NOT_INSTALLED:
                console.print(f"{contestant.label}: left out, {said}", markup=False, soft_wrap=True)
            else:
                tell(f"{contestant.name} failed with status {status}: {said}")
        seconds = time.monotonic() - began_s
        console.print(f"repetition {repetition + 1} of {options.repetitions}: {seconds:.0f} s")


def _turn(
    contestant: Contestant, options: argparse.Namespace, folder: Path
) -> tuple[int, str, list[Run] | None]:
    """One process from beginning to end: its status, its last line, its rows."""
    out = folder / f"{contestant.name}.json"
    out.unlink(missing_ok=True)
    command = [sys.executable, *contestant.command, "--cases", *options.cases]
    command += ["--steps", str(options.steps), "--folder", str(folder), "--out", str(out)]
    command += ["--began-s", str(time.monotonic())]
    # What Ray and gloo have to say is for a failure only.
    with (folder / "output.txt").open("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        status = _TOO_LONG
        try:
            with suppress(subprocess.TimeoutExpired):
                status = process.wait(_TURN_MOST_S)
        finally:
            _end(process)
        output.seek(0)
        lines = [line.strip() for line in output if line.strip()]
    rows = json.loads(out.read_text()) if status == 0 else None
    return status, lines[-1] if lines else "it said nothing", rows


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Nothing that a turn has started outlives it, however it was left."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _show(found: dict[str, Any], options: argparse.Namespace, console: Console) -> int:
    """Tables, files, and the complaints; 1 if there are any."""
    cases = [Case(**case | {"sizes": tuple(case["sizes"])}) for case in found["cases"]]
    console.print(machine.as_line(found["machine"]) + "\n", soft_wrap=True)
    for shown in tables(cases, found["runs"]):
        console.print(shown)
    if not options.source:
        _write(options.out, found)
        console.print(f"every number: {options.out}", soft_wrap=True)
    if options.picture:
        title = f"The time of a training step on {found['machine']['cores']} cores"
        picture = draw_comparison(title, cases, medians(found["runs"]))
        options.picture.write_text(picture)
        console.print(f"picture: {options.picture}", soft_wrap=True)
    wrong: Sequence[str] = [*found["failures"], *complaints(found["runs"])]
    for line in wrong:
        console.print(line, style="red", markup=False, soft_wrap=True)
    return 1 if wrong else 0


def _write(path: Path, found: dict[str, Any]) -> None:
    """With what the runs come to so far."""
    runs = found["runs"]
    summary = {
        "medians": [
            {"contestant": contestant, "case": case, **asdict(median)}
            for (contestant, case), median in medians(runs).items()
        ],
        "targets": [
            {**judgement.target._asdict(), "times": judgement.ratio, "reached": judgement.reached}
            for judgement in judged(medians(runs))
        ],
        "complaints": complaints(runs),
    }
    path.write_text(json.dumps({**found, **summary}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
