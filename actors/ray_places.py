"""Where Ray puts each actor: in a placement group of its own, with a wish for a node.

Each group is one bundle. Ray makes a group whole or not at all, so one group for all would not
begin with less than all and could not grow; and of a group that lost a node it puts the lost
bundle anywhere, not away from the others, unless they may never be together. A bundle keeps a
dead actor's place for its successor, waits for a node that has room, and goes to another node
when its own is lost.

On a private Ray there is one node and nothing to choose. Next: `placement.py`, which chooses.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import ray
from ray._private import state as ray_state
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.knocking import who_answers
from actors.messages import SERVER
from actors.names import slot_of
from actors.placement import Needs, Node, node_for_server, node_for_worker, shortage

# The server takes nothing of a node, and no bundle can be empty: a byte of it.
_SERVER_BUNDLE: Final = {"memory": 1.0}
_CREATED: Final = "CREATED"
_KNOCK_S: Final = 0.5
_NAMED: Final = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}  # Ray's own options


class Places:
    """Not for several threads at once."""

    def __init__(self, needs: Needs, worker_count: int, private: bool) -> None:
        """`worker_count`: how many are wanted, for what is said of a shortage."""
        self._needs, self._worker_count, self._private = needs, worker_count, private
        self._groups: dict[str, PlacementGroup] = {}  # by the actor's slot
        self._wishes: dict[str, str] = {}  # slot -> id of the node
        self._silent: set[str] = set()  # ids of nodes that did not answer

    def options(self, name: str) -> dict[str, Any]:
        """Ray's options for the actor that is to be started now."""
        options = self._worker_options()
        if slot_of(name) == SERVER:
            options = {"num_cpus": 0}
        if not self._private:
            group = self._group(slot_of(name))
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(group, 0)
        return options

    def unplaced(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of them for whom no node has room."""
        workers = [name for name in names if slot_of(name) != SERVER]
        if self._private:
            return tuple(workers) if self._is_full() else ()
        placed = self._placed()
        return tuple(name for name in workers if slot_of(name) not in placed)

    def shortage(self) -> str:
        """What is asked for and what there is."""
        nodes = [node for node in nodes_there() if node.node_id not in self._silent]
        if self._private:
            nodes = [node._replace(host="this machine") for node in nodes]
        return shortage(self._worker_count, self._needs, nodes)

    def why_missing(self) -> str:
        """The same, and what may keep somebody from starting."""
        why = "there is no place, or its start hangs"
        if any(node.has_room(self._needs) for node in nodes_there()):
            why = "its start hangs"
        return f"{self.shortage()}: {why}; see cluster.start_timeout_s"

    def _is_full(self) -> bool:
        """A private Ray has not room for all; of one that has, some may just not be free yet."""
        nodes = nodes_there()
        if sum(node.places(self._needs) for node in nodes) >= self._worker_count:
            return False
        return not any(node.has_room(self._needs) for node in nodes)

    def release(self) -> None:
        """Nothing is reserved any more."""
        while self._groups:
            _, group = self._groups.popitem()
            with suppress(Exception):  # the cluster may be gone
                remove_placement_group(group)

    def _worker_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"resources": {}}
        for resource, amount in self._needs.amounts.items():
            if resource in _NAMED:
                options[_NAMED[resource]] = amount
            else:
                options["resources"][resource] = amount
        return options

    def _group(self, slot: str) -> PlacementGroup:
        """The one of an earlier life, if its node is there or Ray still looks for one."""
        node_id = self._placed().get(slot)
        nodes = self._answering(node_id)
        if (group := self._groups.get(slot)) is not None:
            if node_id is None or any(node.node_id == node_id for node in nodes):
                return group
            remove_placement_group(self._groups.pop(slot))
        self._wishes.pop(slot, None)
        node = self._choose(slot, nodes)
        if node is not None:
            self._wishes[slot] = node.node_id
        self._groups[slot] = placement_group(
            [_SERVER_BUNDLE if slot == SERVER else self._needs.amounts],
            strategy="STRICT_PACK",  # one bundle; Ray takes a wish with this one only
            _soft_target_node_id=node.node_id if node else None,
        )
        return self._groups[slot]

    def _choose(self, slot: str, nodes: Sequence[Node]) -> Node | None:
        on = {**self._wishes, **self._placed()}
        server_on = on.pop(SERVER, None)
        if slot == SERVER:
            return node_for_server(nodes, self._needs, Counter(on.values()))
        return node_for_worker(nodes, self._needs, Counter(on.values()), server_on)

    def _placed(self) -> dict[str, str]:
        """The node of each group that has one, by the actor's slot."""
        table = placement_group_table()
        found = {slot: table.get(group.id.hex(), {}) for slot, group in self._groups.items()}
        return {
            slot: group["bundles_to_node_id"][0]
            for slot, group in found.items()
            if group.get("state") == _CREATED
        }

    def _answering(self, earlier: str | None) -> list[Node]:
        """The nodes that can take an actor, also while Ray has not noticed that some are lost.

        Args:
            earlier: the id of the node on which the actor's earlier life was: who dies may have
                died with a node, and that one with others.
        """
        doors = {}
        if earlier is not None or self._silent:
            doors = {
                node["NodeID"]: (node["NodeManagerAddress"], node["NodeManagerPort"])
                for node in ray.nodes()
                if node["Alive"]
            }
        self._silent = doors.keys() - who_answers(doors, _KNOCK_S)
        leaving = self._silent.union(_ids_going())
        return [node for node in nodes_there() if node.node_id not in leaving]


def hosts_going() -> list[str]:
    """The addresses of the nodes that are drained: they will soon be gone."""
    if not (ids := _ids_going()):
        return []
    return [str(node["NodeManagerAddress"]) for node in ray.nodes() if node["NodeID"] in ids]


def nodes_there() -> list[Node]:
    """The nodes that Ray takes for alive."""
    free = ray_state.available_resources_per_node()
    return [
        Node(
            node["NodeID"],
            node["NodeManagerAddress"],
            node["Resources"],
            free.get(node["NodeID"], {}),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def private_resources(needs: Needs, worker_count: int) -> dict[str, float]:
    """What a private Ray is told to have, beyond what it finds: a cluster's own names."""
    return {name: worker_count * n for name, n in needs.others if name not in _NAMED}


def _ids_going() -> Collection[str]:
    """Of the nodes that are drained. Ray has no public word for them, and one day no such one."""
    try:
        going: Collection[str] = ray_state.state.get_draining_nodes().keys()
    except AttributeError:
        return ()
    return going
