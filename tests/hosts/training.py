"""`everstep train` on a host of a network, and what a test wants to know while it runs."""

import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar

import psutil

from tests.command import DEADLINE_S, Everstep, events_of, result_of, wait_for
from tests.hosts.network import Host
from tests.hosts.nodes import RayNodes
from trainer import Config, train

Found = TypeVar("Found")

_TRAINING: Final[dict[str, Any]] = {"batch_size": 8}
_STEPS: Final = 179  # an epoch
_NETWORK: Final[dict[str, Any]] = {"sizes": [64, 100, 10]}  # 30 kB of weights
EPOCHS: Final = 12
LONG: Final = 100_000  # it will be stopped


@cache
def undisturbed(epochs: int) -> str:
    """The digest, trained in one process."""
    config = Config(
        training={**_TRAINING, "epochs": epochs}, network=_NETWORK, cluster={"kind": "local"}
    )
    return train(config).digest


def settings(epochs: int) -> list[str]:
    """Options of the command that trains what `undisturbed` trains."""
    sets = [
        "supervision.server.max_restarts=20",
        f"training.epochs={epochs}",
        "network.sizes=[64,100,10]",
    ]
    sets += [f"training.{key}={value}" for key, value in _TRAINING.items()]
    return [f"--set={each}" for each in sets]


class Run:
    """A training on a cluster of hosts, started on its head."""

    def __init__(
        self,
        everstep: Everstep,
        nodes: RayNodes,
        *options: str,
        on: Host | None = None,
        epochs: int = EPOCHS,
    ) -> None:
        """`options` come behind the command's other ones; it runs on the head, or on `on`."""
        if on is not None:
            on_host(everstep, nodes, on)
        self._everstep, self._nodes, self.epochs = everstep, nodes, epochs
        self.directory = everstep.directory / "run"
        self.process: subprocess.Popen[str] = everstep.start(
            "train", *settings(epochs), "--address", nodes.address, "--out", "run", *options
        )

    def wait_for(self, condition: Callable[[], Found]) -> Found:
        """While it runs."""
        return wait_for(condition, self.process)

    def wait_until_in_an_epoch(self, after_step: int = 0) -> None:
        """Steps of an epoch were done, and that epoch is not over."""
        self.wait_for(
            lambda: any(
                e["after_step"] > after_step and e["after_step"] % _STEPS
                for e in self.events("snapshot_written")
            )
        )

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Those of these kinds so far; without kinds, all."""
        return [e for e in events_of(self.directory) if not kinds or e["event"] in kinds]

    def where(self) -> dict[str, str]:
        """The address of each actor that lives, as far as the driver knows."""
        living: dict[str, str] = {}
        for event in self.events("joined", "died"):
            if event["event"] == "joined":
                living[event["worker"]] = event["host"]
            else:
                living.pop(event["worker"], None)
        return living

    def stalls_s(self) -> list[float]:
        """How long no step was finished, each time so far."""
        return [e["seconds"] for e in self.events("stalled")]

    def server(self) -> str | None:
        """The address of the node that has the living parameter server."""
        return next(
            (host for name, host in self.where().items() if name.startswith("server")), None
        )

    def workers_on(self, host: Host) -> list[str]:
        """The living workers there that hold shards."""
        shards = {e["worker"]: e["shards"] for e in self.events("assigned")}
        return [
            name
            for name, address in self.where().items()
            if address == host.address and shards.get(name)
        ]

    def with_server(self, *hosts: Host) -> Host:
        """The one of them that the parameter server is on."""
        address = self.wait_for(self.server)
        (found,) = (host for host in hosts if host.address == address)
        return found

    def without_server(self, *hosts: Host) -> Host:
        """The first of them that the parameter server is not on."""
        address = self.wait_for(self.server)
        return next(host for host in hosts if host.address != address)

    def wait_until_it_moved(self) -> None:
        """Steps are done by those who live now, and what stood still before was told."""
        steps = [e["step"] for e in self.events()]
        self.wait_until_in_an_epoch(after_step=steps[-1])

    def result(self) -> dict[str, Any]:
        """Wait for the end, which must be the undisturbed one; what the run came to."""
        _, errors = self.process.communicate(timeout=2 * DEADLINE_S)
        assert self.process.returncode == 0, errors
        return self._ended(self.epochs)

    def result_of_this_epoch(self) -> dict[str, Any]:
        """What happened took as long as it took: stop, and go on in one process to the epoch's end.

        The sums of a resumed training count what went before.
        """
        self.wait_until_it_moved()
        (command,) = psutil.Process(self.process.pid).children()  # on its host
        command.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=DEADLINE_S)
        assert self.process.returncode == 128 + signal.SIGINT, errors
        return self.resume("everstep resume run --set=cluster.kind=local")

    def resume(self, command: str) -> dict[str, Any]:
        """Go on to the end of the epoch that was kept last; what the whole came to.

        Args:
            command: as it was told, or stands in a document.
        """
        step = self.events("snapshot_written")[-1]["after_step"]
        epochs = steps_to_epochs(step)
        program, *arguments = shlex.split(command)
        assert program == "everstep"
        done = self._everstep.run(*arguments, f"--set=training.epochs={epochs}")
        assert done.returncode == 0, done.stderr
        return self._ended(epochs)

    def _ended(self, epochs: int) -> dict[str, Any]:
        result = result_of(self.directory)
        assert result["digest"] == undisturbed(epochs)
        return result


def steps_to_epochs(step: int) -> int:
    """With the one that is under way after that step."""
    return step // _STEPS + 1


def on_host(everstep: Everstep, nodes: RayNodes, host: Host) -> None:
    """From now on the command runs on that host."""
    everstep.prefix = host.command(within=everstep.directory)
    everstep.environment |= nodes.environment(host)


def passed(seconds: float) -> Callable[[], bool]:
    """A condition that holds so much later."""
    until_s = time.monotonic() + seconds
    return lambda: time.monotonic() > until_s
