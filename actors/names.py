"""Names of actors: a slot, and which of its lives. No name is ever used again.

`worker-1` is the first life in its slot, `worker-1.2` the second; `server.3` the third of
the server. Whatever is said late about a dead actor can so never hit the one that replaced it.
"""

from actors.messages import SERVER


def slot_of(name: str) -> str:
    """`worker-1` for `worker-1.2`."""
    return name.partition(".")[0]


def next_life(name: str) -> str:
    """`worker-1.2` for `worker-1`, `worker-1.3` for `worker-1.2`."""
    slot, _, life = name.partition(".")
    return f"{slot}.{int(life or 1) + 1}"


def by_number(name: str) -> tuple[int, str]:
    """Sorts worker-10 after worker-9."""
    digits = slot_of(name).rpartition("-")[2]
    return (int(digits) if digits.isdecimal() else 0, name)


def server_first(name: str) -> tuple[bool, tuple[int, str]]:
    """Sorts the servers before the workers, and these by their numbers."""
    return slot_of(name) != SERVER, by_number(name)
