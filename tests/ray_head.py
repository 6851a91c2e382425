"""A Ray cluster of one node on this machine, as a person would start it: `ray start --head`."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psutil

from tests.command import DEADLINE_S

_RAY = (sys.executable, "-m", "ray.scripts.scripts")


class Head(NamedTuple):
    """A cluster that somebody runs."""

    address: str
    environment: dict[str, str]  # what its clients need


@contextmanager
def ray_head(*options: str, **environment: str) -> Iterator[Head]:
    """With token authentication; `options` of `ray start`, and what stands in its environment."""
    port = free_port()
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    command = [*_RAY, "start", "--head", "--block", f"--port={port}", "--num-cpus=4"]
    command += ["--include-dashboard=false", "--disable-usage-stats"]
    with subprocess.Popen(
        [*command, *options],
        env={**os.environ, **token, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _wait_until_it_listens(port, process)
            yield Head(f"127.0.0.1:{port}", token)
        finally:
            started = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            process.wait(DEADLINE_S)
            _, left = psutil.wait_procs(started, timeout=20)
    assert not left


def free_port() -> int:
    """One on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _wait_until_it_listens(port: int, process: "subprocess.Popen[bytes]") -> None:
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
