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
from concurrent.futures import Future, ThreadPoolExecutor, wait
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
from actors.orders import Ended, Failed, Joined, Kill, Missing, Placed, Ready, Start
from actors.processes import Links, ServerProcess, WorkerProcess, send_signal
from actors.supervisor import Crew

# A death is told in one line, by the coordinator; Ray would print a paragraph on top of it.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")

import ray

_Handle = Any  # a Ray actor handle: its methods are made when it runs

_LEAVE_S: Final = 2.0
_PROBE_S: Final = 5.0
_SIGNAL_S: Final = 10.0
_A_LITTLE: Final = 0.001  # of a node: enough to run there


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
        self._orders = ThreadPoolExecutor(1, "everstep-orders")
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
        if process.host == self._host:
            return send_signal(process.process_id, number)
        send = ray.remote(send_signal).options(
            num_cpus=0, resources={f"node:{process.host}": _A_LITTLE}
        )
        sending = send.remote(process.process_id, number)
        try:
            sent: bool = ray.get(sending, timeout=_SIGNAL_S)
        except ray.exceptions.RayError:  # that node is gone, or full
            ray.cancel(sending)
            return False
        return sent

    def _start(self) -> None:
        find_host = _node_host
        if not ray.is_initialized():
            self._exits.callback(ray.shutdown)
            with deferred_interrupts():
                find_host = _init(self._address, self._crew.min_workers)
        job, bound = self._job, self._job.array_bound_bytes
        self._links = Links(new_key(), find_host, bound, self._crew.link_timeout_s)
        self._host = find_host()
        # The shards go into the object store once; the workers get references.
        self._fetch = partial(_fetch, [ray.put(shard) for shard in job.shards])
        coordinator = Coordinator(self._crew, len(job.shards), job.state)
        self._mailbox = DriverMailbox(self._links.endpoint(self._host), coordinator, self._obey)
        self._exits.callback(self._end_actors)
        self._mailbox.start()
        while not self._early or not isinstance(self._early[-1].message, Ready | Failed):
            self._early.append(self._explained(self._mailbox.inbox.get()))

    def _obey(self, order: Start | Kill) -> None:
        """One order after the other, in a thread of their own: Ray may take its time."""
        if isinstance(order, Start):
            self._orders.submit(self._create_actor, order)
        else:
            self._orders.submit(self._kill, order.name, self._mailbox.processes.get(order.name))

    def _create_actor(self, order: Start) -> None:
        """Start an actor's process, which takes a second or more in the background."""
        job, shard_count = self._job, len(self._job.shards)
        try:
            if slot_of(order.name) == SERVER:
                state = (shard_count, order.state, order.seen_step)
                actor = _create(ServerProcess, 0, self._links, order.name, job.optimizer, *state)
            else:
                data = (shard_count, self._fetch)
                actor = _create(WorkerProcess, 1, self._links, order.name, job.objective, *data)
            self._actors[order.name] = actor
            placed = actor.__ray_ready__.remote().future()
            life = actor.live.remote(self._mailbox.address).future()
        except Exception as error:  # whatever it is, the coordinator must not wait for it
            self._mailbox.tell(Ended(order.name, f"could not be started: {_cause(error)}"))
            return
        self._lives.append(life)
        placed.add_done_callback(partial(self._placed, order.name))
        life.add_done_callback(partial(self._ended, order.name))

    def _placed(self, name: str, placed: "Future[None]") -> None:
        if placed.exception() is None:
            self._mailbox.tell(Placed(name))

    def _ended(self, name: str, life: "Future[None]") -> None:
        """Who dies before it has a link can not be seen on one: Ray tells."""
        error = life.exception()
        self._mailbox.tell(Ended(name, _cause(error) if error else "left"))

    def _kill(self, name: str, process: Joined | None) -> None:
        """End what is left of an actor, and free its place; `process`, if its link still stood."""
        with suppress(Exception):  # what is gone already is gone
            if process is not None and process.host == self._host:
                send_signal(process.process_id, signal.SIGKILL)  # a stopped one hears nobody else
        with suppress(Exception):
            ray.kill(self._actors.pop(name))

    def _end_actors(self) -> None:
        """Ask them to leave; end those that do not."""
        self._mailbox.stop()
        self._orders.shutdown()
        wait(self._lives, timeout=_LEAVE_S)
        for name in [*self._actors]:
            self._kill(name, None)

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


def _cause(error: BaseException) -> str:
    """The one line that says it; above it stands Ray's own traceback."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else repr(error)
