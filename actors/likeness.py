"""Whether all hosts round alike, told by what each actor's `Hello` says of its arithmetic. Pure.

One CPU type and one BLAS build give the same bytes for the same step; a mixed cluster trains as
well, but which host computes what then shows in the last bits. `arithmetic.py` has the words.
"""

from actors.messages import DRIVER, Hello
from actors.orders import Envelope, Rounding, Unlike


class Likeness:
    """Compares every host with the first one; each that differs is told once."""

    def __init__(self, first: Rounding | None = None) -> None:
        """`first`: of the run's earlier processes; None: the first actor here is the first."""
        self._first = first
        self._told: set[tuple[str, str]] = set()

    def compare(self, hello: Hello) -> list[Envelope]:
        """What the driver is to be told of a host, now that an actor there has said Hello."""
        if not hello.arithmetic:
            return []
        if (first := self._first) is None:
            self._first = Rounding(hello.host, hello.arithmetic)
            return [(DRIVER, self._first)]
        known = (hello.host, hello.arithmetic)
        if hello.arithmetic == first.arithmetic or known in self._told:
            return []
        self._told.add(known)
        differences = tuple(_differences(hello.arithmetic, first.arithmetic))
        return [(DRIVER, Unlike(hello.name, hello.host, first.host, differences))]


def _differences(mine: str, others: str) -> list[str]:
    """`BLAS: A here, B there`, for each fact that differs."""
    ours, theirs = _facts(mine), _facts(others)
    told = []
    for what in [*ours, *(what for what in theirs if what not in ours)]:
        here, there = _items(ours.get(what, "")), _items(theirs.get(what, ""))
        if here != there:
            told.append(f"{what}: {_without(here, there)} here, {_without(there, here)} there")
    return told


def _facts(arithmetic: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in arithmetic.splitlines())
    return {what: words for what, _, words in pairs}


def _items(words: str) -> list[str]:
    return [item.strip() for item in words.split(",") if item.strip()]


def _without(items: list[str], others: list[str]) -> str:
    """Of two lists, what both have does not matter."""
    return ", ".join(item for item in items if item not in others) or "none"
