"""The canonical reduction: one fixed binary tree over the shards, one order of additions.

Floating-point addition is not associative, so the sum of a step's gradients has the same
bits only if the association never changes. It is fixed here: leaves are the shards, and a
node over n > 1 leaves gives its left child the largest power of two below n. Whoever holds
all leaves of a node may send that node's sum; the server completes the tree. Nothing here
knows who computed what, or when it arrived.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from actors.errors import ProtocolError
from actors.messages import Vector


class Node(NamedTuple):
    """A tree node, named by the shards start..stop-1 below it."""

    start: int
    stop: int


class Partial(NamedTuple):
    """What is summed over a node: samples, their loss, their gradient (p,)."""

    sample_count: int
    loss_sum: float
    gradient: Vector


def combine(left: Partial, right: Partial, out: Vector) -> Partial:
    """The parent's sum. ``out`` may be one of the children's gradients."""
    np.add(left.gradient, right.gradient, out=out)
    return Partial(left.sample_count + right.sample_count, left.loss_sum + right.loss_sum, out)


class Tree:
    """The canonical tree over `leaf_count` shards."""

    def __init__(self, leaf_count: int) -> None:
        self.root = Node(0, leaf_count)
        self._children: dict[Node, tuple[Node, Node]] = {}
        self._parent: dict[Node, Node] = {}
        self._grow(self.root)

    def __contains__(self, node: Node) -> bool:
        return node == self.root or node in self._parent

    def children(self, node: Node) -> tuple[Node, Node] | None:
        """Left and right child, None for a leaf."""
        return self._children.get(node)

    def parent(self, node: Node) -> Node | None:
        """None for the root."""
        return self._parent.get(node)

    def cover(self, leaves: Iterable[int]) -> list[Node]:
        """The fewest nodes that together have exactly these leaves, from left to right."""
        return self._cover(self.root, frozenset(leaves))

    def _cover(self, node: Node, leaves: frozenset[int]) -> list[Node]:
        held = sum(leaf in leaves for leaf in range(*node))
        if held == node.stop - node.start:
            return [node]
        if held == 0:
            return []
        left, right = self._children[node]
        return self._cover(left, leaves) + self._cover(right, leaves)

    def _grow(self, node: Node) -> None:
        leaf_count = node.stop - node.start
        if leaf_count == 1:
            return
        middle = node.start + (1 << (leaf_count - 1).bit_length() - 1)
        children = Node(node.start, middle), Node(middle, node.stop)
        self._children[node] = children
        for child in children:
            self._parent[child] = node
            self._grow(child)


class Reduction:
    """One step's sum in the making: takes each node once, in any order, from anyone."""

    def __init__(self, tree: Tree, take: Callable[[], Vector]) -> None:
        """`take` gives a fresh (p,) vector to write a sum into."""
        self._tree = tree
        self._take = take
        self._held: dict[Node, Partial] = {}

    @property
    def total(self) -> Partial | None:
        """The sum over all shards, None until every shard is in."""
        return self._held.get(self._tree.root)

    @property
    def missing(self) -> tuple[int, ...]:
        """The shards that are not in yet, in order."""
        inside = {shard for node in self._held for shard in range(*node)}
        return tuple(shard for shard in range(*self._tree.root) if shard not in inside)

    def offer(self, node: Node, partial: Partial) -> bool:
        """Take a node's sum. False, and nothing changes, when it is already in.

        Raises:
            ProtocolError: the tree has no such node.
        """
        if node not in self._tree:
            raise ProtocolError(
                f"reduction: no node {node.start}..{node.stop - 1} in a tree of"
                f" {self._tree.root.stop} shards; all actors must run the same configuration"
            )
        if self._has(node):
            return False
        # A wider node replaces narrower ones that came first: the bits are the same.
        for held in [held for held in self._held if _within(held, node)]:
            del self._held[held]
        self._held[node] = partial
        self._climb(node)
        return True

    def _has(self, node: Node | None) -> bool:
        while node is not None:
            if node in self._held:
                return True
            node = self._tree.parent(node)
        return False

    def _climb(self, node: Node) -> None:
        """Combine siblings for as long as both are here."""
        while (parent := self._tree.parent(node)) is not None:
            left, right = self._tree.children(parent) or (node, node)
            if left not in self._held or right not in self._held:
                return
            pair = self._held.pop(left), self._held.pop(right)
            self._held[parent] = combine(*pair, out=self._take())
            node = parent


def _within(inner: Node, outer: Node) -> bool:
    return outer.start <= inner.start and inner.stop <= outer.stop
