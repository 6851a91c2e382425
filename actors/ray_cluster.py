"""The shell that is the product: each core inside a Ray actor. The only file that imports ray.

Ray places and starts the actors, brings them the data and reports why one died. The
messages of a step do not travel through Ray: see `endpoint.py`.
"""

import logging
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from queue import Empty
from types import TracebackType
from typing import Any, Final, Self

import ray

from actors.actor_loop import run_actor
from actors.cluster import Job, one_blas_thread
from actors.coordinator import Coordinator
from actors.driver_mailbox import DriverMailbox
from actors.endpoint import Address, Endpoint
from actors.errors import ClusterError
from actors.handshake import new_key
from actors.messages import (
    DRIVER,
    SERVER,
    DriverMessage,
    Failed,
    Hello,
    Joined,
    RunEpoch,
)
from actors.objectives import Objective, Shard
from actors.parameter_server import ParameterServer
from actors.worker import Worker

_log = logging.getLogger("everstep")
_Handle = Any  # a Ray actor handle: its methods are made when it runs

_POLL_S: Final = 0.2
_LEAVE_S: Final = 2.0


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
            address: of the Ray cluster to join. None: a private Ray on this machine, never
                one that happens to run here. In a process that has called `ray.init`, that
                Ray is used, and left running.
            link_timeout_s: a peer that accepts nothing for so long is down.
            start_timeout_s: how long to wait for the workers.
        """
        self._job = job
        self._names = [f"worker-{i}" for i in range(worker_count)]
        self._address = address
        self._link_timeout_s = link_timeout_s
        self._start_timeout_s = start_timeout_s
        self._key = new_key()
        self._early: list[DriverMessage] = []
        self._lives: dict[str, ray.ObjectRef[None]] = {}  # an actor's life: its `live` call
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.close()

    def run_epoch(self, epoch: RunEpoch) -> None:
        self._mailbox.send(SERVER, epoch)

    def receive(self) -> DriverMessage:
        return self._early.pop(0) if self._early else self._mailbox.inbox.get()

    def _start(self) -> None:
        if not ray.is_initialized():
            self._exits.callback(ray.shutdown)
            _init(self._address, len(self._names))
        endpoint = _endpoint(self._key, self._job.array_bound_bytes, self._link_timeout_s)
        self._mailbox = DriverMailbox(endpoint, Coordinator(len(self._job.shards)))
        self._exits.callback(self._mailbox.stop)
        server, workers = self._create_actors()
        self._exits.callback(self._end_actors, [server, *workers.values()])
        self._link(server, workers)
        self._await_workers()

    def _create_actors(self) -> tuple[_Handle, dict[str, _Handle]]:
        """All at once: each takes about a second to start."""
        job, shard_count = self._job, len(self._job.shards)
        core = ParameterServer(
            job.optimizer, shard_count, job.parameters, job.optimizer_state, job.step
        )
        links = (self._key, job.array_bound_bytes, self._link_timeout_s)
        server = _create(ServerActor, 0, core, *links)
        shards = [ray.put(shard) for shard in job.shards]
        return server, {
            name: _create(WorkerActor, 1, name, job.objective, shards, *links)
            for name in self._names
        }

    def _link(self, server: _Handle, workers: dict[str, _Handle]) -> None:
        """Everybody links to the server and to the coordinator."""
        server_address = _get(
            server.address.remote(), "the parameter server", self._start_timeout_s
        )
        self._lives[SERVER] = server.live.remote()
        self._mailbox.start(server_address, _hello(DRIVER), SERVER)
        for name, worker in workers.items():
            self._lives[name] = worker.live.remote(server_address, self._mailbox.address)

    def _await_workers(self) -> None:
        """Wait for every worker's Hello; go on with some of them when the time is up."""
        missing = set(self._names)
        until_s = time.monotonic() + self._start_timeout_s
        while missing and time.monotonic() < until_s:
            try:
                message = self._mailbox.inbox.get(timeout=_POLL_S)
            except Empty:
                self._raise_if_dead()
                continue
            self._early.append(message)
            if isinstance(message, Joined):
                missing.discard(message.name)
            elif isinstance(message, Failed):
                raise ClusterError(message.reason)
        if missing:
            self._some_are_missing(missing)

    def _some_are_missing(self, missing: set[str]) -> None:
        line = (
            f"{len(missing)} of {len(self._names)} workers did not start within"
            f" {self._start_timeout_s:g} s; they ask for 1 CPU each, the cluster has"
            f" {ray.cluster_resources().get('CPU', 0):g} CPUs"
        )
        if len(missing) == len(self._names):
            raise ClusterError(f"{line}; lower cluster.workers or raise cluster.start_timeout_s")
        _log.warning("%s; training starts with the others", line)

    def _raise_if_dead(self) -> None:
        """An actor that could not even start says why through Ray."""
        dead, _ = ray.wait([*self._lives.values()], num_returns=1, timeout=0)
        for life in dead:
            name = next(name for name, known in self._lives.items() if known == life)
            _get(life, name, 0.0)

    def _end_actors(self, actors: Sequence[_Handle]) -> None:
        """Ask them to leave; end those that do not."""
        self._mailbox.stop()
        lives = [*self._lives.values()]
        if lives:
            ray.wait(lives, num_returns=len(lives), timeout=_LEAVE_S)
        for actor in actors:
            ray.kill(actor)


class ServerActor:
    """The process of the parameter server."""

    def __init__(
        self, core: ParameterServer, key: bytes, array_bound_bytes: int, link_timeout_s: float
    ) -> None:
        self._core = core
        self._endpoint = _endpoint(key, array_bound_bytes, link_timeout_s)

    def address(self) -> Address:
        return self._endpoint.address

    def live(self) -> None:
        run_actor(self._core, self._endpoint, linked=[DRIVER])


class WorkerActor:
    """The process of one worker."""

    def __init__(
        self,
        name: str,
        objective: Objective,
        shards: Sequence["ray.ObjectRef[Shard]"],
        key: bytes,
        array_bound_bytes: int,
        link_timeout_s: float,
    ) -> None:
        """`shards` are references; the data stays in the object store and is not copied."""
        one_blas_thread()
        self._name = name
        self._core = Worker(objective, len(shards), lambda shard: ray.get(shards[shard]))
        self._endpoint = _endpoint(key, array_bound_bytes, link_timeout_s)

    def live(self, server: Address, driver: Address) -> None:
        hello = _hello(self._name)
        self._endpoint.connect(SERVER, server, hello)
        self._endpoint.connect(DRIVER, driver, hello)
        run_actor(self._core, self._endpoint, linked=[SERVER, DRIVER])


def _init(address: str | None, worker_count: int) -> None:
    if address is not None and address != "local":
        try:
            ray.init(address=address, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ClusterError(f"can not join the Ray cluster at {address}: {error}") from error
        return
    ray.init(
        address="local",
        num_cpus=max(worker_count, os.cpu_count() or 1),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def _create(actor_class: type, num_cpus: int, *arguments: Any) -> _Handle:
    """Start an actor's process; returns at once."""
    return ray.remote(actor_class).options(num_cpus=num_cpus).remote(*arguments)


def _endpoint(key: bytes, array_bound_bytes: int, link_timeout_s: float) -> Endpoint:
    return Endpoint(key, _node_host(), array_bound_bytes, link_timeout_s)


def _node_host() -> str:
    """This node's own address, under which the other nodes know it."""
    node_id = ray.get_runtime_context().get_node_id()
    hosts = [node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] == node_id]
    return str(hosts[0])


def _hello(name: str) -> Hello:
    return Hello(name, _node_host(), os.getpid())


def _get(reference: "ray.ObjectRef[Any]", who: str, timeout_s: float) -> Any:
    """A control call's result; its failure as one that says who could not start."""
    try:
        return ray.get(reference, timeout=timeout_s)
    except ray.exceptions.GetTimeoutError:
        raise ClusterError(f"{who} did not start within {timeout_s:g} s") from None
    except ray.exceptions.RayError as error:
        cause = str(error).strip().splitlines()[-1]  # above it stands Ray's own traceback
        raise ClusterError(f"{who} could not start: {cause}") from error
