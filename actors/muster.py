"""Whether enough actors are there to train, and since when they are not. Pure."""


class Muster:
    """Counted anew at every coming and going."""

    def __init__(self, min_workers: int, patience_s: float) -> None:
        """Training begins with a server and `min_workers`; it goes on with one worker."""
        self.starting: set[str] = set()  # ordered, and not yet heard of
        self._min_workers, self._patience_s = min_workers, patience_s
        self._ready = False
        self._incomplete_since_s: float | None = 0.0

    def begin(self, now_s: float) -> None:
        """Time begins."""
        self._incomplete_since_s = now_s

    def count(self, has_server: bool, workers: int, now_s: float) -> bool:
        """So many are there now. True once: training can begin."""
        if not has_server or workers < (1 if self._ready else self._min_workers):
            if self._incomplete_since_s is None:
                self._incomplete_since_s = now_s
            return False
        self._incomplete_since_s = None
        before, self._ready = self._ready, True
        return not before

    def is_overdue(self, now_s: float) -> bool:
        """Somebody has been missing for longer than anybody should wait."""
        since_s = self._incomplete_since_s
        return since_s is not None and now_s - since_s > self._patience_s

    def begin_with_less(self) -> list[str]:
        """Begin with those who are there; who is missing."""
        self._incomplete_since_s, self._ready = None, True
        return sorted(self.starting)
