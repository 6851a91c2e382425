"""A network of hosts on one machine: namespaces, each with a cable to a bridge in the middle.

Everything lies in namespaces that are made here, the bridge too: removing them removes all.
Nothing here knows Ray. Next: `nodes.py`, which runs Ray on the hosts.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

import psutil

from tests.hosts.line import Weather

_PREFIX: Final = "everstep-test"
_NAMESPACES: Final = Path("/run/netns")
_CLONE_NEWNET: Final = 0x40000000
_GONE_S: Final = 20.0
# Old Ethernet: a step takes some ten milliseconds and hardly a processor, so that what is
# done to a training hits it in the middle.
_RATE: Final = "100mbit"


class Host:
    """A namespace with an address, and the cable that leads to it."""

    def __init__(self, network: "Network", number: int) -> None:
        self.name, self.address = f"h{number}", f"10.77.0.{number}"
        self.namespace = f"{network.name}-{self.name}"
        self._network = network
        self._first: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """Its first processes: a host numbers its processes by itself, and sees no other's.

        Ray looks for the node that it runs on among the processes. The very first takes leave of
        those whose parents ended before them, as it does on any machine.
        """
        assert self._first is None
        spaces = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
        first = ("bash", "-c", "echo; cat <&0 & wait")
        command = ["ip", "netns", "exec", self.namespace, *spaces, *first]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._first = subprocess.Popen(command, **pipes, start_new_session=True)
        assert self._first.stdout is not None
        assert self._first.stdout.readline() == b"\n"

    def command(self, *arguments: str, within: Path | None = None) -> list[str]:
        """The command, run on this host, in that directory; a signal for it is its child's."""
        assert self._first is not None
        (first,) = psutil.Process(self._first.pid).children()
        spaces = ("--target", str(first.pid), "--net", "--pid", "--mount")
        return ["nsenter", *spaces, "env", f"--chdir={within or '/'}", *arguments]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets that this thread opens meanwhile are this host's."""
        with Path("/proc/thread-self/ns/net").open() as here:
            with (_NAMESPACES / self.namespace).open() as there:
                _set_namespace(there.fileno())
            try:
                yield
            finally:
                _set_namespace(here.fileno())

    def processes(self) -> list[psutil.Process]:
        """All that run on it: whoever they are, they were started through `command`."""
        return _processes_in(self.namespace)

    def kill(self) -> None:
        """End them all at once, and wait until they are gone; it boots at once."""
        self.stop()
        self.boot()

    def stop(self) -> None:
        """End all that runs there, and wait until it is gone."""
        if (_NAMESPACES / self.namespace).exists():
            _end_all_in(self.namespace)
        if self._first is not None:
            with self._first:  # closes its pipes
                self._first = None

    def unplug(self) -> None:
        """Cut the cable."""
        self._network.run("link", "set", self.name, "down")

    def plug(self) -> None:
        self._network.run("link", "set", self.name, "up")

    def limit(self, rate: str) -> None:
        """So much goes through the cable, each way."""
        shape = ("root", "tbf", "rate", rate, "burst", "32kb", "latency", "400ms")
        _run("tc", "-n", self.namespace, "qdisc", "replace", "dev", "eth0", *shape)
        _run("tc", "-n", self._network.namespace, "qdisc", "replace", "dev", self.name, *shape)

    def held_back(self) -> int:
        """How often a frame of its own had to wait for the cable to have room."""
        shown = _run("tc", "-n", self.namespace, "-s", "-j", "qdisc", "show", "dev", "eth0")
        return sum(int(discipline["overlimits"]) for discipline in json.loads(shown))

    @contextmanager
    def weather(self, weather: Weather) -> Iterator[dict[str, int]]:
        """Its cable leads through a bad line meanwhile: the network is the far end of it.

        Afterwards what is yielded says how many frames were `delivered`, `lost` and `blocked`.
        """
        did: dict[str, int] = {}
        near, far = f"{self.name}-near", f"{self.name}-far"
        beside = f"{self.name}-beside"  # a bridge of the host's own
        run, program = self._network.run, (sys.executable, "-m", "tests.hosts.line", near, far)
        line = subprocess.Popen(
            [*self._network.command, *program, json.dumps(asdict(weather))],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
        )
        assert line.stdout is not None
        with line, line.stdout:
            try:
                assert line.stdout.readline() == b"ready\n"
                run("link", "add", beside, "type", "bridge", "forward_delay", "0")
                for name, master in ((near, beside), (far, "bridge"), (self.name, beside)):
                    run("link", "set", name, "master", master, "up")
                run("link", "set", beside, "up")
                yield did
            finally:
                run("link", "set", self.name, "master", "bridge")
                run("link", "delete", beside)
                line.terminate()
                did |= json.loads(line.stdout.readline() or "{}")


class Network:
    """The hosts, for as long as the `with` block lasts."""

    def __init__(self, host_count: int) -> None:
        self.name = f"{_PREFIX}-{os.getpid()}"
        self.namespace = f"{self.name}-bridge"
        self.hosts: list[Host] = []
        self._host_count = host_count

    def __enter__(self) -> "Network":
        _remove_what_others_left()
        try:
            _run("ip", "netns", "add", self.namespace)
            self.run("link", "add", "bridge", "type", "bridge", "forward_delay", "0")
            self.run("link", "set", "bridge", "up")
            for _ in range(self._host_count):
                self.add_host()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for host in [*self.hosts]:
            self.remove_host(host)
        _remove(self.namespace)

    @property
    def command(self) -> list[str]:
        """What a command begins with to run where the bridge is."""
        return ["ip", "netns", "exec", self.namespace]

    def run(self, *arguments: str) -> None:
        """An `ip` command, where the bridge is."""
        _run("ip", "-n", self.namespace, *arguments)

    def add_host(self) -> Host:
        """One more, with a cable to the bridge."""
        host = Host(self, len(self.hosts) + 1)
        self.hosts.append(host)
        _run("ip", "netns", "add", host.namespace)
        ends = ("type", "veth", "peer", "name", "eth0", "netns", host.namespace)
        self.run("link", "add", host.name, *ends)
        self.run("link", "set", host.name, "master", "bridge", "up")
        inside = ("ip", "-n", host.namespace)
        _run(*inside, "address", "add", f"{host.address}/24", "dev", "eth0")
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "link", "set", "eth0", "up")
        host.limit(_RATE)
        host.boot()
        return host

    def remove_host(self, host: Host) -> None:
        """With all that runs there."""
        host.stop()
        self.hosts.remove(host)
        _remove(host.namespace)

    def reset(self) -> None:
        """All cables are as they were."""
        for host in self.hosts:
            host.plug()
            host.limit(_RATE)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_GONE_S, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _processes_in(namespace: str) -> list[psutil.Process]:
    found = []
    for number in _run("ip", "netns", "pids", namespace).split():
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(number))
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _end_all_in(namespace: str) -> None:
    """Again and again, until none is left that could have started another."""
    until_s = time.monotonic() + _GONE_S
    while left := _processes_in(namespace):
        assert time.monotonic() < until_s, [process.cmdline() for process in left]
        _end(left)


def _end(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(processes, timeout=0.5)


def _remove_what_others_left() -> None:
    """A test program that was killed could not remove its namespaces; they bear its number."""
    for path in _NAMESPACES.glob(f"{_PREFIX}-*"):
        if not psutil.pid_exists(int(path.name.split("-")[2])):
            _remove(path.name)


def _remove(namespace: str) -> None:
    if (_NAMESPACES / namespace).exists():
        _end_all_in(namespace)
        _run("ip", "netns", "delete", namespace)
