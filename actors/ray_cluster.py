"""The shell that is the product: each core inside a Ray actor. The only file that imports ray.

Ray places and starts the actors, brings them the data, and tells why one could not start.
The messages of a step do not travel through Ray: see `endpoint.py`.
"""

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from queue import Empty
from typing import Any, Final, Self

from actors.cluster import Job
from actors.coordinator import Coordinator
from actors.driver_mailbox import DriverMailbox
from actors.errors import ClusterError
from actors.handshake import new_key
from actors.interrupts import deferred_interrupts
from actors.messages import (
    DRIVER,
    SERVER,
    Died,
    Down,
    DriverMessage,
    Failed,
    Hello,
    Joined,
    NotStarted,
    RunEpoch,
)
from actors.objectives import Shard
from actors.processes import Links, ServerProcess, WorkerProcess

# A death is told in one line, by the coordinator; Ray would print a paragraph on top of it.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")

import ray

_Handle = Any  # a Ray actor handle: its methods are made when it runs

_POLL_S: Final = 0.2
_LEAVE_S: Final = 2.0
_PROBE_S: Final = 5.0


class RayCluster:
    """One server actor and `worker_count` worker actors on a private Ray or on a cluster."""

    def __init__(
        self,
        job: Job,
        worker_count: int,
        address: str | None = None,
        link_timeout_s: float = 10.0,
        start_timeout_s: float = 60.0,
    ) -> None:
        """Nothing is started before the `with` block.

        Args:
            address: of the Ray cluster to join. None: RAY_ADDRESS, else a private Ray, never
                one that happens to run here; `local`: a private Ray in any case. After a
                `ray.init` of the caller's, that Ray is used and left running.
            link_timeout_s, start_timeout_s: how long peers, and workers, may take.
        """
        self._job, self._address = job, address
        self._names = [f"worker-{i}" for i in range(worker_count)]
        self._link_timeout_s, self._start_timeout_s = link_timeout_s, start_timeout_s
        self._early: list[DriverMessage] = []
        self._lives: dict[ray.ObjectRef[None], str] = {}  # each actor's `live` call: its life
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
        self._mailbox.send(SERVER, epoch)

    def receive(self) -> DriverMessage:
        return self._early.pop(0) if self._early else self._mailbox.inbox.get()

    def _start(self) -> None:
        find_host = _node_host
        if not ray.is_initialized():
            self._exits.callback(ray.shutdown)
            with deferred_interrupts():
                find_host = _init(self._address, len(self._names))
        bound = self._job.array_bound_bytes
        self._links = Links(new_key(), find_host, bound, self._link_timeout_s)
        endpoint = self._links.endpoint(find_host())
        self._mailbox = DriverMailbox(endpoint, Coordinator(len(self._job.shards), self._names))
        self._exits.callback(self._mailbox.stop)
        server, workers = self._create_actors()
        self._exits.callback(self._end_actors, [server, *workers.values()])
        self._link(server, workers)
        self._await_workers()

    def _create_actors(self) -> tuple[_Handle, dict[str, _Handle]]:
        """All at once: each takes about a second to start."""
        job, shard_count = self._job, len(self._job.shards)
        state = (job.parameters, job.optimizer_state, job.step)
        server = _create(ServerProcess, 0, self._links, job.optimizer, shard_count, *state)
        # The shards go into the object store once; the workers get references.
        fetch = partial(_fetch, [ray.put(shard) for shard in job.shards])
        return server, {
            name: _create(WorkerProcess, 1, self._links, name, job.objective, shard_count, fetch)
            for name in self._names
        }

    def _link(self, server: _Handle, workers: dict[str, _Handle]) -> None:
        """Everybody links to the server and to the coordinator."""
        try:
            address = ray.get(server.address.remote(), timeout=self._start_timeout_s)
        except ray.exceptions.GetTimeoutError:
            raise ClusterError(f"the parameter server {self._no_start()}") from None
        except ray.exceptions.RayError as error:
            raise ClusterError(f"the parameter server died: {_cause(error)}") from error
        self._lives[server.live.remote()] = SERVER
        self._mailbox.start(address, Hello(DRIVER, self._links.find_host(), os.getpid()))
        for name, worker in workers.items():
            self._lives[worker.live.remote(address, self._mailbox.address)] = name

    def _await_workers(self) -> None:
        """Until every worker has said Hello, has died, or the time is up."""
        missing = set(self._names)
        until_s = time.monotonic() + self._start_timeout_s
        while missing:
            try:
                message = self._mailbox.inbox.get(timeout=_POLL_S)
            except Empty:
                self._tell_deaths()
                if time.monotonic() > until_s:
                    self._tell_late(missing)
                continue
            self._early.append(message)
            if isinstance(message, Joined | Died):
                missing.discard(message.name)
            elif isinstance(message, Failed):
                return  # the driver will read it

    def _tell_deaths(self) -> None:
        """Who dies before it has a link can not be seen on one: Ray tells."""
        over, _ = ray.wait([*self._lives], num_returns=len(self._lives), timeout=0)
        for life in over:
            name = self._lives.pop(life)
            try:
                ray.get(life)
            except ray.exceptions.RayError as error:
                reason = _cause(error)
            else:
                reason = "left before it was linked"
            self._mailbox.tell((Down if name == SERVER else NotStarted)(name, reason))

    def _tell_late(self, names: set[str]) -> None:
        """Training goes on without them; who comes later is welcome."""
        for name in sorted(names):
            self._mailbox.tell(NotStarted(name, self._no_start()))

    def _no_start(self) -> str:
        asked, cpus = len(self._names), ray.cluster_resources().get("CPU", 0)
        return (
            f"did not start within {self._start_timeout_s:g} s; {asked} workers ask for"
            f" 1 CPU each, the cluster has {cpus:g}; see cluster.start_timeout_s"
        )

    def _end_actors(self, actors: Sequence[_Handle]) -> None:
        """Ask them to leave; end those that do not."""
        self._mailbox.stop()
        if self._lives:
            ray.wait([*self._lives], num_returns=len(self._lives), timeout=_LEAVE_S)
        for actor in actors:
            ray.kill(actor)


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
