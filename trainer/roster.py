"""Who is there and where: the living actors with node, process and shards. Pure.

It is told what happened, by whoever hears it (`chronicle.py`) or reads it (`status.py`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from actors.messages import SERVER
from actors.names import server_first, slot_of


@dataclass(slots=True)
class Member:
    """A living actor."""

    name: str
    host: str
    process_id: int
    shards: tuple[int, ...] | None = None  # None: it was given none, as the server never is


class Roster:
    """Told who joins and who dies, it knows who is where."""

    def __init__(self, earlier_nodes: Iterable[str] = ()) -> None:
        """`earlier_nodes`: on which the actors of earlier processes were."""
        self.living: dict[str, Member] = {}
        self.awaited: dict[str, str] = {}  # who is to come, and what is known of that
        self.most_workers = 0  # at once
        self._nodes_used = dict.fromkeys(earlier_nodes)  # a set that keeps its order

    def joined(self, name: str, host: str, process_id: int) -> None:
        """An actor said Hello."""
        self.awaited.pop(name, None)
        self.living[name] = Member(name, host, process_id)
        self._nodes_used[host] = None
        self.most_workers = max(self.most_workers, len(self.workers))

    def died(self, name: str) -> None:
        """An actor is there no more, or never came."""
        self.awaited.pop(name, None)
        self.living.pop(name, None)

    def assigned(self, name: str, shards: Iterable[int]) -> None:
        """A worker was told what to hold."""
        if member := self.living.get(name):
            member.shards = tuple(shards)

    def clear(self) -> None:
        """Nobody is there."""
        self.living.clear()
        self.awaited.clear()

    def read(self, event: Mapping[str, Any]) -> None:
        """Take in a line of events.jsonl."""
        name = event.get("worker", "")
        match event.get("event"):
            case "joined":
                self.joined(name, event["host"], event["process_id"])
            case "died":
                self.died(name)
            case "assigned":
                self.assigned(name, event["shards"])
            case "restarting":
                self.awaited[name] = "is started"
            case "missing":
                late = "did not start in time, may join later"
                self.awaited.update(dict.fromkeys(event["workers"], late))
            case "unplaced":
                self.awaited.update(dict.fromkeys(event["workers"], "no node has room for it"))
            case "resumed" | "ended":  # a process takes its actors along
                self.clear()

    @property
    def workers(self) -> list[str]:
        """Names of the living ones."""
        return [name for name in self.living if slot_of(name) != SERVER]

    @property
    def nodes(self) -> dict[str, list[str]]:
        """The nodes that have a living actor, each with its actors."""
        found: dict[str, list[str]] = {}
        for member in self.members():
            found.setdefault(member.host, []).append(member.name)
        return found

    @property
    def nodes_used(self) -> list[str]:
        """All that ever had an actor, in the order of their first one."""
        return [*self._nodes_used]

    def members(self) -> list[Member]:
        """The living ones: the server, then the workers by their numbers."""
        return [self.living[name] for name in sorted(self.living, key=server_first)]
