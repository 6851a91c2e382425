"""Each planned fault is told as fired or not fired, however the training ends."""

import json
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.command import DEADLINE_S, LOCAL, LONG, Everstep, wait_for
from trainer import Config, load_checkpoint, resume, train
from trainer.faults.log import read_faults
from trainer.faults.plan import Plan
from trainer.files import checkpoints_in
from trainer.reports import EpochReport, Faulted, Report

FIRED = {"pause": "driver", "for_s": 0.01, "at_step": 60}
NEVER = {"kill": "driver", "at_step": 10**9}


class CutError(Exception):
    """The training ends here."""


def fates(heard: Sequence[Report]) -> list[tuple[str, bool, str]]:
    (faulted,) = [report for report in heard if isinstance(report, Faulted)]
    return [(record.number, record.fired, record.why) for record in faulted.records]


def test_a_training_that_fails_tells_of_the_faults_that_fired_and_of_those_that_did_not(
    quick: Config, tmp_path: Path
) -> None:
    heard: list[Report] = []

    def watch(report: Report) -> None:
        heard.append(report)
        # The record is there as soon as the fault has fired.
        if isinstance(report, EpochReport) and any(f.fired for f in read_faults(tmp_path / "run")):
            raise CutError

    config = quick.with_changes(training={"epochs": 100000})
    with pytest.raises(CutError):
        train(config, tmp_path / "run", [watch], Plan(faults=(FIRED, NEVER)))
    (first, second) = fates(heard)
    assert first == ("1", True, "")
    assert second[:2] == ("2", False)
    assert second[2].startswith("training was over at step ")


def test_a_training_that_never_begins_tells_that_no_fault_fired_and_leaves_no_directory(
    quick: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from actors.local_cluster import LocalCluster

    def broken(cluster: LocalCluster) -> LocalCluster:
        raise CutError

    heard: list[Report] = []
    monkeypatch.setattr(LocalCluster, "__enter__", broken)
    with pytest.raises(CutError):
        train(quick, tmp_path / "run", [heard.append], Plan(faults=(FIRED, NEVER)))
    why = "training did not begin"
    assert fates(heard) == [("1", False, why), ("2", False, why)]
    assert not (tmp_path / "run").exists()


def test_a_training_that_ends_before_its_first_epoch_leaves_no_files_of_its_faults(
    quick: Config, tmp_path: Path
) -> None:
    def watch(report: Report) -> None:
        if type(report).__name__ == "Started":
            raise CutError

    with pytest.raises(CutError) as caught:
        train(quick, tmp_path / "run", [watch], Plan(faults=(NEVER,)))
    assert caught.value.__notes__ == ["no epoch was finished; nothing is kept"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_stopped_prints_what_became_of_each_fault(
    stop: signal.Signals, everstep: Everstep
) -> None:
    plan, run = everstep.directory / "plan.yaml", everstep.directory / "run"
    plan.write_text(
        "faults: [{pause: driver, for_s: 0.01, at_step: 60}, {kill: driver, at_step: 1000000000}]"
    )
    process = everstep.start("train", *LOCAL, *LONG, "--out", "run", "--faults", "plan.yaml")
    wait_for(lambda: any(fault.fired for fault in read_faults(run)), process)
    wait_for(lambda: list(run.glob("checkpoints/step-*")), process)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + stop
    fired, unfired, stopped, kept, way_on = errors.splitlines()[-5:]
    assert fired.startswith("fault 1 (pause driver for 0.01 s at step 60) fired after step ")
    assert unfired.startswith(
        "warning: fault 2 (kill driver at step 1000000000) did not fire: training was over at step"
    )
    assert stopped.startswith("everstep: stopped by ")
    assert kept.startswith("everstep: kept: run/checkpoints/step-")
    assert way_on == "everstep: go on with: everstep resume run"


def test_a_training_whose_supervision_gives_up_prints_what_became_of_each_fault(
    everstep: Everstep,
) -> None:
    (everstep.directory / "plan.yaml").write_text(
        "faults: [{kill: worker-1, at_step: 60}, {kill: worker-1, at_step: 1000000000}]"
    )
    done = everstep.run(
        *("train", *LONG, "--out", "run", "--faults", "plan.yaml"),
        *("--set", "supervision.worker.max_restarts=0"),
    )
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    (fired,) = [line for line in lines if line.startswith("fault 1 ")]
    assert fired.startswith("fault 1 (kill worker-1 at step 60) fired after step ")
    assert fired.endswith(": worker-1")
    (unfired,) = [line for line in lines if line.startswith("warning: fault 2 ")]
    assert "did not fire: training was over at step " in unfired
    (failed,) = [line for line in lines if line.startswith("everstep: training stopped after step")]
    assert lines[-1] == "everstep: go on with: everstep resume run"
    assert lines.index(fired) < lines.index(unfired) < lines.index(failed)


def test_a_random_fault_that_finds_nobody_is_written_down_and_told_in_one_line(
    everstep: Everstep,
) -> None:
    (everstep.directory / "plan.yaml").write_text(
        "random: {per_minute: 6000, seed: 1, targets: [worker-7, server], kinds: [pause],"
        " for_s: 0.001}"
    )
    done = everstep.run(
        *("train", "--out", "run", "--faults", "plan.yaml"),
        *("--set", "training.epochs=8", "--set", "cluster.workers=1"),
    )
    assert done.returncode == 0, done.stderr
    run = everstep.directory / "run"
    records = read_faults(run)
    assert {r.number for r in records} == {f"random-{i + 1}" for i in range(len(records))}
    unfired = [record for record in records if not record.fired]
    assert {record.why for record in unfired} == {"no worker-7 lived then"}
    assert {record.label for record in unfired} == {"pause worker-7 for 0.001 s"}
    result = json.loads((run / "result.json").read_text())
    assert [(f["number"], f["fired"], f["why"]) for f in result["faults"]] == [
        (record.number, record.fired, record.why) for record in records
    ]
    lines = [line for line in done.stderr.splitlines() if "random" in line]
    assert lines == [
        f"random faults fired: {len(records) - len(unfired)} pause",
        f"warning: {len(unfired)} of {len(records)} random faults did not fire:"
        f" no worker-7 lived then ({len(unfired)})",
    ]


def test_a_run_that_was_resumed_has_the_faults_of_all_its_processes(
    quick: Config, tmp_path: Path
) -> None:
    def watch(report: Report) -> None:
        if isinstance(report, EpochReport) and any(f.fired for f in read_faults(tmp_path / "run")):
            raise CutError

    plan = Plan(faults=(FIRED,))
    with pytest.raises(CutError):
        train(quick.with_changes(training={"epochs": 100000}), tmp_path / "run", [watch], plan)
    epochs = load_checkpoint(checkpoints_in(tmp_path / "run" / "checkpoints")[-1]).epoch + 1
    summary = resume(tmp_path / "run", [f"training.epochs={epochs}"]).summary
    assert [(f["number"], f["fired"], f["attempt"]) for f in summary.faults] == [("1", True, 1)]
