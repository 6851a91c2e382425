"""The worker core: on weights, the gradient of each of its shards.

It holds nothing that is not held elsewhere too: an objective, shards that it can fetch
again, the last weights. It knows no socket, no clock and no Ray. Next: `reduction.py`.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from actors.buffers import ArrayPool
from actors.finite import first_not_finite
from actors.messages import (
    DRIVER,
    SERVER,
    Assign,
    Dx,
    Hello,
    NotFinite,
    Ping,
    Pong,
    ServerAt,
    Stop,
    Vector,
    Weights,
)
from actors.objectives import BatchLoss, Objective, Shard
from actors.orders import CLUSTER, Connect, Down, Envelope, Leave, Message, Tick
from actors.reduction import Node, Partial, Tree, combine

_CONNECT_EVERY_S = 1.0
_OWN_SLEEP = 0.5  # of the link timeout between two looks at the clock; a try takes a fourth


class Worker:
    """Answers `Weights` and `Assign` with the gradients that are due."""

    def __init__(
        self,
        hello: Hello,
        objective: Objective,
        shard_count: int,
        fetch: Callable[[int], Shard],
        link_timeout_s: float = math.inf,
        pool: ArrayPool | None = None,
    ) -> None:
        """Hold nothing yet.

        Args:
            fetch: brings a shard's data; it is asked when the shard is first needed.
            link_timeout_s: who can not link to a living server for so long, leaves.
            pool: leases the sums that are sent.
        """
        self._hello = hello
        self._objective = objective
        self._tree = Tree(shard_count)
        self._fetch = fetch
        self._shards: dict[int, Shard] = {}
        self._assigned: frozenset[int] = frozenset()
        self._nodes: list[Node] = []  # that cover them
        self._weights: Weights | None = None
        self._server: ServerAt | None = None
        self._link_timeout_s = link_timeout_s
        self._linked = False
        self._connect_s = -math.inf  # when it last tried
        self._unlinked_since_s: float | None = None
        self._now_s = 0.0
        self._pool = pool or ArrayPool()
        self._scratch = ArrayPool()  # for what is added to them and stays here

    def handle(self, message: Message) -> list[Envelope]:
        match message:
            case Weights():
                self._weights, self._unlinked_since_s = message, None
                return self._gradients(self._nodes)
            case Assign(shards):
                return self._assign(frozenset(shards))
            case Ping():
                return [(DRIVER, Pong(self._hello.name))]
            case ServerAt():
                self._server = message if message.port else None
                self._unlinked_since_s = None
                return self._connect()
            case Down(name, reason) if name == SERVER:
                return self._server_down(reason)
            case Down(name, reason) if name == DRIVER:
                return [(CLUSTER, Leave(f"left, because the driver is down: {reason}"))]
            case Stop():
                return [(CLUSTER, Leave("left in order"))]
            case Tick(now_s):
                return self._tick(now_s)
            case _:
                return []

    def _tick(self, now_s: float) -> list[Envelope]:
        slept_s, self._now_s = now_s - self._now_s, now_s
        if self._unlinked_since_s is not None and slept_s > _OWN_SLEEP * self._link_timeout_s:
            self._unlinked_since_s += slept_s  # it was stopped, or busy: it could not try
        if self._linked:
            if now_s - self._connect_s > self._link_timeout_s:
                self._unlinked_since_s = None  # a link that held so long was one
            return []
        return self._connect() if now_s - self._connect_s >= _CONNECT_EVERY_S else []

    def _server_down(self, reason: str) -> list[Envelope]:
        """It may live and only the link be broken: try again; but not for ever."""
        self._linked = False
        if self._server is None:
            return []
        if self._unlinked_since_s is None:
            self._unlinked_since_s = self._now_s
        if self._now_s - self._unlinked_since_s <= self._link_timeout_s:
            return []
        where = f"{self._server.host}:{self._server.port}"
        return [(CLUSTER, Leave(f"left, because it can not reach the server at {where}: {reason}"))]

    def _connect(self) -> list[Envelope]:
        """Link to the server; if that fails, its `Down` comes and the next try is due."""
        if self._server is None:
            return []
        self._linked, self._connect_s = True, self._now_s
        step = -1 if self._weights is None else self._weights.step
        hello = replace(self._hello, step=step)
        return [(CLUSTER, Connect(SERVER, self._server.host, self._server.port, hello))]

    def _assign(self, shards: frozenset[int]) -> list[Envelope]:
        """Take the shards over, within the running step if there is one."""
        new = shards - self._assigned
        self._assigned, self._nodes = shards, self._tree.cover(shards)
        self._scratch = ArrayPool()  # who has fewer shards now needs less of it
        for gone in self._shards.keys() - shards:
            del self._shards[gone]
        return self._gradients(self._tree.cover(new))

    def _gradients(self, nodes: Iterable[Node]) -> list[Envelope]:
        if (weights := self._weights) is None:
            return []
        return [self._dx(node, weights) for node in nodes]

    def _dx(self, node: Node, weights: Weights) -> Envelope:
        try:
            partial = self._reduce(node, weights, self._pool)
        except _NotFiniteError as found:
            return DRIVER, NotFinite(weights.step, found.shard, found.index)
        sums = (partial.sample_count, partial.loss_sum, partial.gradient)
        return SERVER, Dx(weights.step, node.start, node.stop, *sums)

    def _reduce(self, node: Node, weights: Weights, pool: ArrayPool) -> Partial:
        """The node's sum, depth first: one vector of the pool, one of scratch for each level."""
        if (children := self._tree.children(node)) is None:
            return self._leaf(node.start, weights, pool)
        left = self._reduce(children[0], weights, pool)
        right = self._reduce(children[1], weights, self._scratch)
        return combine(left, right, out=left.gradient)

    def _leaf(self, shard: int, weights: Weights, pool: ArrayPool) -> Partial:
        if shard not in self._shards:
            self._shards[shard] = self._fetch(shard)
        batch = self._shards[shard].batch(weights.step)
        parameters = weights.parameters
        gradient = pool.take(parameters.size, parameters.dtype)
        loss = self._objective.gradient(parameters, batch, out=gradient)
        _check_finite(shard, loss, gradient)
        return Partial(loss.sample_count, loss.loss_sum, gradient)


class _NotFiniteError(Exception):
    """A shard's loss or gradient is not finite; it must not leave this worker."""

    def __init__(self, shard: int, index: int) -> None:
        self.shard, self.index = shard, index


def _check_finite(shard: int, loss: BatchLoss, gradient: Vector) -> None:
    if (index := first_not_finite(gradient)) is not None:
        raise _NotFiniteError(shard, index)
    if not math.isfinite(loss.loss_sum):
        raise _NotFiniteError(shard, -1)
