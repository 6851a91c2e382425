"""The worker core: on weights, the gradient of each of its shards.

It holds nothing that is not held elsewhere too: an objective, shards that it can fetch
again, the last weights. It knows no socket, no clock and no Ray. Next: `reduction.py`.
"""

from collections.abc import Callable, Iterable

from actors.buffers import ArrayPool
from actors.messages import SERVER, Assign, Dx, Envelope, Message, Weights
from actors.objectives import Objective, Shard
from actors.reduction import Node, Partial, Tree, combine


class Worker:
    """Answers `Weights` and `Assign` with the gradients that are due."""

    def __init__(
        self, objective: Objective, shard_count: int, fetch: Callable[[int], Shard]
    ) -> None:
        """`fetch` brings a shard's data; it is asked when the shard is first needed."""
        self._objective = objective
        self._tree = Tree(shard_count)
        self._fetch = fetch
        self._shards: dict[int, Shard] = {}
        self._assigned: frozenset[int] = frozenset()
        self._weights: Weights | None = None
        self._pool = ArrayPool()

    def handle(self, message: Message) -> list[Envelope]:
        match message:
            case Weights():
                self._weights = message
                return self._gradients(self._assigned)
            case Assign(shards):
                return self._assign(frozenset(shards))
            case _:
                return []

    def _assign(self, shards: frozenset[int]) -> list[Envelope]:
        """Take the shards over, within the running step if there is one."""
        new = shards - self._assigned
        self._assigned = shards
        for gone in self._shards.keys() - shards:
            del self._shards[gone]
        return self._gradients(new)

    def _gradients(self, shards: Iterable[int]) -> list[Envelope]:
        if (weights := self._weights) is None:
            return []
        return [(SERVER, self._dx(node, weights)) for node in self._tree.cover(shards)]

    def _dx(self, node: Node, weights: Weights) -> Dx:
        partial = self._reduce(node, weights)
        return Dx(
            weights.step,
            node.start,
            node.stop,
            partial.sample_count,
            partial.loss_sum,
            partial.gradient,
        )

    def _reduce(self, node: Node, weights: Weights) -> Partial:
        """The node's sum, depth first: as many vectors at once as the tree is deep."""
        if (children := self._tree.children(node)) is None:
            return self._leaf(node.start, weights)
        left, right = (self._reduce(child, weights) for child in children)
        return combine(left, right, out=left.gradient)

    def _leaf(self, shard: int, weights: Weights) -> Partial:
        if shard not in self._shards:
            self._shards[shard] = self._fetch(shard)
        batch = self._shards[shard].batch(weights.step)
        parameters = weights.parameters
        gradient = self._pool.take(parameters.size, parameters.dtype)
        loss = self._objective.gradient(parameters, batch, out=gradient)
        return Partial(loss.sample_count, loss.loss_sum, gradient)
