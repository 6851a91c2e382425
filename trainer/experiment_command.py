"""`everstep experiment`: one undisturbed training, K under faults, and what the faults cost."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from trainer.cluster_address import settled
from trainer.errors import ConfigError, ExperimentError, RunDirectoryError
from trainer.experiments.folder import OUTCOME, PICTURE, UNDISTURBED, ExperimentFolder
from trainer.experiments.record import RunRecord, read_curve, read_run
from trainer.experiments.runs import run_to_the_end
from trainer.experiments.table import as_table
from trainer.experiments.timeline import draw_timeline
from trainer.experiments.trained import trained_config
from trainer.faults.account import warn
from trainer.faults.plan import Plan, load_plan
from trainer.faults.planned import check_plan
from trainer.files import write_atomically
from trainer.storage.place import place_of

_PATIENCE: Final = 20  # times as long as the undisturbed run, and
_GRACE_S: Final = 300.0  # that much


def run_experiment(path: Path, repeat: int, out: str | Path | None) -> None:
    """Train once undisturbed and `repeat` times under the plan; print and write the comparison.

    Writes experiment.json, timeline.svg and the run directories into `out`. One that was
    stopped is gone on with: whole runs are not trained again.

    Raises:
        ConfigError, RunDirectoryError: before anything is trained.
        ExperimentError: a run failed, or ended with other weights; all is written before.
    """
    plan = load_plan(path)
    if not plan.faults and plan.random is None:
        raise ConfigError(
            f"plan {path}: plans no fault, so there is nothing to compare; add one, like"
            " `faults: [{kill: worker-1, at_step: 100}]`"
        )
    config = settled(trained_config(plan, path))
    check_plan(plan, config, f"plan {path}")
    with ExperimentFolder(_local(out), path.read_bytes(), config) as folder:
        try:
            undisturbed, runs = _train(folder, plan, repeat)
        except KeyboardInterrupt as error:
            for line in folder.what_is_kept(repeat, path):
                error.add_note(line)
            raise
        _compare(folder, path.name, undisturbed, runs)


def _local(out: str | Path | None) -> Path:
    """Where to write: its many trainings lock, rename and compare as only a disk can."""
    if out is None:
        return Path("runs") / time.strftime("experiment-%Y-%m-%d-%H%M%S")
    place = place_of(out, "--out")
    if not isinstance(place, Path):
        raise RunDirectoryError(f"--out {out}: an experiment needs a directory of this machine")
    return place


def _train(folder: ExperimentFolder, plan: Plan, repeat: int) -> tuple[RunRecord, list[RunRecord]]:
    """All trainings, one after the other."""
    progress, settings = Console(stderr=True), (plan.config, [*plan.overrides])

    def train(name: str, title: str, faults: Path, limit_s: float | None) -> RunRecord:
        run, is_done = folder.run(name), folder.is_done(name)
        _say(progress, f"{title} ... {'is done already' if is_done else ''}".rstrip())
        failure = None if is_done else run_to_the_end(run, *settings, faults, limit_s)
        return read_run(run, failure)

    undisturbed = train(UNDISTURBED, UNDISTURBED, folder.no_faults, None)
    if undisturbed.failure:
        raise ExperimentError(f"the undisturbed training failed: {undisturbed.failure}")
    limit_s = undisturbed.training_s * _PATIENCE + _GRACE_S
    runs = []
    for number in range(1, repeat + 1):
        title = f"with faults, {number} of {repeat}"
        runs.append(train(f"faulted-{number}", title, folder.plan, limit_s))
        _warn(progress, runs[-1], plan)
    if not any(fault.fired for run in runs for fault in run.faults):
        _say(progress, "warning: no fault fired in any run: this compares nothing", "yellow")
    return undisturbed, runs


def _compare(
    folder: ExperimentFolder, plan: str, undisturbed: RunRecord, runs: list[RunRecord]
) -> None:
    """Print and write what came out."""
    console = Console()
    console.print(as_table(undisturbed, runs))
    verdict = judge(undisturbed, runs)
    _write(folder, plan, undisturbed, runs, verdict)
    console.print(f"written: {folder.path / OUTCOME}", markup=False, soft_wrap=True)
    console.print(f"         {folder.path / PICTURE}", markup=False, soft_wrap=True)
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


def _write(
    folder: ExperimentFolder,
    plan: str,
    undisturbed: RunRecord,
    runs: list[RunRecord],
    verdict: str | None,
) -> None:
    """The picture first: who finds experiment.json finds all."""
    curves = [read_curve(folder.path / UNDISTURBED, undisturbed=True)]
    curves += [read_curve(folder.path / run.name) for run in runs]
    counted = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    outcome = "not all with the same weights" if verdict else "the same final weights"
    title = f"{plan}: {counted} with faults, {outcome}"
    write_atomically(folder.path / PICTURE, draw_timeline(title, curves).encode())
    content = {
        "plan": folder.plan.read_text(encoding="utf-8"),
        "verdict": verdict or "equal",
        "undisturbed": _as_json(undisturbed, undisturbed),
        "runs": [_as_json(run, undisturbed) for run in runs],
    }
    write_atomically(folder.path / OUTCOME, (json.dumps(content, indent=2) + "\n").encode())


def _as_json(run: RunRecord, undisturbed: RunRecord) -> dict[str, Any]:
    return asdict(run) | {
        "digest_equal": run.digest == undisturbed.digest,
        "median_stall_s": run.median_stall_s,
        "longest_stall_s": run.longest_stall_s,
        "times_undisturbed": round(run.times(undisturbed), 4),
    }


def _warn(progress: Console, run: RunRecord, plan: Plan) -> None:
    warn(progress, run.faults, plan, run.name)
    if run.failure:
        _say(progress, f"{run.name}: {run.failure}", "red")


def _say(progress: Console, text: str, style: str = "") -> None:
    progress.print(Text(text, style=style), soft_wrap=True)
