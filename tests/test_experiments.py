"""Faults on real processes: the commands from end to end, on a private Ray of their own."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.command import DEADLINE_S, Everstep, result_of, wait_for
from trainer.faults.log import read_faults

PLAN = """
set: [training.epochs=80]
faults:
  - {kill: worker-1, at_step: 200}
  - {pause: worker-0, for_s: 0.5, at_step: 600}
  - {slow: worker-0, factor: 3, for_s: 0.5, at_step: 900}
  - {kill: server, at_step: 1400}
  - {kill: node, at_step: 2000}
  - {kill: driver, at_step: 2800}
  - {kill: worker-7, at_step: 1}
"""


def run_experiment(everstep: Everstep, plan: str) -> tuple[dict[str, Any], str]:
    (everstep.directory / "plan.yaml").write_text(plan)
    process = everstep.start("experiment", "plan.yaml", "--repeat", "1", "--out", "out")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    written = json.loads((everstep.directory / "out" / "experiment.json").read_text())
    assert isinstance(written, dict)
    return written, output + errors


@pytest.mark.timeout(330)
def test_every_kind_of_fault_hits_a_training_and_the_weights_stay_the_same(
    everstep: Everstep,
) -> None:
    written, text = run_experiment(everstep, PLAN)
    out = everstep.directory / "out"
    assert written["verdict"] == "equal"
    assert result_of(out / "faulted-1")["digest"] == result_of(out / "undisturbed")["digest"]
    faults = read_faults(out / "faulted-1")
    assert sorted(fault.number for fault in faults if fault.fired) == ["1", "2", "3", "4", "5", "6"]
    node = next(fault for fault in faults if fault.label == "kill node")
    assert len(node.hits) >= 2
    (run,) = written["runs"]
    assert run["deaths"] >= 5  # worker, server, at least two of the node, driver
    result = result_of(out / "faulted-1")
    for key in ("deaths", "restarts", "repeated_steps", "stalls_s"):
        assert result[key] == run[key], key
    died = [each for each in result["recoveries"] if each["event"] == "died"]
    assert len(died) == run["deaths"]
    (driver,) = [each for each in died if each["name"] == "driver"]
    assert driver["cause"] == "fault 6 (kill driver at step 2800)"
    assert driver["at_step"] >= 2800
    assert driver["restart_s"] in result["stalls_s"]
    assert "warning: faulted-1: fault 7 (kill worker-7 at step 1) did not fire: no such" in text
    assert max(map(len, text.splitlines())) <= 80 or "warning" in text
    everstep.wait_until_alone(but_for_agents=True)  # it killed a driver


@pytest.mark.parametrize(
    ("faults", "named"),
    [
        ("{pause: server, for_s: 2, at_step: 100}", ["server"]),
        ("{pause: node, for_s: 2, at_step: 100}", ["server", "worker-0", "worker-1"]),
    ],
)
def test_a_planned_pause_that_nobody_dies_of_is_named_with_the_stall_that_it_caused(
    faults: str, named: list[str], everstep: Everstep
) -> None:
    (everstep.directory / "plan.yaml").write_text(f"faults: [{faults}]")
    length = ("--set", "training.epochs=60")
    done = everstep.run("train", *length, "--out", "run", "--faults", "plan.yaml")
    assert done.returncode == 0, done.stderr
    run = everstep.directory / "run"
    (fault,) = read_faults(run)
    result = result_of(run)
    stalled = [each for each in result["recoveries"] if each["event"] == "stalled"]
    assert sorted(each["name"] for each in stalled) == named
    assert {each["cause"] for each in stalled} == {f"fault 1 ({fault.fault})"}
    assert all(each["stalled_s"] in result["stalls_s"] for each in stalled)
    (line,) = [line for line in done.stderr.splitlines() if "no step was finished" in line]
    assert line.endswith(f" s: fault 1 ({fault.fault})")


def test_faults_of_actors_are_refused_in_one_process_before_anything_is_trained(
    everstep: Everstep, tmp_path: Path
) -> None:
    (tmp_path / "plan.yaml").write_text("faults: [{kill: worker-1, at_step: 5}]")
    done = everstep.run("train", "--set", "cluster.kind=local", "--faults", "plan.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("everstep: --faults: fault 1 (kill worker-1 at step 5): with")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_experiment_that_is_stopped_leaves_whole_files_no_process_and_says_how_to_go_on(
    stop: signal.Signals, everstep: Everstep, tmp_path: Path
) -> None:
    (tmp_path / "plan.yaml").write_text(
        "set: [cluster.kind=local, training.epochs=100000]\n"
        "faults: [{kill: driver, at_step: 1000000}]\n"
    )
    process = everstep.start("experiment", "plan.yaml", "--repeat", "2", "--out", "out")
    run = tmp_path / "out" / "undisturbed"
    wait_for((run / "metrics.jsonl").exists, process)
    # Ctrl-C in a terminal goes to the whole group.
    os.killpg(process.pid, stop) if stop == signal.SIGINT else process.send_signal(stop)
    _, errors = process.communicate(timeout=DEADLINE_S)
    everstep.wait_until_alone()
    assert process.returncode == 128 + stop
    name = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}[stop]
    assert errors.splitlines()[-3:] == [
        f"everstep: stopped by {name}",
        "everstep: kept in out: no whole run yet; undisturbed is half done and would begin anew",
        "everstep: go on with: everstep experiment plan.yaml --repeat 2 --out out",
    ]
    assert not (tmp_path / "out" / "experiment.json").exists()
    # The training inside was stopped in order, and once.
    assert f"everstep: stopped by {name}\n" in (tmp_path / "out" / "undisturbed.log").read_text()
    assert list((run / "checkpoints").glob("step-*.safetensors"))
    assert not list(tmp_path.rglob("*.tmp"))
