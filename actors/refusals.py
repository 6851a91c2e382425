"""Connections that were refused: counted, and told less and less often the longer it goes on."""

from typing import Final

from actors.messages import Refused

_ENDED: Final = "connection "  # so begin the reasons of a link that was closed or broke
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 64.0


class Refusals:
    """A stranger that knocks all night fills no log: each report waits twice as long."""

    def __init__(self) -> None:
        self._count, self._reason = 0, ""
        self._pause_s = _FIRST_PAUSE_S
        self._told_s = 0.0

    def add(self, reason: str) -> None:
        """One more; of one that only ended nobody can say whose it was."""
        if reason.startswith(_ENDED):
            reason = f"ended before it said who it is, perhaps by its actor's death ({reason})"
        self._count, self._reason = self._count + 1, reason

    def report(self, now_s: float) -> list[Refused]:
        """What has not been told, if it is time to tell."""
        if not self._count or now_s - self._told_s < self._pause_s:
            return []
        count, self._count = self._count, 0
        self._told_s, self._pause_s = now_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return [Refused(count, self._reason)]
