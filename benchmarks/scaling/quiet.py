"""Waiting for a machine that does little else: Ray starts processes in the background."""

import time
from pathlib import Path
from typing import Final

_QUIET_SHARE: Final = 0.15
_LOOK_S: Final = 0.2
_MOST_S: Final = 5.0


def wait_until_quiet() -> None:
    """Until its cores are almost idle; on a machine that never is, for some seconds."""
    until_s = time.monotonic() + _MOST_S
    while _busy_share() > _QUIET_SHARE and time.monotonic() < until_s:
        pass


def _busy_share() -> float:
    """Of all cores, over the next moment."""
    idle, whole = _ticks()
    time.sleep(_LOOK_S)
    idle_then, whole_then = _ticks()
    return 1 - (idle_then - idle) / max(1, whole_then - whole)


def _ticks() -> tuple[int, int]:
    """Idle and all, since the machine started."""
    first = Path("/proc/stat").read_text().partition("\n")[0]
    ticks = [int(field) for field in first.split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)
