"""`everstep experiment`: one undisturbed training, K under faults, and what the faults cost."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from trainer.config import load_config
from trainer.errors import ExperimentError, RunDirectoryError
from trainer.experiments.record import RunRecord, read_curve, read_run
from trainer.experiments.runs import run_to_the_end
from trainer.experiments.table import as_table
from trainer.experiments.timeline import draw_timeline
from trainer.faults.plan import load_plan
from trainer.faults.planned import check_plan
from trainer.faults.warnings import warn
from trainer.files import write_atomically

_UNDISTURBED: Final = "undisturbed"
_PATIENCE: Final = 20  # times as long as the undisturbed run, and
_GRACE_S: Final = 300.0  # that much


def run_experiment(path: Path, repeat: int, out: Path | None) -> None:
    """Train once undisturbed and `repeat` times under the plan; print and write the comparison.

    Writes experiment.json, timeline.svg and the run directories into `out`.

    Raises:
        ConfigError, RunDirectoryError: before anything is trained.
        ExperimentError: a run failed, or ended with other weights; all is written before.
    """
    plan = load_plan(path)
    check_plan(plan, load_config(plan.config, [*plan.overrides]))
    console, progress = Console(), Console(stderr=True)
    folder = _new_folder(out)
    nothing = folder / "no-faults.yaml"
    nothing.write_text("faults: []\n", encoding="utf-8")
    settings = (plan.config, [*plan.overrides])

    _say(progress, f"{_UNDISTURBED} ...")
    began_s = time.monotonic()
    failure = run_to_the_end(folder / _UNDISTURBED, *settings, nothing, None)
    if failure:
        raise ExperimentError(f"the undisturbed training failed: {failure}")
    limit_s = (time.monotonic() - began_s) * _PATIENCE + _GRACE_S
    undisturbed = read_run(folder / _UNDISTURBED)
    runs = []
    for number in range(1, repeat + 1):
        _say(progress, f"with faults, {number} of {repeat} ...")
        run = folder / f"faulted-{number}"
        runs.append(read_run(run, run_to_the_end(run, *settings, path, limit_s)))
        _warn(progress, runs[-1])
    console.print(as_table(undisturbed, runs))
    verdict = judge(undisturbed, runs)
    _write(folder, path, undisturbed, runs, verdict)
    console.print(f"written: {folder / 'experiment.json'}", markup=False, soft_wrap=True)
    console.print(f"         {folder / 'timeline.svg'}", markup=False, soft_wrap=True)
    if verdict:
        raise ExperimentError(verdict)


def judge(undisturbed: RunRecord, runs: list[RunRecord]) -> str | None:
    """What is wrong, in one line; None: all ended with the undisturbed run's weights."""
    failed = [run for run in runs if run.failure]
    if failed:
        return f"{len(failed)} of {len(runs)} runs failed: {failed[0].name}: {failed[0].failure}"
    other = [run for run in runs if run.digest != undisturbed.digest]
    if other:
        names = ", ".join(run.name for run in other)
        return f"{len(other)} of {len(runs)} runs ended with other weights: {names}"
    return None


def _new_folder(out: Path | None) -> Path:
    folder = out or Path("runs") / time.strftime("experiment-%Y-%m-%d-%H%M%S")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RunDirectoryError(
                f"--out {folder}: exists already and is not empty; choose another directory"
            )
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"--out {folder}: {error.strerror}") from None
    return folder


def _write(
    folder: Path, plan: Path, undisturbed: RunRecord, runs: list[RunRecord], verdict: str | None
) -> None:
    content = {
        "plan": plan.read_text(encoding="utf-8"),
        "verdict": verdict or "equal",
        "undisturbed": _as_json(undisturbed, undisturbed),
        "runs": [_as_json(run, undisturbed) for run in runs],
    }
    write_atomically(folder / "experiment.json", (json.dumps(content, indent=2) + "\n").encode())
    curves = [read_curve(folder / _UNDISTURBED, undisturbed=True)]
    curves += [read_curve(folder / run.name) for run in runs]
    counted = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    outcome = "not all with the same weights" if verdict else "the same final weights"
    title = f"{plan.name}: {counted} with faults, {outcome}"
    write_atomically(folder / "timeline.svg", draw_timeline(title, curves).encode())


def _as_json(run: RunRecord, undisturbed: RunRecord) -> dict[str, Any]:
    return asdict(run) | {
        "digest_equal": run.digest == undisturbed.digest,
        "median_stall_s": run.median_stall_s,
        "longest_stall_s": run.longest_stall_s,
        "times_undisturbed": round(run.times(undisturbed), 4),
    }


def _warn(progress: Console, run: RunRecord) -> None:
    warn(progress, run.unfired, run.name)
    if run.failure:
        _say(progress, f"{run.name}: {run.failure}", "red")


def _say(progress: Console, text: str, style: str = "") -> None:
    progress.print(Text(text, style=style), soft_wrap=True)
