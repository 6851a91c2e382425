"""An experiment as a whole, with trainings that are not: what it writes, refuses and keeps."""

import json
import shlex
import signal
from pathlib import Path

import pytest

from tests.test_experiment_table import fault, lines, write_resumed, write_run
from trainer import experiment_command
from trainer.config import load_config
from trainer.errors import ConfigError, ExperimentError, RunDirectoryError
from trainer.experiment_command import run_experiment
from trainer.run_lock import RunLock
from trainer.stop_signals import Stopped


class Trainings:
    """Stands in for the processes: writes run directories of its own."""

    def __init__(self, *digests: str) -> None:
        self.digests = list(digests)
        self.plans: list[str] = []
        self.names: list[str] = []

    def __call__(
        self,
        folder: Path,
        config: Path | None,
        overrides: list[str],
        plan: Path,
        limit_s: float | None,
    ) -> str | None:
        self.plans.append(plan.read_text())
        self.names.append(folder.name)
        digest = self.digests.pop(0)
        if digest == "failed":
            return "exit status 1: no disk"
        if digest == "Ctrl-C":
            write_run(folder, None)
            raise Stopped(signal.SIGINT)
        (write_run if folder.name == "undisturbed" else write_resumed)(folder, digest)
        (folder / "config.yaml").write_text(load_config(config, overrides).as_yaml())
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
    with pytest.raises(ConfigError) as caught:
        run_experiment(plan, 1, tmp_path / "out")
    assert str(caught.value) == (
        f"plan {plan}: fault 1 (kill worker-1 at step 7): with cluster.kind local no actor has a"
        " process of its own, only driver can be hit; set cluster.kind=ray"
    )


@pytest.mark.parametrize(
    "text", ["", "faults:", "faults: []", "set: [training.epochs=1]", "random:"]
)
def test_a_plan_that_fires_nothing_is_refused_before_anything_is_trained(
    text: str, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(text)
    with pytest.raises(ConfigError) as caught:
        run_experiment(plan, 1, tmp_path / "out")
    assert str(caught.value) == (
        f"plan {plan}: plans no fault, so there is nothing to compare; add one, like"
        " `faults: [{kill: worker-1, at_step: 100}]`"
    )
    assert not (tmp_path / "out").exists()


EPOCHS = "training.epochs: 0 is not allowed; must be a whole number from 1 to 1000000000"
SHARDS = (
    "cluster.workers: 9 workers but only 8 shards, 1 would idle; set cluster.workers <= 8 or"
    " training.shards >= 9"
)


@pytest.mark.parametrize(
    ("base", "settings", "told"),
    [
        # What is laid over the file, or over the defaults.
        (None, "epochs=3", ["set epochs=3: must be section.key=value, like training.epochs=10"]),
        (None, "training.epochs=0", [f"set: {EPOCHS}"]),
        (None, "training.epoch=1", ["set: training.epoch: unknown key; did you mean epochs?"]),
        ("training: {epochs: 3}", "training.epochs=0", [f"set: {EPOCHS}"]),
        ("training: {epochs: 3}", "cluster.workers=9", [f"set: {SHARDS}"]),
        # The file itself.
        ("training: {epochs: 0}", "cluster.workers=2", [f"config BASE: {EPOCHS}"]),
        ("cluster: {workers: 9}", "training.epochs=1", [f"config BASE: {SHARDS}"]),
        ("training: [", "", ["config BASE: line 1: expected the node content, but found"]),
        ("", "", ["config BASE: No such file or directory"]),
        # Both.
        (
            "training: {epochs: 0}",
            "network.loss=hinge",
            [
                "set: network.loss: 'hinge' is not allowed; must be one of quadratic,"
                " mean_squared, cross_entropy",
                f"config BASE: {EPOCHS}",
            ],
        ),
    ],
)
def test_what_is_wrong_with_what_a_plan_trains_names_plan_part_key_and_what_is_allowed(
    base: str | None, settings: str, told: list[str], tmp_path: Path
) -> None:
    plan, config = tmp_path / "plan.yaml", tmp_path / "base.yaml"
    if base:
        config.write_text(base)
    lines = [] if base is None else ["config: base.yaml"]
    plan.write_text("\n".join([*lines, f"set: [{settings}]", "faults: [{kill: server, at_s: 1}]"]))
    with pytest.raises(ConfigError) as caught:
        run_experiment(plan, 1, tmp_path / "out")
    expected = [f"plan {plan}: {line.replace('BASE', str(config))}" for line in told]
    found = str(caught.value).splitlines()
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True)), found
    assert not (tmp_path / "out").exists()


def test_of_very_many_problems_of_what_a_plan_trains_ten_are_told(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    wrong = f"network.sizes=[{', '.join('x' * 30)}]"
    plan.write_text(f"set: ['{wrong}']\nfaults: [{{kill: server, at_s: 1}}]")
    with pytest.raises(ConfigError) as caught:
        run_experiment(plan, 1, tmp_path / "out")
    *_, last = lines = str(caught.value).splitlines()
    assert (len(lines), last) == (11, f"plan {plan}: ... and 20 more problems")


def test_when_no_fault_fired_in_any_run_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(folder: Path, *arguments: object) -> None:
        write_run(folder, "d1")
        if folder.name != "undisturbed":
            why = "training was over at step 100, after 10.0 s"
            lines(folder / "faults.jsonl", fault("1", "kill server", "", 9.0, fired=False, why=why))

    monkeypatch.setattr(experiment_command, "run_to_the_end", train)
    plan = tmp_path / "plan.yaml"
    plan.write_text("faults: [{kill: server, at_s: 60}]\nrandom: {per_minute: 0.01}")
    run_experiment(plan, 1, tmp_path / "out")
    assert capsys.readouterr().err.splitlines() == [
        "undisturbed ...",
        "with faults, 1 of 1 ...",
        "warning: faulted-1: fault 1 (kill server at step 7) did not fire: training was over at"
        " step 100, after 10.0 s",
        "warning: faulted-1: no random fault fired: 0.01 a minute are few for so short a training",
        "warning: no fault fired in any run: this compares nothing",
    ]


@pytest.mark.parametrize("file", [1, 2])
def test_an_experiment_that_finds_the_disk_full_at_its_start_leaves_nothing_behind(
    file: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the plan's copy, or at the file behind it."""
    synced: list[int] = []

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) >= 2 * file - 1:  # each file is synced, and then its folder
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.files.os.fsync", full)
    out = tmp_path / "made" / "out"
    with pytest.raises(RunDirectoryError) as caught:
        run_experiment(plan_in(tmp_path), 1, out)
    assert str(caught.value) == f"--out {out}: No space left on device"
    assert not (tmp_path / "made").exists()


# --- Stopped, and gone on with


def stopped(folder: Path, *digests: str, patch: pytest.MonkeyPatch) -> Stopped:
    """An experiment of three runs that Ctrl-C ends after those digests."""
    patch.setattr(experiment_command, "run_to_the_end", Trainings(*digests, "Ctrl-C"))
    with pytest.raises(Stopped) as caught:
        run_experiment(plan_in(folder), 3, folder / "out")
    assert not (folder / "out" / "experiment.json").exists()
    assert not (folder / "out" / "run.lock").exists()
    return caught.value


def test_an_experiment_that_is_stopped_says_what_is_kept_where_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, command = tmp_path / "out", f"everstep experiment {tmp_path}/plan.yaml --repeat 3"
    assert stopped(tmp_path, "d1", "d1", patch=monkeypatch).__notes__ == [
        f"kept in {out}: undisturbed, faulted-1; faulted-2 is half done and would begin anew",
        f"go on with: {command} --out {out}",
    ]


def test_an_experiment_that_is_stopped_at_once_has_kept_nothing_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, _ = stopped(tmp_path, patch=monkeypatch).__notes__
    assert kept == (
        f"kept in {tmp_path / 'out'}: no whole run yet; undisturbed is half done and would begin"
        " anew"
    )


def test_an_experiment_that_was_stopped_goes_on_and_trains_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    way_on = stopped(tmp_path, "d1", "d1", patch=monkeypatch).__notes__[1]
    _, _, plan, _, repeat, _, out = shlex.split(way_on.removeprefix("go on with: "))
    trainings = Trainings("d1", "d1")
    monkeypatch.setattr(experiment_command, "run_to_the_end", trainings)
    run_experiment(Path(plan), int(repeat), Path(out))
    assert trainings.names == ["faulted-2", "faulted-3"]
    written = json.loads((tmp_path / "out" / "experiment.json").read_text())
    assert (written["verdict"], len(written["runs"])) == ("equal", 3)
    assert "with faults, 1 of 3 ... is done already\n" in capsys.readouterr().err


def test_only_the_same_unfinished_experiment_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path, "d1", patch=monkeypatch)
    out, plan = tmp_path / "out", tmp_path / "plan.yaml"
    text = plan.read_text()
    plan.write_text(text + "\n# another")
    with pytest.raises(RunDirectoryError, match=f"--out {out}: holds an experiment with another p"):
        run_experiment(plan, 3, out)
    plan.write_text(text)
    config = out / "undisturbed" / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 1"))
    with pytest.raises(RunDirectoryError, match="holds an experiment with another configuration; "):
        run_experiment(plan, 3, out)
    (out / "experiment.json").write_text("{}")
    with pytest.raises(RunDirectoryError, match="holds a finished experiment; choose another"):
        run_experiment(plan, 3, out)


def test_two_experiments_do_not_share_a_directory(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    lock = RunLock(tmp_path / "out", "train", "")
    with pytest.raises(RunDirectoryError, match=r"out: process \d+ on host \S+ trains into it"):
        run_experiment(plan_in(tmp_path), 1, tmp_path / "out")
    lock.release()
