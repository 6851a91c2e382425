"""The shell that is the product: each core inside a Ray actor. The only file that imports ray.

Ray places and starts the actors, brings them the data, and tells why one could not start.
The messages of a step do not travel through Ray: see `endpoint.py`.
"""

import logging
import math
import os
import signal
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, suppress
from functools import partial
from queue import Empty
from typing import Any, Final, Self

from actors.cluster import Heard, Job
from actors.coordinator import Coordinator
from actors.driver_mailbox import DriverMailbox
from actors.errors import ClusterError
from actors.handshake import new_key
from actors.interrupts import deferred_interrupts
from actors.messages import SERVER, RunEpoch, TakeSnapshot
from actors.names import slot_of
from actors.objectives import Shard
from actors.orders import Ended, Failed, Kill, Missing, Ready, Start
from actors.processes import Links, ServerProcess, WorkerProcess
from actors.supervisor import Crew

# A death is told in one line, by the coordinator; Ray would print a paragraph on top of it.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")

import ray

_Handle = Any  # a Ray actor handle: its methods are made when it runs

_LEAVE_S: Final = 2.0
_PROBE_S: Final = 5.0
_SIGNAL_S: Final = 10.0


class RayCluster:
    """A server actor and worker actors, on a private Ray or on a cluster."""

    def __init__(self, job: Job, crew: Crew, address: str | None = None) -> None:
        """Nothing is started before the `with` block.

        Args:
            address: of the Ray cluster to join. None: RAY_ADDRESS, else a private Ray, never
                one that happens to run here; `local`: a private Ray in any case. After a
                `ray.init` of the caller's, that Ray is used and left running.
        """
        self._job, self._crew, self._address = job, crew, address
        self._early: list[Heard] = []
        self._actors: dict[str, _Handle] = {}
        self._lives: list[Future[None]] = []  # each actor's `live` call: its life
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._leave()

    def _leave(self) -> None:
        """End everything that was started, however often Ctrl-C is pressed meanwhile."""
        with deferred_interrupts(presses=math.inf):
            self._exits.close()

    def run_epoch(self, epoch: RunEpoch) -> None:
        self._mailbox.tell(epoch)

    def take_snapshot(self) -> None:
        self._mailbox.tell(TakeSnapshot())

    def receive(self, timeout_s: float | None = None) -> Heard | None:
        if self._early:
            return self._early.pop(0)
        try:
            return self._explained(self._mailbox.inbox.get(timeout=timeout_s))
        except Empty:
            return None

    def signal(self, name: str, number: int) -> bool:
        if (process := self._mailbox.processes.get(name)) is None:
            return False
        return _signal(process.host, process.process_id, number, self._links.find_host())

    def _start(self) -> None:
        find_host = _node_host
        if not ray.is_initialized():
            self._exits.callback(ray.shutdown)
            with deferred_interrupts():
                find_host = _init(self._address, self._crew.min_workers)
        job, bound = self._job, self._job.array_bound_bytes
        self._links = Links(new_key(), find_host, bound, self._crew.link_timeout_s)
        # The shards go into the object store once; the workers get references.
        self._fetch = partial(_fetch, [ray.put(shard) for shard in job.shards])
        coordinator = Coordinator(self._crew, len(job.shards), job.state)
        self._mailbox = DriverMailbox(self._links.endpoint(find_host()), coordinator, self._obey)
        self._exits.callback(self._end_actors)
        self._mailbox.start()
        while not self._early or not isinstance(self._early[-1].message, Ready | Failed):
            self._early.append(self._explained(self._mailbox.inbox.get()))

    def _obey(self, order: Start | Kill) -> None:
        """Start an actor's process, which takes a second or more in the background; or end it."""
        if isinstance(order, Kill):
            with suppress(ray.exceptions.RayError):  # its host may be gone too
                self.signal(order.name, signal.SIGKILL)  # a stopped process hears nobody else
            self._kill(order.name)
            return
        job, shard_count = self._job, len(self._job.shards)
        try:
            if slot_of(order.name) == SERVER:
                state = (shard_count, order.state)
                actor = _create(ServerProcess, 0, self._links, order.name, job.optimizer, *state)
            else:
                data = (shard_count, self._fetch)
                actor = _create(WorkerProcess, 1, self._links, order.name, job.objective, *data)
            life = actor.live.remote(self._mailbox.address).future()
        except ray.exceptions.RayError as error:
            self._mailbox.tell(Ended(order.name, _cause(error)))
            return
        self._actors[order.name] = actor
        self._lives.append(life)
        life.add_done_callback(partial(self._ended, order.name))

    def _ended(self, name: str, life: "Future[None]") -> None:
        """Who dies before it has a link can not be seen on one: Ray tells."""
        error = life.exception()
        reason = _cause(error) if isinstance(error, Exception) else "left before it was linked"
        self._mailbox.tell(Ended(name, reason))

    def _kill(self, name: str) -> None:
        with suppress(ray.exceptions.RayError):
            ray.kill(self._actors.pop(name))

    def _end_actors(self) -> None:
        """Ask them to leave; end those that do not."""
        self._mailbox.stop()
        wait(self._lives, timeout=_LEAVE_S)
        for name in [*self._actors]:
            self._kill(name)

    def _explained(self, heard: Heard) -> Heard:
        """Who asks for what, and what there is, when an actor is missing."""
        message = heard.message
        if not isinstance(message, Missing):
            return heard
        cpus = ray.cluster_resources().get("CPU", 0)
        reason = (
            f"{message.reason}; {self._crew.max_workers} workers ask for 1 CPU each,"
            f" the cluster has {cpus:g}; see cluster.start_timeout_s"
        )
        return heard._replace(message=Missing(message.name, reason))


def _init(address: str | None, worker_count: int) -> Callable[[], str]:
    """Join or start Ray; how an actor finds the address under which others reach it."""
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    private = address == "local"
    what, hint = "start a private Ray" if private else f"join the Ray cluster at {address}", ""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if private:
        options["num_cpus"] = max(worker_count, os.cpu_count() or 1)
        options["include_dashboard"] = False
    try:
        if not private:
            _probe(address)
            hint = "; a cluster with token authentication wants RAY_AUTH_MODE=token here too"
        ray.init(address=address, **options)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ClusterError(f"can not {what}: {_cause(error)}{hint}") from error
    return _loopback if private else _node_host


def _probe(address: str) -> None:
    """Raise OSError where nobody listens; Ray itself would wait for it for a minute."""
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=_PROBE_S).close()


def _create(actor_class: type, num_cpus: int, *arguments: Any) -> _Handle:
    """Start an actor's process; returns at once."""
    return ray.remote(actor_class).options(num_cpus=num_cpus).remote(*arguments)


def _signal(host: str, process_id: int, number: int, own_host: str) -> bool:
    """Send a signal to a process of this host, or through Ray to one of another host."""
    if host != own_host:
        send = ray.remote(_signal).options(num_cpus=0, resources={f"node:{host}": 0.001})
        sent: bool = ray.get(send.remote(host, process_id, number, host), timeout=_SIGNAL_S)
        return sent
    try:
        os.kill(process_id, number)
    except ProcessLookupError:
        return False
    return True


def _fetch(shards: Sequence["ray.ObjectRef[Shard]"], number: int) -> Shard:
    """A shard, in the worker's process: its arrays stay in shared memory, nothing is copied."""
    shard: Shard = ray.get(shards[number])
    return shard


def _loopback() -> str:
    """A private Ray is on this machine alone: nobody else can even knock."""
    return "127.0.0.1"


def _node_host() -> str:
    """This node's own address, under which the other nodes know it."""
    node_id = ray.get_runtime_context().get_node_id()
    return next(
        str(node["NodeManagerAddress"]) for node in ray.nodes() if node["NodeID"] == node_id
    )


def _cause(error: Exception) -> str:
    """The one line that says it; above it stands Ray's own traceback."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else repr(error)
