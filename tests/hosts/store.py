"""A host that is no node of the cluster and keeps what trainings write: moto's server, over S3."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psutil

from tests.command import DEADLINE_S
from tests.hosts.network import Host, Network
from tests.stores import BUCKET, ENVIRONMENT

_PORT: Final = 5000


@contextmanager
def store_on_a_host(network: Network) -> Iterator[dict[str, str]]:
    """With a bucket; what the environment of its clients has to say."""
    host = network.add_host()
    url = f"http://{host.address}:{_PORT}"
    server = host.command(sys.executable, "-m", "moto.server", "-H", host.address, "-p", str(_PORT))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(server, start_new_session=True, **quiet)
    try:
        _make_bucket(host, f"{url}/{BUCKET}", process)
        yield {**ENVIRONMENT, "AWS_ENDPOINT_URL": url}
    finally:
        network.remove_host(host)
        process.wait(DEADLINE_S)


def _make_bucket(host: Host, url: str, process: "subprocess.Popen[bytes]") -> None:
    """As soon as somebody listens."""
    until_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            with host.entered():
                urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=10)
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < until_s
            psutil.wait_procs([psutil.Process()], timeout=0.1)
        else:
            return
