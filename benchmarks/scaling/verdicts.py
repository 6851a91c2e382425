"""Whether a measured number keeps its limit. Pure."""

from typing import Final, NamedTuple

MOST_WORKERS_RATIO: Final = 1.25  # the step with 16 workers against the step with one
MOST_STARTUP_RATIO: Final = 1.3  # against `ray.init` and three bare actors
_VECTORS: Final = 4.0


class Verdict(NamedTuple):
    """What was asked for, and what came out."""

    what: str
    measured: float
    limit: float
    digits: int = 2  # behind the point: as they are shown, they decide

    @property
    def reached(self) -> bool:
        """The limit itself is allowed."""
        return round(self.measured, self.digits) <= self.limit

    def __str__(self) -> str:
        word = "reached" if self.reached else "NOT REACHED"
        return f"{word}: {self.what} {self.measured:.{self.digits}f}, limit {self.limit:g}"


def server_limit(linked_workers: int) -> float:
    """In parameter vectors."""
    return _VECTORS + linked_workers


def worker_limit(micro_batches_bytes: int, vector_bytes: int) -> float:
    """In parameter vectors."""
    return _VECTORS + micro_batches_bytes / vector_bytes


def vectors_above(bytes_held: int, idle_bytes: int, vector_bytes: int) -> float:
    """Memory above that of the same process with next to no parameters, in vectors."""
    return (bytes_held - idle_bytes) / vector_bytes
