"""The processes of an experiment: resumed when the plan killed the driver, failed otherwise."""

import signal
import sys
from pathlib import Path

import pytest

from trainer.experiments.runs import log_of, run_to_the_end
from trainer.stop_signals import Stopped

# Stands in for Python: appends its arguments to a file, then does what the test says for
# the first call, the second call and so on.
STAND_IN = """#!/bin/sh
cd {folder}
echo "$@" >> calls
call=$(wc -l < calls)
{case}
"""
KILLED = (
    '{"number": "%d", "fault": "kill driver at step 7", "kind": "kill", "label": "kill driver",'
    ' "fired": true, "attempt": 1, "at_s": 1.0, "step": 7, "why": "",'
    ' "hits": [{"name": "driver", "host": "h", "process_id": 1}]}'
)
DIES = "mkdir -p run; echo '" + KILLED + "' >> run/faults.jsonl; kill -9 $$"


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, *calls: str) -> None:
    cases = "".join(f"{number}) {call};;\n" for number, call in enumerate(calls, 1))
    path = folder / "python"
    path.write_text(STAND_IN.format(folder=folder, case=f"case $call in\n{cases}esac"))
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def run(folder: Path, limit_s: float | None = None) -> str | None:
    overrides = ["training.epochs=2", "cluster.workers=1"]
    plan = folder / "plan.yaml"
    return run_to_the_end(folder / "run", folder / "c.yaml", overrides, plan, limit_s)


def test_a_run_whose_driver_the_plan_kills_is_resumed_until_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, DIES % 1, DIES % 2, "echo done")
    assert run(tmp_path) is None
    resume = f"-m trainer resume {tmp_path}/run --faults {tmp_path}/plan.yaml"
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"-m trainer train {tmp_path}/c.yaml --set training.epochs=2 --set cluster.workers=1"
        f" --out {tmp_path}/run --faults {tmp_path}/plan.yaml",
        resume,
        resume,
    ]
    assert log_of(tmp_path / "run").read_text() == "done\n"


@pytest.mark.parametrize(
    ("call", "failure"),
    [
        ("echo 'everstep: no disk' >&2; exit 1", "exit status 1: no disk"),
        ("exit 2", "exit status 2: it said nothing"),
        ("echo killed; kill -9 $$", "ended by signal 9: killed"),  # and no plan did it
        ("kill -15 $$", "ended by signal 15: it said nothing"),
    ],
)
def test_a_run_that_fails_says_how(
    call: str, failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, call)
    assert run(tmp_path) == f"{failure}; see {tmp_path}/run.log"
    assert len((tmp_path / "calls").read_text().splitlines()) == 1


def test_a_run_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "exec tail -f /dev/null")
    assert run(tmp_path, limit_s=0.3) == f"not done after 0 s; see {tmp_path}/run.log"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_stop_is_passed_on_once_and_the_run_may_end_in_order(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run sends it to whoever started it, and then waits for it."""
    name = number.name.removeprefix("SIG")
    told = f"trap 'echo {name} >> told; exit 1' {name}"
    stand_in(tmp_path, monkeypatch, f"{told}; kill -{name} $PPID; while :; do sleep 0.05; done")
    with pytest.raises(Stopped) as caught:
        run(tmp_path)
    assert caught.value.number == number
    assert (tmp_path / "told").read_text().split() == [name]
    assert len((tmp_path / "calls").read_text().splitlines()) == 1  # and nothing is resumed


def test_a_run_that_does_not_stop_when_told_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.experiments.runs._STOPPING_S", 0.1)
    deaf = "trap '' INT; echo $$ > id; kill -INT $PPID; exec tail -f /dev/null"
    stand_in(tmp_path, monkeypatch, deaf)
    with pytest.raises(Stopped):
        run(tmp_path)
    assert not Path(f"/proc/{(tmp_path / 'id').read_text().strip()}").exists()
