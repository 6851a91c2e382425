"""Which Ray is used: a private one unless a cluster is named, in one of three ways."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.test_commands import DEADLINE_S, SHORT, Everstep, events_of, result_of


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """A Ray cluster of one node that somebody runs on this machine: its HOST:PORT."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    options = [f"--port={port}", "--num-cpus=4", "--include-dashboard=false"]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    with subprocess.Popen(
        [*command, *options], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        address = f"127.0.0.1:{port}"
        wait_until_it_listens(port, process)
        yield address
        started = [process, *psutil.Process(process.pid).children(recursive=True)]
        process.terminate()
        process.wait(DEADLINE_S)
        psutil.wait_procs(started[1:], timeout=20)


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


@pytest.fixture
def everstep(tmp_path: Path) -> Everstep:
    return Everstep(tmp_path)


def actors_of(head: str) -> int:
    """How many actors that cluster has ever had."""
    script = (
        "import ray, sys\n"
        "ray.init(address=sys.argv[1], log_to_driver=False, logging_level=40)\n"
        "from ray.util.state import list_actors\n"
        "print(len(list_actors()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, head],
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_S,
    )
    return int(done.stdout.split()[-1])


@pytest.mark.parametrize("way", ["--address", "RAY_ADDRESS", "cluster.address"])
def test_a_cluster_that_is_named_is_joined_and_left_running(
    way: str, head: str, everstep: Everstep
) -> None:
    arguments = []
    if way == "--address":
        arguments = ["--address", head]
    elif way == "cluster.address":
        arguments = ["--set", f"cluster.address='{head}'"]
    else:
        everstep.environment["RAY_ADDRESS"] = head
    done = everstep.run("train", *SHORT, *arguments, "--out", "run")
    assert done.returncode == 0, done.stderr
    # The workers are the cluster's processes, not this command's.
    joined = [e for e in events_of(everstep.directory / "run") if e["event"] == "joined"]
    assert {e["host"] for e in joined} == {"127.0.0.1"} or len(joined) == 2
    everstep.wait_until_alone()
    assert not any(psutil.pid_exists(e["process_id"]) for e in joined)
    private = everstep.run("train", *SHORT, "--set", "cluster.kind=local", "--out", "local")
    assert private.returncode == 0
    digests = {result_of(everstep.directory / name)["digest"] for name in ("run", "local")}
    assert len(digests) == 1
