"""Which node an actor should go to, and the words for a cluster that has too little. Pure.

Workers spread over the nodes, the server keeps apart from them as far as there are nodes. What
is chosen here is a wish: Ray places an actor elsewhere where the node is full or gone by then.
Next: `ray_places.py`, which asks Ray what there is and carries the wish out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

_CPU: Final = "CPU"
_MOST_NODES: Final = 8  # named in a line
_ROUNDING: Final = 1e-6  # Ray counts in ten-thousandths


class Needs(NamedTuple):
    """What each worker asks a node for."""

    cpus: float = 1.0
    others: tuple[tuple[str, float], ...] = ()  # names of resources, as Ray has them

    @property
    def amounts(self) -> dict[str, float]:
        """All of it by name."""
        return {_CPU: self.cpus, **dict(self.others)}


class Node(NamedTuple):
    """A node of the cluster: what it has, and what of that nobody has taken."""

    node_id: str
    host: str
    has: Mapping[str, float]
    free: Mapping[str, float]

    def has_room(self, needs: Needs) -> bool:
        """For one worker, now."""
        return all(self.free.get(name, 0.0) >= amount for name, amount in needs.amounts.items())

    def places(self, needs: Needs) -> int:
        """For so many workers, were it empty."""
        return min(
            int(self.has.get(name, 0.0) / amount + _ROUNDING)
            for name, amount in needs.amounts.items()
        )


def node_for_worker(
    nodes: Sequence[Node], needs: Needs, workers_on: Mapping[str, int], server_on: str | None
) -> Node | None:
    """The node with the fewest of the run's workers, and rather without its server.

    Args:
        workers_on: how many of the run's workers each node has or is about to have, by its id;
            what they take may not be missing from `Node.free` yet.
        server_on: the id of the server's node.

    Returns:
        None: none has room.
    """
    roomy = [
        node
        for node in nodes
        if node.has_room(needs) and workers_on.get(node.node_id, 0) < node.places(needs)
    ]
    return min(
        roomy,
        key=lambda node: (
            workers_on.get(node.node_id, 0),
            node.node_id == server_on,
            -node.free.get(_CPU, 0.0),
            node.node_id,
        ),
        default=None,
    )


def node_for_server(
    nodes: Sequence[Node], needs: Needs, workers_on: Mapping[str, int]
) -> Node | None:
    """The node with the fewest of the run's workers, and of these the one with room for fewest.

    It takes nothing of a node: one that has no room for workers at all will do.
    """
    return min(
        nodes,
        key=lambda node: (workers_on.get(node.node_id, 0), node.places(needs), node.node_id),
        default=None,
    )


def shortage(worker_count: int, needs: Needs, nodes: Iterable[Node]) -> str:
    """What is asked for, and what there is on each node."""
    each = " and ".join(f"{amount:g} {name}" for name, amount in needs.amounts.items())
    asked = f"{worker_count} workers ask for {each} each"
    if worker_count == 1:
        asked = f"1 worker asks for {each}"
    told = [_there(node, needs) for node in sorted(nodes, key=lambda node: node.host)]
    more = len(told) - _MOST_NODES
    rest = [f"and {more} nodes more"] if more > 0 else []
    return f"{asked}; {'; '.join(told[:_MOST_NODES] + rest) or 'the cluster has no node'}"


def _there(node: Node, needs: Needs) -> str:
    amounts = (
        f"{node.has.get(name, 0.0):g} {name}, {node.free.get(name, 0.0):g} free"
        for name in needs.amounts
    )
    return f"{node.host} has {' and '.join(amounts)}"
