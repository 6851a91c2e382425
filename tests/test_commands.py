"""The commands as a user runs them: in a process of their own, from an empty directory."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.command import (
    DEADLINE_S,
    LOCAL,
    LONG,
    SHORT,
    Everstep,
    events_of,
    result_of,
    two_workers,
    wait_for,
)
from trainer import Config, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of ten epochs."""
    directory = tmp_path_factory.mktemp("trained")
    done = Everstep(directory).run("train", *LOCAL, "--set", "training.epochs=10", "--out", "run")
    assert done.returncode == 0, done.stderr
    return directory / "run"


def test_an_event_that_is_half_written_is_none_yet(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b'{"event": "joined"}\n{"event": "d')
    assert events_of(tmp_path) == [{"event": "joined"}]


def test_training_on_ray_and_in_one_process_end_with_one_digest_and_no_process_left(
    everstep: Everstep,
) -> None:
    home = everstep.directory / "home"
    home.mkdir()
    everstep.environment["HOME"] = str(home)
    on_ray = everstep.run("train", "--out", "on-ray")
    assert on_ray.returncode == 0, on_ray.stderr
    everstep.wait_until_alone()
    assert [*home.iterdir()] == []  # no token of Ray's, which every later Ray would want
    in_one = everstep.run("train", *LOCAL, "--out", "in-one")
    assert in_one.returncode == 0, in_one.stderr
    ray_result, local_result = (
        result_of(everstep.directory / name) for name in ("on-ray", "in-one")
    )
    assert ray_result["digest"] == local_result["digest"]
    assert float(str(ray_result["accuracy"])) >= 0.95
    assert str(ray_result["digest"]) in on_ray.stdout
    assert "epoch 30/30" in on_ray.stderr


def test_a_killed_worker_changes_no_byte_and_is_written_down(everstep: Everstep) -> None:
    epochs = 60
    process = everstep.start("train", "--set", f"training.epochs={epochs}", "--out", "killed")
    directory = everstep.directory / "killed"
    joined = wait_for(lambda: two_workers(directory), process)
    metrics = directory / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.stat().st_size > 0, process)
    os.kill(joined[1]["process_id"], signal.SIGKILL)
    output, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, errors
    assert output.startswith("accuracy")  # the summary, and no paragraph of Ray's
    assert len(output.splitlines()) == 9
    (died,) = [e for e in events_of(directory) if e["event"] == "died"]
    assert died["worker"] == joined[1]["worker"]
    assert f"{joined[1]['worker']} died: connection" in errors
    result = result_of(directory)
    assert result["deaths"] == 1
    # At least: on a busy machine others are late too.
    assert len(result["stalls_s"]) >= 1
    deaths = [recovery for recovery in result["recoveries"] if recovery["event"] == "died"]
    assert [recovery["name"] for recovery in deaths] == [joined[1]["worker"]]
    (recovered,) = [
        e for e in events_of(directory) if (e["event"], e.get("from")) == ("recovered", "died")
    ]
    told = ("cause", "detected_s", "takeover_s", "restart_s", "repeated_steps", "stalled_s")
    assert {key: recovered[key] for key in told} == {key: deaths[0][key] for key in told}
    assert recovered["worker"] == died["worker"]
    assert result["repeated_steps"] == 0
    undisturbed = train(Config(training={"epochs": epochs}, cluster={"kind": "local"}))
    assert result["digest"] == undisturbed.digest
    assert result["samples_applied"] == epochs * 44 * 32
    everstep.wait_until_alone()


STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
Running = dict[signal.Signals, tuple[Everstep, "subprocess.Popen[str]"]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A training on a Ray of its own for each way to stop it; they start side by side."""
    made: Running = {}
    for stop in STOPS:
        everstep = Everstep(tmp_path_factory.mktemp(stop.name))
        made[stop] = everstep, everstep.start("train", *LONG, "--out", "run")
    yield made
    try:
        for everstep, _ in made.values():
            everstep.wait_for_agents()
    finally:
        for everstep, _ in made.values():
            for process in everstep.processes():
                process.kill()


@pytest.mark.parametrize("stop", STOPS)
def test_no_process_is_left_when_training_is_stopped(
    stop: signal.Signals, running: Running
) -> None:
    everstep, process = running[stop]
    metrics = everstep.directory / "run" / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.stat().st_size > 0, process)
    assert len(everstep.processes()) > 3  # the driver, the server, two workers, Ray's own
    # Ctrl-C in a terminal goes to the whole group, Ray's processes too.
    os.killpg(process.pid, stop) if stop == signal.SIGINT else process.send_signal(stop)
    _, errors = process.communicate(timeout=DEADLINE_S)
    everstep.wait_until_alone(but_for_agents=stop == signal.SIGKILL)
    if stop == signal.SIGINT:
        assert process.returncode == 130
        assert "everstep: stopped by Ctrl-C\neverstep: kept: run/checkpoints/step-" in errors
        assert errors.endswith("go on with: everstep resume run\n")
        assert "Traceback" not in errors
        assert list((everstep.directory / "run" / "checkpoints").iterdir())


def test_no_process_is_left_when_ctrl_c_comes_while_ray_starts(everstep: Everstep) -> None:
    process = everstep.start("train", "--out", "run")
    wait_for(lambda: len(everstep.processes()) >= 3, process)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=DEADLINE_S)
    everstep.wait_until_alone()
    assert process.returncode == 130, errors
    assert not (everstep.directory / "run").exists()


def test_no_process_is_left_after_an_error_and_the_error_is_one_line(everstep: Everstep) -> None:
    done = everstep.run(
        "train", "--out", "run", "--set", "network.output=identity",
        "--set", "network.activation=relu", "--set", "training.learning_rate=1e6",
    )  # fmt: skip
    everstep.wait_until_alone()
    assert done.returncode == 1
    problem, kept = done.stderr.splitlines()[-2:]
    assert problem.startswith("everstep: training diverged in step ")
    assert kept == "everstep: no epoch was finished; nothing is kept"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--set", "training.lerning_rate=1"], "unknown key; did you mean learning_rate?"),
        (["--set", "cluster.workers=12"], "12 workers but only 8 shards, 4 would idle"),
        (["--set", "network.sizes=[64,10,3]"], "set it to [64, 10, 10]"),
        (["absent.yaml"], "config absent.yaml: No such file or directory"),
        (["--set", "data.source=csv", "--set", "data.train=a.csv", "--set", "data.label=y"],
         "data a.csv: no such file"),
        (["--set", "epochs=3"], "must be section.key=value"),
        (["--out", "s3:/b/x"], "--out s3:/b/x: looks like a URL with one slash; give s3://b/x"),
        (["--set", "cluster.link_ports=20000"], "link_ports: 20000 is not allowed; must be the fi"),
        (["--out", "."], "--out .: exists already and is not empty"),
        (["--out", "x" * 300], "File name too long"),
        (["--set", "network.sizes=[64,100000000,10]"], "must be a whole number from 1 to 1000000"),
        (["--set", "cluster.link_timeout_s=1e300"], "must be a number above 0 and at most 86400"),
        (["--address", "ray://127.0.0.1:10001"], "with --address auto or --address HOST:PORT"),
    ],
)  # fmt: skip
def test_a_wrong_command_is_one_line_and_status_2(
    arguments: list[str], line: str, everstep: Everstep
) -> None:
    (everstep.directory / "something").write_text("")
    done = everstep.run("train", *LOCAL, *arguments)
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.startswith("everstep: ")
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in everstep.directory.iterdir()] == ["something"]


def test_a_cluster_that_is_not_there_is_one_line_and_status_1(everstep: Everstep) -> None:
    done = everstep.run("train", "--address", "127.0.0.1:1", "--out", "run")
    assert done.returncode == 1
    line = done.stderr.splitlines()[-2]
    assert line.startswith("everstep: can not join the Ray cluster at 127.0.0.1:1: ")
    assert "Traceback" not in done.stderr
    assert not (everstep.directory / "run").exists()


def test_a_local_run_imports_no_ray_and_the_help_no_numpy(everstep: Everstep) -> None:
    script = (
        "import sys\n"
        "from trainer.cli import app\n"
        "app(sys.argv[1:], standalone_mode=False)\n"
        "print('IMPORTED', *sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )

    def imported(*arguments: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=everstep.directory,
            capture_output=True,
            text=True,
            check=True,
            timeout=DEADLINE_S,
        )
        return done.stdout.splitlines()[-1].split()

    by_training = imported("train", *LOCAL, *SHORT)
    assert "numpy" in by_training
    assert not {"ray", "sklearn", "scipy"} & set(by_training)
    assert not {"ray", "numpy", "pydantic", "sklearn"} & set(imported("--help"))


def test_evaluation_prints_what_training_measured(trained: Path, everstep: Everstep) -> None:
    done = everstep.run("evaluate", str(trained))
    assert done.returncode == 0, done.stderr
    accuracy = float(str(result_of(trained)["accuracy"]))
    assert f"accuracy  {accuracy:.4f}" in done.stdout
    assert "359 rows of digits (test)" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.strip()[:1].isdigit()][-10:]
    assert [int(row.split()[0]) for row in rows] == list(range(10))
    assert sum(int(count) for row in rows for count in row.split()[1:]) == 359
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_evaluation_takes_other_rows_and_a_named_checkpoint(
    trained: Path, everstep: Everstep
) -> None:
    done = everstep.run(
        "evaluate", str(trained), "--dataset", "train", "--checkpoint", "step-00000440"
    )
    assert "step 440, 1,438 rows of digits (train)" in done.stdout
    rows = np.zeros((3, 64))
    np.savez(everstep.directory / "rows.npz", x=rows, y=np.array([0, 1, 2]))
    done = everstep.run("evaluate", str(trained), "--dataset", "rows.npz")
    assert "3 rows of rows.npz[x]" in done.stdout


def test_prediction_writes_class_and_probabilities(trained: Path, everstep: Everstep) -> None:
    from trainer.tables import read_digits

    digits = read_digits()
    np.savez(everstep.directory / "rows.npz", x=digits.features)
    done = everstep.run("predict", str(trained), "rows.npz", "--out", "classes.csv")
    assert done.returncode == 0, done.stderr
    with (everstep.directory / "classes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1797
    shares = np.array([[float(row[f"p_{digit}"]) for digit in range(10)] for row in rows])
    assert np.abs(shares.sum(axis=1) - 1).max() < 1e-5
    predicted = np.array([int(row["class"]) for row in rows])
    assert (predicted == shares.argmax(axis=1)).all()
    assert digits.labels is not None
    assert (predicted == digits.labels).mean() > 0.8


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["predict", "RUN", "rows.npz", "--out", "s3://b/p.csv"],
         "--out s3://b/p.csv: is a URL, and predictions are written to a path only"),
        (["predict", "RUN", "rows.npz", "--out", "s3:/b/p.csv"],
         "--out s3:/b/p.csv: looks like a URL with one slash; give s3://b/p.csv, or ./s3:/b/p.csv"
         " for a path"),
        (["predict", "RUN", "s3://b/rows.npz"],
         "INPUTS s3://b/rows.npz: is a URL, and rows are read from a path only"),
        (["evaluate", "RUN", "--dataset", "s3://b/rows.npz"],
         "--dataset s3://b/rows.npz: is a URL, and rows are read from a path only"),
        # Before the work: not even the run directory is looked at.
        (["predict", "s3://b/absent", "rows.npz", "--out", "gs://b/p.csv"],
         "--out gs://b/p.csv: is a URL, and predictions are written to a path only"),
    ],
)  # fmt: skip
def test_rows_and_predictions_are_in_no_store(
    arguments: list[str], line: str, trained: Path, everstep: Everstep
) -> None:
    done = everstep.run(*(str(trained) if each == "RUN" else each for each in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"everstep: {line}\n"
    assert list(everstep.directory.iterdir()) == []


def test_rows_and_predictions_may_be_file_urls(trained: Path, everstep: Everstep) -> None:
    rows, out = everstep.directory / "rows.npz", everstep.directory / "classes.csv"
    np.savez(rows, x=np.zeros((2, 64)))
    done = everstep.run("predict", str(trained), f"file://{rows}", "--out", f"file://{out}")
    assert done.returncode == 0, done.stderr
    assert len(out.read_text().splitlines()) == 3


def test_predictions_replace_neither_what_is_read_nor_what_a_run_wrote(
    trained: Path, everstep: Everstep
) -> None:
    rows = everstep.directory / "rows.npz"
    np.savez(rows, x=np.zeros((2, 64), "f4"))
    before = rows.read_bytes(), (trained / "result.json").read_bytes()
    for out, why in (
        ("rows.npz", "that is the file to read"),
        (trained / "result.json", "run dir"),
    ):
        done = everstep.run("predict", str(trained), "rows.npz", "--out", str(out))
        assert done.returncode == 2
        assert done.stderr.startswith(f"everstep: --out {out}: ")
        assert why in done.stderr
        assert done.stderr.count("\n") == 1
    assert (rows.read_bytes(), (trained / "result.json").read_bytes()) == before


def test_a_csv_is_trained_on_evaluated_and_predicted(everstep: Everstep) -> None:
    generator = np.random.default_rng(0)
    lines = ["height,kind,width"]
    for _ in range(200):
        kind = generator.integers(2)
        height, width = generator.normal([4.0 * kind, -4.0 * kind])
        lines.append(f"{height:.4f},{('oak', 'elm')[kind]},{width:.4f}")
    (everstep.directory / "trees.csv").write_text("\n".join(lines))
    (everstep.directory / "trees.yaml").write_text(
        "data: {source: csv, train: trees.csv, label: kind}\n"
        "network: {sizes: [2, 4, 2]}\n"
        "training: {epochs: 20}\n"
    )
    done = everstep.run("train", "trees.yaml", *LOCAL, "--out", "run")
    assert done.returncode == 0, done.stderr
    assert float(str(result_of(everstep.directory / "run")["accuracy"])) > 0.9
    # Columns in another order, and one that the network does not know.
    (everstep.directory / "new.csv").write_text("width,note,height\n-4,a,4\n0,b,0\n")
    done = everstep.run("predict", "run", "new.csv")
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["class", "elm", "oak"]
    done = everstep.run("evaluate", "run", "--dataset", "trees.csv")
    assert "200 rows of trees.csv" in done.stdout


def test_names_that_look_like_markup_are_shown_as_they_are(everstep: Everstep) -> None:
    lines = ["kind,width", *("[/b],1" for _ in range(40)), *("[red],-1" for _ in range(40))]
    (everstep.directory / "odd.csv").write_text("\n".join(lines))
    (everstep.directory / "odd.yaml").write_text(
        "data: {source: csv, train: odd.csv, label: kind}\nnetwork: {sizes: [1, 2]}\n"
    )
    done = everstep.run("train", "odd.yaml", *LOCAL, *SHORT, "--out", "run[/b]")
    assert done.returncode == 0, done.stderr
    assert "run[/b]" in done.stdout
    done = everstep.run("evaluate", "run[/b]", "--dataset", "odd.csv")
    assert done.returncode == 0, done.stderr
    assert "[/b]" in done.stdout
    assert "[red]" in done.stdout


def test_predictions_go_into_a_pipe_or_through_a_link_as_asked(
    trained: Path, everstep: Everstep
) -> None:
    np.savez(everstep.directory / "rows.npz", x=np.zeros((2, 64)))
    (everstep.directory / "real.csv").write_text("old")
    (everstep.directory / "link.csv").symlink_to("real.csv")
    done = everstep.run("predict", str(trained), "rows.npz", "--out", "link.csv")
    assert done.returncode == 0, done.stderr
    assert (everstep.directory / "link.csv").is_symlink()
    assert len((everstep.directory / "real.csv").read_text().splitlines()) == 3
    done = everstep.run("predict", str(trained), "rows.npz", "--out", "/dev/stdout")
    assert len(done.stdout.splitlines()) == 3
    assert Path("/dev/stdout").is_symlink()
    done = everstep.run("predict", str(trained), "rows.npz", "--out", ".")
    assert (done.returncode, done.stderr) == (2, "everstep: --out .: Is a directory\n")


def test_nothing_is_left_of_a_run_that_never_began(everstep: Everstep) -> None:
    done = everstep.run("train", "--address", "127.0.0.1:1")  # into runs/DATE-TIME
    assert done.returncode == 1
    assert list(everstep.directory.iterdir()) == []


LONG_NAME = "x" * 300


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["evaluate", "absent"], "DIR absent: no such directory"),
        (["evaluate", "rows.npz"], "DIR rows.npz: is a file, and no run directory"),
        (["evaluate", "."], "DIR .: no checkpoint in this directory; give one of a run"),
        (["evaluate", LONG_NAME], f"{LONG_NAME}: File name too long"),
        (["resume", "absent"], "DIR absent: no such directory"),
        (["resume", "rows.npz"], "DIR rows.npz: is a file, and no run directory"),
        (["resume", LONG_NAME], f"DIR {LONG_NAME}: File name too long"),
        (["evaluate", "RUN", "--checkpoint", "step-7"], "--checkpoint step-7: no such file, nor"),
        (["predict", "RUN", "rows.npz", "--checkpoint", "no"], "--checkpoint no: no such file, no"),
        (["predict", "RUN", "rows.npz", "--checkpoint", "."], "--checkpoint .: no such file, nor"),
        (["evaluate", "RUN", "--checkpoint", LONG_NAME], "RUN/checkpoints/x"),
        (["predict", "RUN", "absent.csv"], "data absent.csv: no such file"),
        (["evaluate", "RUN", "--dataset", "absent.csv"], "data absent.csv: no such file"),
        (["train", "--faults", "absent.yaml"], "plan absent.yaml: No such file or directory"),
        (["experiment", "absent.yaml"], "plan absent.yaml: No such file or directory"),
    ],
)
def test_what_is_named_and_not_there_is_a_wrong_command(
    arguments: list[str], line: str, trained: Path, everstep: Everstep
) -> None:
    (everstep.directory / "rows.npz").write_bytes(b"")
    done = everstep.run(*(str(trained) if each == "RUN" else each for each in arguments))
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith(f"everstep: {line.replace('RUN', str(trained))}")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in everstep.directory.iterdir()] == ["rows.npz"]


def test_a_checkpoint_that_is_not_there_is_told_with_the_newest_that_is(
    trained: Path, everstep: Everstep
) -> None:
    done = everstep.run("evaluate", str(trained), "--checkpoint", "step-7")
    assert done.stderr == (
        f"everstep: --checkpoint step-7: no such file, nor does {trained} have it; the newest is"
        " step-00000440.safetensors\n"
    )


def test_a_checkpoint_that_is_there_and_damaged_is_a_failure(
    trained: Path, everstep: Everstep
) -> None:
    whole = (trained / "checkpoints" / "step-00000440.safetensors").read_bytes()
    (everstep.directory / "half").write_bytes(whole[: len(whole) // 2])
    done = everstep.run("evaluate", str(trained), "--checkpoint", "half")
    assert done.returncode == 1
    assert done.stderr.startswith("everstep: checkpoint half: damaged or no checkpoint: ")


@pytest.mark.parametrize(
    ("inputs", "line"),
    [
        ("absent.npz", "data absent.npz: no such file"),
        ("rows.txt", "data rows.txt: must be a .npz or a .csv file"),
        ("narrow.npz", "data narrow.npz[x]: 3 features, the training data has 64"),
        ("nan.npz", "data nan.npz[x]: row 1, feature 5: nan is no finite number"),
    ],
)
def test_inputs_that_can_not_be_predicted_are_one_line(
    inputs: str, line: str, trained: Path, everstep: Everstep
) -> None:
    rows = np.zeros((2, 64))
    rows[1, 5] = np.nan
    np.savez(everstep.directory / "nan.npz", x=rows)
    np.savez(everstep.directory / "narrow.npz", x=np.zeros((2, 3)))
    done = everstep.run("predict", str(trained), inputs)
    assert (done.returncode, done.stderr) == (2, f"everstep: {line}\n")


def test_the_version_is_printed(everstep: Everstep) -> None:
    assert everstep.run("--version").stdout.startswith("everstep 0.")
