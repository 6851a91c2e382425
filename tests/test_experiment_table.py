"""What an experiment reads from run directories, judges and prints."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from trainer import experiment_command
from trainer.errors import ConfigError, ExperimentError, RunDirectoryError
from trainer.experiment_command import judge, run_experiment
from trainer.experiments.record import RunRecord, read_curve, read_run
from trainer.experiments.table import as_table

RESULT = {"deaths": 0, "restarts": 0, "repeated_steps": 0, "stalls_s": [], "train_s": 9.0}


def lines(path: Path, *objects: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(each) + "\n" for each in objects))


def fault(number: str, what: str, name: str, at_s: float, **more: Any) -> dict[str, Any]:
    return {
        "number": number,
        "fault": f"{what} at step 7",
        "kind": what.partition(" ")[0],
        "label": what,
        "fired": True,
        "attempt": 1,
        "at_s": at_s,
        "step": 7,
        "hits": [{"name": name, "host": "h", "process_id": 1}],
        "why": "",
    } | more


def moments(*values: tuple[int, float, int]) -> list[dict[str, Any]]:
    return [{"attempt": a, "at_s": at_s, "step": step} for a, at_s, step in values]


def write_run(folder: Path, digest: str | None, **result: Any) -> Path:
    """A run of 10 s without any fault."""
    folder.mkdir(parents=True)
    if digest:
        (folder / "result.json").write_text(json.dumps(RESULT | {"digest": digest} | result))
    lines(folder / "timeline.jsonl", *moments((1, 0, 0), (1, 5, 50), (1, 10, 100)))
    lines(folder / "faults.jsonl", {"attempt": 1, "unix_s": 5.0})
    lines(folder / "events.jsonl")
    return folder


def write_resumed(folder: Path, digest: str) -> Path:
    """Its worker died at 2 s, its driver at 6 s with 60 steps done, of which 50 were kept."""
    write_run(folder, digest, stalls_s=[])
    lines(
        folder / "timeline.jsonl",
        *moments((1, 0, 0), (1, 6, 60), (2, 11, 50), (2, 13, 55), (2, 17, 100)),
    )
    lines(
        folder / "events.jsonl",
        {"event": "joined", "worker": "worker-1"},
        {"event": "died", "worker": "worker-1"},
        {"event": "stalled", "seconds": 0.25},
        {"event": "restarting", "worker": "worker-1.2"},
    )
    lines(
        folder / "faults.jsonl",
        {"attempt": 1, "unix_s": 5.0},
        fault("1", "kill worker-1", "worker-1", 2.0),
        fault("random-4", "pause worker", "worker-0", 3.0),
        fault("2", "kill driver", "driver", 6.0),
        {"attempt": 2, "unix_s": 16.0},
        fault("3", "kill worker-9", "", 17.0, fired=False, hits=[], why="no such actor lived"),
    )
    return folder


def test_a_run_of_one_life_is_what_its_result_says(tmp_path: Path) -> None:
    folder = write_run(
        tmp_path / "a", "d1", deaths=2, restarts=2, repeated_steps=30, stalls_s=[0.1, 3.0, 0.2]
    )
    run = read_run(folder)
    assert (run.name, run.failure, run.digest) == ("a", None, "d1")
    assert (run.deaths, run.restarts, run.repeated_steps) == (2, 2, 30)
    assert (run.median_stall_s, run.longest_stall_s, run.training_s) == (0.2, 3.0, 10)


def test_a_resumed_run_counts_all_its_lives(tmp_path: Path) -> None:
    run = read_run(write_resumed(tmp_path / "b", "d1"))
    assert run.deaths == 2  # worker and driver
    assert run.restarts == 2
    assert run.repeated_steps == 10
    assert run.stalls_s == [0.25, 7.0]  # from 6 s to 13 s nothing new was done
    assert run.training_s == 17
    assert [fault.number for fault in run.unfired] == ["3"]


def test_steps_that_only_the_driver_remembers_count_as_repeated(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", "d1")
    lines(folder / "timeline.jsonl", *moments((1, 0, 0), (1, 5, 50), (1, 6, 30), (1, 9, 100)))
    assert read_run(folder).repeated_steps == 20


def test_the_curve_has_the_fired_faults_and_names_whom_a_random_one_hit(tmp_path: Path) -> None:
    curve = read_curve(write_resumed(tmp_path / "b", "d1"))
    assert curve.points[:3] == [(0, 0), (6, 60), (11, 50)]
    assert [(mark.at_s, mark.kind, mark.label) for mark in curve.marks] == [
        (2.0, "kill", "kill worker-1"),
        (3.0, "pause", "pause worker-0"),
        (6.0, "kill", "kill driver"),
    ]


def test_an_unfinished_run_has_failed(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a", None))
    assert run.failure == "no result.json"
    assert run.digest is None


def shown(undisturbed: RunRecord, *runs: RunRecord) -> list[str]:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(as_table(undisturbed, runs))
    file = console.file
    assert isinstance(file, io.StringIO)
    return [line.rstrip() for line in file.getvalue().splitlines() if line.strip()]


def test_the_table_fits_80_columns_and_compares_with_the_undisturbed_run(tmp_path: Path) -> None:
    undisturbed = read_run(write_run(tmp_path / "undisturbed", "d1"))
    good = read_run(write_resumed(tmp_path / "faulted-1", "d1"))
    bad = read_run(write_resumed(tmp_path / "faulted-2", "d2"))
    failed = read_run(write_run(tmp_path / "faulted-1000", None), "exit status 1")
    text = shown(undisturbed, good, bad, failed)
    assert max(map(len, text)) <= 80
    assert "…" not in "".join(text)
    rows = {row.split()[0]: row.split()[1:] for row in text}
    assert rows["undisturbed"] == ["0", "0", "0", "-", "-", "10.0", "1.00x"]
    assert rows["faulted-1"] == ["yes", "2", "2", "10", "3.62", "7.00", "17.0", "1.70x"]
    assert rows["faulted-2"][0] == "NO"
    assert rows["faulted-1000"][0] == "failed"
    assert judge(undisturbed, [good]) is None
    assert judge(undisturbed, [good, bad]) == "1 of 2 runs ended with other weights: faulted-2"
    assert judge(undisturbed, [good, failed]) == ("1 of 2 runs failed: faulted-1000: exit status 1")


class Trainings:
    """Stands in for the processes: writes run directories of its own."""

    def __init__(self, *digests: str) -> None:
        self.digests = list(digests)
        self.plans: list[str] = []

    def __call__(
        self,
        folder: Path,
        config: Path | None,
        overrides: list[str],
        plan: Path,
        limit_s: float | None,
    ) -> str | None:
        self.plans.append(plan.read_text())
        digest = self.digests.pop(0)
        if digest == "failed":
            return "exit status 1: no disk"
        (write_resumed if len(self.plans) > 1 else write_run)(folder, digest)
        return None


def plan_in(folder: Path) -> Path:
    path = folder / "plan.yaml"
    path.write_text("faults: [{kill: worker-1, at_step: 7}]")
    return path


def test_an_experiment_writes_json_and_a_picture_and_warns_of_what_did_not_fire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainings = Trainings("d1", "d1", "d1")
    monkeypatch.setattr(experiment_command, "run_to_the_end", trainings)
    run_experiment(plan_in(tmp_path), 2, tmp_path / "out")
    assert trainings.plans == ["faults: []\n", *["faults: [{kill: worker-1, at_step: 7}]"] * 2]
    written = json.loads((tmp_path / "out" / "experiment.json").read_text())
    assert written["verdict"] == "equal"
    assert [run["digest_equal"] for run in written["runs"]] == [True, True]
    assert written["runs"][0]["longest_stall_s"] == 7.0
    assert written["runs"][0]["times_undisturbed"] == 1.7
    assert "the same final weights" in (tmp_path / "out" / "timeline.svg").read_text()
    warning = "warning: faulted-1: fault 3 (kill worker-9 at step 7) did not fire: no such actor"
    assert warning in capsys.readouterr().err


def test_an_experiment_with_other_weights_or_a_failed_run_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment_command, "run_to_the_end", Trainings("d1", "d1", "d2"))
    with pytest.raises(ExperimentError, match="1 of 2 runs ended with other weights: faulted-2"):
        run_experiment(plan_in(tmp_path), 2, tmp_path / "out")
    assert (tmp_path / "out" / "timeline.svg").exists()
    monkeypatch.setattr(experiment_command, "run_to_the_end", Trainings("d1", "failed"))
    with pytest.raises(ExperimentError, match="1 of 1 runs failed: faulted-1: exit status 1: no"):
        run_experiment(plan_in(tmp_path), 1, tmp_path / "out2")
    monkeypatch.setattr(experiment_command, "run_to_the_end", Trainings("failed"))
    with pytest.raises(ExperimentError, match="the undisturbed training failed: exit status 1"):
        run_experiment(plan_in(tmp_path), 1, tmp_path / "out3")


def test_an_experiment_refuses_a_full_directory_and_a_local_cluster(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    with pytest.raises(RunDirectoryError, match="exists already and is not empty"):
        run_experiment(plan, 1, tmp_path)
    plan.write_text("set: [cluster.kind=local]\nfaults: [{kill: worker-1, at_step: 7}]")
    with pytest.raises(ConfigError, match="only driver can be hit"):
        run_experiment(plan, 1, tmp_path / "out")
