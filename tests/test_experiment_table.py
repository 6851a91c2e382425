"""What an experiment reads from run directories, judges and prints."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from trainer.experiment_command import judge
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


def write_resumed(folder: Path, digest: str | None) -> Path:
    """Its worker died at 2 s, its driver at 6 s with 60 steps done, of which 50 were kept."""
    told = {"deaths": 2, "restarts": 2, "repeated_steps": 10, "stalls_s": [0.25, 7.0]}
    write_run(folder, digest, **told)
    lines(
        folder / "timeline.jsonl",
        *moments((1, 0, 0), (1, 6, 60), (2, 11, 50), (2, 13, 55), (2, 17, 100)),
    )
    driver = {"worker": "driver", "step": 50}
    died = {"reason": "killed", "reached_step": 60}
    numbers = {"detected_s": None, "takeover_s": 2.0, "restart_s": 7.0, "repeated_steps": 10}
    got_over = {"from": "died", "cause": "killed", "at_step": 60, "stalled_s": 7.0} | numbers
    lines(
        folder / "events.jsonl",
        {"at_s": 1.0, "event": "joined", "worker": "worker-1", "unix_s": 1006.0},
        {"event": "died", "worker": "worker-1", "reason": "killed", "step": 20, "unix_s": 1007.0},
        {"event": "stalled", "worker": "server", "seconds": 0.25, "unix_s": 1007.25},
        {"event": "restarting", "worker": "worker-1.2", "unix_s": 1007.25},
        driver | {"event": "died", "unix_s": 1011.0} | died,
        driver | {"event": "resumed", "count": 1, "unix_s": 1016.0},
        driver | {"event": "repeated", "step_count": 10, "unix_s": 1016.0},
        driver | {"event": "recovered", "unix_s": 1018.0} | got_over,
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


@pytest.mark.parametrize("digest", ["d1", None])
def test_a_resumed_run_counts_all_its_lives_with_a_result_and_without_one(
    digest: str | None, tmp_path: Path
) -> None:
    run = read_run(write_resumed(tmp_path / "b", digest))
    assert run.digest == digest
    assert run.deaths == 2  # worker and driver
    assert run.restarts == 2
    assert run.repeated_steps == 10
    assert run.stalls_s == [0.25, 7.0]  # from 6 s to 13 s nothing new was done
    assert run.training_s == 17
    assert [fault.number for fault in run.faults if not fault.fired] == ["3"]


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
