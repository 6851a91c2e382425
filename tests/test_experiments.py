"""Faults on real processes: the commands from end to end, on a private Ray of their own."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.command import Everstep, result_of
from trainer.faults.log import read_faults

PLAN = """
set: [training.epochs=400, checkpoints.every_s=3]
faults:
  - {kill: worker-1, at_step: 500}
  - {pause: worker-0, for_s: 0.5, at_step: 2000}
  - {slow: worker-0, factor: 3, for_s: 0.5, at_step: 3000}
  - {kill: server, at_step: 4500}
  - {kill: node, at_step: 7000}
  - {kill: driver, at_step: 10000}
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
    assert "warning: faulted-1: fault 7 (kill worker-7 at step 1) did not fire: no such" in text
    assert max(map(len, text.splitlines())) <= 80 or "warning" in text
    everstep.wait_until_alone()


def test_faults_of_actors_are_refused_in_one_process_before_anything_is_trained(
    everstep: Everstep, tmp_path: Path
) -> None:
    (tmp_path / "plan.yaml").write_text("faults: [{kill: worker-1, at_step: 5}]")
    done = everstep.run("train", "--set", "cluster.kind=local", "--faults", "plan.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("everstep: --faults: fault 1 (kill worker-1 at step 5): with")
    assert not (tmp_path / "runs").exists()
