"""The head of the Ray is lost, or says nothing any more: what a command says of it all the same."""

import secrets
import signal
import socket
import subprocess
import sys

import psutil
import pytest

from tests.command import DEADLINE_S, LONG, Everstep, wait_for


def head_of(everstep: Everstep) -> psutil.Process:
    (head,) = [process for process in everstep.processes() if process.name() == "gcs_server"]
    return head


def join_one(everstep: Everstep) -> str:
    """Start a cluster of one node, which ends with the test; its address."""
    everstep.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    subprocess.run(
        [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}"),
            *("--num-cpus=4", "--node-ip-address=127.0.0.1"),
            *("--include-dashboard=false", "--disable-usage-stats"),
        ],
        env=everstep.environment,
        check=True,
        capture_output=True,
        timeout=DEADLINE_S,
    )
    return f"127.0.0.1:{port}"


@pytest.mark.parametrize("private", [True, False], ids=["a private Ray", "a cluster"])
def test_a_training_whose_head_is_lost_says_so_and_what_is_kept(
    private: bool, everstep: Everstep
) -> None:
    """Ray itself ends the process after a minute, from within and with nothing said."""
    address = () if private else ("--address", join_one(everstep))
    process = everstep.start("train", *LONG, "--out", "run", *address)
    run = everstep.directory / "run"
    wait_for(lambda: [*run.glob("checkpoints/step-*")], process)
    head_of(everstep).kill()
    _, errors = process.communicate(timeout=DEADLINE_S)
    failed, kept, way_on = errors.splitlines()[-3:]
    assert failed.startswith("everstep: training stopped after step ")
    assert " is lost: no answer for 10 s " in failed
    assert kept.startswith("everstep: kept: run/checkpoints/step-")
    another = "" if private else " --address HOST:PORT"
    assert way_on == f"everstep: go on with: everstep resume run{another}"
    assert process.returncode == 1


def test_ctrl_c_ends_a_training_whose_head_hangs(everstep: Everstep) -> None:
    """It takes calls and never answers, so that each request to Ray hangs for ever."""
    process = everstep.start("train", *LONG, "--out", "run")
    run = everstep.directory / "run"
    wait_for(lambda: [*run.glob("checkpoints/step-*")], process)
    head_of(everstep).suspend()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=DEADLINE_S)
    stopped, kept, way_on = errors.splitlines()[-3:]
    assert stopped == "everstep: stopped by Ctrl-C"
    assert kept.startswith("everstep: kept: run/checkpoints/step-")
    assert way_on == "everstep: go on with: everstep resume run"
    assert process.returncode == 128 + signal.SIGINT
