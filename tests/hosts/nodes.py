"""Ray on the hosts of a network, as a person would start it by hand on each: `ray start`.

Token authentication is on. Each host has its own directory, and its processes end by their
numbers: `ray stop` would end every Ray of this machine. Next: `training.py`.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import psutil

from tests.command import DEADLINE_S
from tests.hosts.network import Host

PORT: Final = 6379
_RAY: Final = (sys.executable, "-m", "ray.scripts.scripts")
_STORE_BYTES: Final = 80_000_000  # the least that Ray takes
# A node that does not answer is dead after 11 to 14 seconds, not after Ray's half a minute.
_HEALTH: Final = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}


class RayNodes:
    """`ray start` on some hosts; the first one that is started is the head."""

    def __init__(self, directory: Path) -> None:
        """`directory`: for their files; a short one, for the sake of local sockets' names."""
        self.directory = directory
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.head: Host | None = None
        self.hosts: dict[str, Host] = {}  # by their addresses
        self._starting: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def address(self) -> str:
        """What `--address` takes."""
        assert self.head is not None
        return f"{self.head.address}:{PORT}"

    def environment(self, host: Host) -> dict[str, str]:
        """Of all that runs on that host, and may speak to the cluster."""
        place = self.directory / host.name
        place.mkdir(exist_ok=True)
        return {**os.environ, **self.token, **_HEALTH, "RAY_TMPDIR": str(place), "COLUMNS": "80"}

    def start(self, host: Host, cpus: int) -> None:
        """Begin to start Ray there; `wait` for it."""
        self.hosts[host.address] = host
        if self.head is None:
            self.head = host
            role = ["--head", f"--port={PORT}", "--include-dashboard=false"]
        else:
            role = [f"--address={self.address}"]
        options = [f"--temp-dir={self.directory / host.name}"]
        options += [f"--num-cpus={cpus}", f"--object-store-memory={_STORE_BYTES}", "--block"]
        quiet = ["--disable-usage-stats", f"--node-ip-address={host.address}"]
        environment = self.environment(host)
        with self._output(host).open("wb") as output:
            self._starting[host.name] = subprocess.Popen(
                host.command(*_RAY, "start", *role, *options, *quiet),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, *hosts: Host) -> None:
        """Until Ray runs there."""
        until_s = time.monotonic() + DEADLINE_S
        for host in hosts:
            process = self._starting[host.name]
            while "Ray runtime started" not in (said := self._output(host).read_text()):
                assert process.poll() is None, said
                assert time.monotonic() < until_s, said
                psutil.wait_procs([psutil.Process()], timeout=0.05)

    def run_on(self, cpus: dict[Host, int]) -> None:
        """Ray runs there, and was begun anew where it had ended; the first is the head."""
        head = next(iter(cpus))
        if not self._runs_on(head):
            self.head = None
            for host in cpus:  # what belonged to the cluster of an earlier head
                self.kill(host)
        away = {host: count for host, count in cpus.items() if not self._runs_on(host)}
        for host, count in away.items():
            self.kill(host)
            self.start(host, count)
            if host is head:
                self.wait(head)
        self.wait(*away)

    def run_anew_on(self, cpus: dict[Host, int]) -> None:
        """A new cluster, after all nodes of the old one have lost their power too."""
        for host in [*self.hosts.values()]:
            self.kill(host)
        self.head = None
        self.run_on(cpus)

    def _runs_on(self, host: Host) -> bool:
        process = self._starting.get(host.name)
        return process is not None and process.poll() is None

    def wait_until_it_ends(self, host: Host) -> None:
        """Ray on that host ends by itself, with all that it started; as a service would be."""
        self._starting[host.name].wait(DEADLINE_S)
        host.kill()

    def kill(self, host: Host) -> None:
        """The host loses its power, and all that ran there."""
        host.kill()
        if (process := self._starting.pop(host.name, None)) is not None:
            process.wait(DEADLINE_S)

    def forget(self) -> None:
        """All hosts were killed."""
        for process in self._starting.values():
            process.wait(DEADLINE_S)

    def ray(self, host: Host, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A `ray` command on that host."""
        return self._run(host, *_RAY, *arguments)

    def roll(self, *alive: Host) -> list[dict[str, Any]]:
        """Wait until exactly these hosts are alive in Ray's eyes; what Ray says of them."""
        assert self.head is not None
        addresses = [host.address for host in alive]
        done = self._run(
            self.head, sys.executable, "-m", "tests.hosts.roll", self.address, *addresses
        )
        assert done.returncode == 0, done.stderr
        nodes: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
        return nodes

    def _run(self, host: Host, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            host.command(*command, within=Path(__file__).parents[2]),
            env=self.environment(host),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def _output(self, host: Host) -> Path:
        return self.directory / f"{host.name}.txt"
