"""Which Ray is used: a private one unless a cluster is named, in one of three ways."""

import secrets
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.command import (
    DEADLINE_S,
    LONG,
    SHORT,
    Everstep,
    events_of,
    result_of,
    two_workers,
    wait_for,
)
from tests.ray_head import Head, free_port, ray_head
from trainer import Config, train
from trainer.config import load_config


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with ray_head() as started:
        yield started


@pytest.mark.parametrize("way", ["--address", "RAY_ADDRESS", "cluster.address"])
def test_a_cluster_that_is_named_is_joined_and_left_running(
    way: str, head: Head, everstep: Everstep
) -> None:
    everstep.environment |= head.environment
    arguments: list[str] = []
    match way:
        case "--address":
            arguments = ["--address", head.address]
        case "cluster.address":
            arguments = ["--set", f"cluster.address='{head.address}'"]
        case _:
            everstep.environment["RAY_ADDRESS"] = head.address
    done = everstep.run("train", *SHORT, *arguments, "--out", "run")
    assert done.returncode == 0, done.stderr
    everstep.wait_until_alone()  # nothing of its own is left
    joined = [e for e in events_of(everstep.directory / "run") if e["event"] == "joined"]
    assert {e["worker"] for e in joined} == {"server", "worker-0", "worker-1"}
    config = load_config(everstep.directory / "run" / "config.yaml")
    assert config.cluster.address == head.address  # for `everstep resume`, wherever it was said
    workers = [
        psutil.Process(e["process_id"]) for e in joined if psutil.pid_exists(e["process_id"])
    ]
    assert not psutil.wait_procs(workers, timeout=20)[1]  # the cluster ends them
    assert sum(line.startswith("epoch") for line in done.stderr.splitlines()) == 2
    again = everstep.run("train", *SHORT, "--set", "cluster.kind=local", "--out", "local")
    assert again.returncode == 0, again.stderr
    digests = {result_of(everstep.directory / name)["digest"] for name in ("run", "local")}
    assert len(digests) == 1


def test_a_run_goes_on_in_another_cluster_when_its_own_is_gone_and_then_stays_there(
    head: Head, everstep: Everstep
) -> None:
    run = everstep.directory / "run"
    train(Config(training={"epochs": 1}, cluster={"kind": "local"}), run)
    everstep.environment |= head.environment
    gone = f"127.0.0.1:{free_port()}"
    sets = (f"--set=cluster.address='{gone}'", "--set=cluster.kind=ray", "--set=training.epochs=2")
    failed = everstep.run("resume", "run", *sets)
    assert failed.returncode == 1
    refused, kept, way_on = failed.stderr.splitlines()[-3:]
    assert refused.startswith(f"everstep: can not join the Ray cluster at {gone}: ")
    assert kept.startswith("everstep: kept: run/checkpoints/step-")
    assert way_on == "everstep: go on with: everstep resume run --address HOST:PORT"
    without = everstep.run("resume", "run")
    assert without.stderr.splitlines()[-3:] == [refused, kept, way_on]  # and in no private Ray

    everstep.environment["RAY_ADDRESS"] = head.address  # as a job has it
    process = everstep.start("resume", "run", *LONG)
    wait_for(lambda: len((run / "metrics.jsonl").read_text().splitlines()) > 1, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + signal.SIGINT, said
    way_on = said.splitlines()[-1]
    assert way_on == "everstep: go on with: everstep resume run"
    del everstep.environment["RAY_ADDRESS"]
    assert load_config(run / "config.yaml").cluster.address == head.address
    program, *arguments = shlex.split(way_on.partition("go on with: ")[2])
    assert program == "everstep"
    epochs = events_of(run)[-1]["step"] // 44 + 1
    done = everstep.run(*arguments, f"--set=training.epochs={epochs}")
    assert done.returncode == 0, done.stderr
    expected = train(Config(training={"epochs": epochs}, cluster={"kind": "local"}))
    assert result_of(run)["digest"] == expected.digest


def test_who_finds_no_place_is_told_of_while_the_training_still_waits(
    head: Head, everstep: Everstep
) -> None:
    everstep.environment |= head.environment
    wanted = ("--set", "cluster.worker_resources={gold: 1}")
    process = everstep.start("train", *LONG, *wanted, "--address", head.address, "--out", "run")
    directory = everstep.directory / "run"
    unplaced = wait_for(
        lambda: [e for e in events_of(directory) if e["event"] == "unplaced"], process
    )
    assert unplaced[0]["workers"] == ["worker-0", "worker-1"]
    status = everstep.run("status", "run")
    assert "no node has room for it" in status.stdout
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE_S)
    (line,) = (line for line in said.splitlines() if "no place for" in line)
    assert "2 workers ask for 1 CPU and 1 gold each" in line
    everstep.wait_until_alone()


def test_a_cluster_that_happens_to_run_here_is_left_alone(head: Head, everstep: Everstep) -> None:
    process = everstep.start("train", *LONG, "--out", "run")
    directory = everstep.directory / "run"
    joined = wait_for(lambda: two_workers(directory), process)
    raylets = {
        next(p.pid for p in psutil.Process(e["process_id"]).parents() if p.name() == "raylet")
        for e in joined
    }
    mine = {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
    assert raylets <= mine  # a Ray of the command's own
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)
    everstep.wait_until_alone()


def test_a_cluster_that_wants_another_token_is_refused_with_one_clear_line(
    head: Head, everstep: Everstep
) -> None:
    everstep.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    done = everstep.run("train", *SHORT, "--address", head.address, "--out", "run")
    assert done.returncode == 1
    refused, kept = done.stderr.splitlines()
    assert refused.startswith(f"everstep: can not join the Ray cluster at {head.address}")
    assert "the token in RAY_AUTH_TOKEN is not the cluster's" in refused
    assert kept == "everstep: no epoch was finished; nothing is kept"
    assert not (everstep.directory / "run").exists()


def test_who_asks_ray_after_it_was_left_joins_and_starts_none() -> None:
    program = (
        "import actors.ray_cluster, ray\n"
        "try: ray.nodes()\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print(ray.is_initialized())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "RaySystemError\nFalse\n"
