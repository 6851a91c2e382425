"""Which Ray is used: a private one unless a cluster is named, in one of three ways."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

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


class Head(NamedTuple):
    """A Ray cluster of one node that somebody runs on this machine."""

    address: str
    environment: dict[str, str]  # what its clients need


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    options = [f"--port={port}", "--num-cpus=4", "--include-dashboard=false"]
    with subprocess.Popen(
        [*command, *options, "--disable-usage-stats"],
        env={**os.environ, **token},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_until_it_listens(port, process)
            yield Head(f"127.0.0.1:{port}", token)
        finally:
            started = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            process.wait(DEADLINE_S)
            _, left = psutil.wait_procs(started, timeout=20)
    assert not left


def wait_until_it_listens(port: int, process: "subprocess.Popen[bytes]") -> None:
    until_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < until_s
            psutil.wait_procs([psutil.Process(process.pid)], timeout=0.2)
        else:
            return


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
    workers = [
        psutil.Process(e["process_id"]) for e in joined if psutil.pid_exists(e["process_id"])
    ]
    assert not psutil.wait_procs(workers, timeout=20)[1]  # the cluster ends them
    assert sum(line.startswith("epoch") for line in done.stderr.splitlines()) == 2
    again = everstep.run("train", *SHORT, "--set", "cluster.kind=local", "--out", "local")
    assert again.returncode == 0, again.stderr
    digests = {result_of(everstep.directory / name)["digest"] for name in ("run", "local")}
    assert len(digests) == 1


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
    line = done.stderr.splitlines()[-2]
    assert line.startswith(f"everstep: can not join the Ray cluster at {head.address}: ")
    assert line.endswith("a cluster with token authentication wants RAY_AUTH_MODE=token here too")
    assert not (everstep.directory / "run").exists()
