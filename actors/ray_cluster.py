"""The shell that is the product: each core inside a Ray actor.

Ray places and starts the actors, brings them the data, and tells why one could not start.
The messages of a step do not travel through Ray: see `endpoint.py`. Four files
import ray: this one, `ray_joining.py`, `ray_places.py`, which says where an actor should go, and
`ray_metrics.py`.
"""

import math
import os
import signal
from concurrent.futures import Future, wait
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from queue import Empty
from typing import Any, Final, Self

from actors.addresses import ANY_PORT, Ports
from actors.cluster import Heard, Job
from actors.cluster_watch import ClusterWatch
from actors.coordinator import Coordinator
from actors.driver_mailbox import DriverMailbox
from actors.handshake import new_key
from actors.interrupts import deferred_interrupts
from actors.likeness import Likeness
from actors.messages import SERVER, RunEpoch, TakeSnapshot
from actors.meter import Meter
from actors.names import slot_of
from actors.orders import (
    Ended,
    Failed,
    Joined,
    Look,
    Missing,
    Order,
    Placed,
    Start,
    Unplaced,
)
from actors.processes import Links, ServerProcess, WorkerProcess, send_signal
from actors.side_thread import SideThread
from actors.supervisor import Crew

# A death is told in one line, by the coordinator; Ray would print paragraphs on top of it.
os.environ.setdefault(
    "RAY_DEDUP_LOGS_SKIP_REGEX",
    "A worker died or was killed|Raylet is terminated|The node with node id",
)
# A thread that asks Ray once more after it was left would join whichever Ray runs here, or start
# one, and wait for it for ever.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")

import ray

from actors.ray_joining import cause_of, create, fetch, join, leave, loopback, node_host, signal_on
from actors.ray_metrics import RayMetrics
from actors.ray_places import Places, hosts_going

_STOP_S: Final = 2.0
_LEAVE_S: Final = 12.0  # it takes 7 s when nobody listens where the head was
_PATIENCE_S: Final = 5.0  # with a Ray that may never answer
_HURRY_S: Final = 0.5  # with one whose head is lost
_SIGNAL_S: Final = 10.0


class RayCluster:
    """A server actor and worker actors, on a private Ray or on a cluster."""

    def __init__(
        self,
        job: Job,
        crew: Crew,
        address: str | None = None,
        share_memory: bool = True,
        ports: Ports = ANY_PORT,
    ) -> None:
        """Nothing is started before the `with` block.

        Args:
            address: of the Ray cluster to join: see `ray_address.chosen`; never one that only
                happens to run here. After a `ray.init` of the caller's, that Ray is used and
                left running.
            share_memory: between actors of one host; else they exchange bytes, as hosts do.
            ports: on which the server and this process listen.
        """
        self._job, self._crew, self._address = job, crew, address
        self._share_memory, self._ports = share_memory, ports
        self._meter: Meter | None = None  # nobody looks at a private Ray
        self._actors: dict[str, Any] = {}  # handles, whose methods are made when they are called
        self._watch: ClusterWatch | None = None
        self._lives: list[Future[None]] = []  # each actor's `live` call: its life
        self._orders = SideThread("everstep-orders")
        self._signals = SideThread("everstep-signals")
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

    def take_times(self) -> list[str]:
        return self._mailbox.take_times()

    def receive(self, timeout_s: float | None = None) -> Heard | None:
        try:
            heard = self._explained(self._mailbox.inbox.get(timeout=timeout_s))
        except Empty:
            return None
        if self._meter is not None:
            self._meter.hear(heard)
        return heard

    def signal(self, name: str, number: int) -> bool:
        if (process := self._mailbox.processes.get(name)) is None:
            return False
        if process.host == self._host:
            return send_signal(process.process_id, number)
        there = (process.host, process.process_id)
        try:
            return self._signals.call(signal_on, *there, number, _SIGNAL_S).result(_SIGNAL_S)
        except (TimeoutError, ray.exceptions.RayError):  # that node is gone, or full; or the head
            return False

    def _start(self) -> None:
        private = False
        if not ray.is_initialized():
            self._exits.callback(lambda: leave(self._at_most_s(_LEAVE_S)))
            with deferred_interrupts():
                private = join(self._address, self._crew)
        job, bound = self._job, self._job.array_bound_bytes
        limit_s, share = self._crew.link_timeout_s, self._share_memory
        find_host = loopback if private else node_host
        self._links = Links(new_key(), find_host, bound, limit_s, share, self._ports)
        if not private:
            self._meter = Meter(job.state, RayMetrics(job.name))
            self._exits.callback(self._meter.end)
        self._places = Places(self._crew.needs, self._crew.max_workers, private)
        self._exits.callback(self._release)
        self._host = find_host()
        # The shards go into the object store once; the workers get references.
        self._fetch = partial(fetch, [ray.put(shard) for shard in job.shards])
        coordinator = Coordinator(self._crew, len(job.shards), job.state, Likeness(job.rounding))
        self._mailbox = DriverMailbox(self._links.endpoint(self._host), coordinator, self._obey)
        self._exits.callback(self._end_actors)
        head = ray.get_runtime_context().gcs_address
        self._watch = ClusterWatch(head, limit_s, hosts_going, self._mailbox)
        self._exits.enter_context(self._watch)
        self._mailbox.start()

    def _obey(self, order: Order) -> None:
        """One order after the other, in a thread of their own: Ray may take its time."""
        if isinstance(order, Start):
            self._orders.call(self._create_actor, order)
        elif isinstance(order, Look):
            self._orders.call(self._look, order.names)
        else:
            self._orders.call(self._kill, order.name, self._mailbox.processes.get(order.name))

    def _create_actor(self, order: Start) -> None:
        """Start an actor's process, which takes a second or more in the background."""
        job, shard_count = self._job, len(self._job.shards)
        try:
            begin = partial(create, self._places.options(order.name), self._links, order.name)
            if slot_of(order.name) == SERVER:
                state = (shard_count, order.state, order.seen_step, job.profile)
                actor = begin(ServerProcess, job.optimizer, *state)
            else:
                data = (shard_count, self._fetch, job.profile)
                actor = begin(WorkerProcess, job.objective, *data)
            self._actors[order.name] = actor
            placed = actor.__ray_ready__.remote().future()
            life = actor.live.remote(self._mailbox.address).future()
        except Exception as error:  # whatever it is, the coordinator must not wait for it
            self._mailbox.tell(Ended(order.name, f"could not be started: {cause_of(error)}"))
            return
        self._lives.append(life)
        placed.add_done_callback(partial(self._placed, order.name))
        life.add_done_callback(partial(self._ended, order.name))

    def _look(self, names: tuple[str, ...]) -> None:
        with suppress(ray.exceptions.RayError, RuntimeError):
            if unplaced := self._places.unplaced(names):
                self._mailbox.tell(Unplaced(unplaced, self._places.shortage()))

    def _placed(self, name: str, placed: "Future[None]") -> None:
        if placed.exception() is None:
            self._mailbox.tell(Placed(name))

    def _ended(self, name: str, life: "Future[None]") -> None:
        """Who dies before it has a link can not be seen on one: Ray tells."""
        error = life.exception()
        self._mailbox.tell(Ended(name, cause_of(error) if error else "left"))

    def _kill(self, name: str, process: Joined | None) -> None:
        """End what is left of an actor, and free its place; `process`, if its link still stood."""
        with suppress(Exception):  # what is gone already is gone
            if process is not None and process.host == self._host:
                send_signal(process.process_id, signal.SIGKILL)  # a stopped one hears nobody else
        with suppress(Exception):
            ray.kill(self._actors.pop(name))

    def _end_actors(self) -> None:
        """Ask them to leave; order those to be ended that do not."""
        self._mailbox.stop()
        wait(self._lives, timeout=self._at_most_s(_STOP_S))
        self._orders.call(self._kill_all)

    def _kill_all(self) -> None:
        for name in [*self._actors]:
            self._kill(name, None)

    def _release(self) -> None:
        """The last order."""
        self._orders.call(self._places.release)
        for thread in (self._orders, self._signals):
            thread.end(self._at_most_s(_PATIENCE_S))

    def _at_most_s(self, usual_s: float) -> float:
        """How long it is waited for Ray, which never answers once its head is lost."""
        return _HURRY_S if self._watch and self._watch.head_is_lost else usual_s

    def _explained(self, heard: Heard) -> Heard:
        """Who asks for what, and what there is, when an actor did not start in time."""
        message = heard.message
        if isinstance(message, Missing) or (isinstance(message, Failed) and message.is_overdue):
            # The cluster itself may be gone, and not answer.
            with suppress(ray.exceptions.RayError, RuntimeError, TimeoutError):
                why = self._orders.call(self._places.why_missing).result(_PATIENCE_S)
                return heard._replace(message=replace(message, reason=f"{message.reason}; {why}"))
        return heard
