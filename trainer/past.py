"""What the earlier processes of a run left behind, read from the lines of its files.

Pure: lines and times come in. How a driver that died was got over is seen from here too: the
process that goes on tells it of the one before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from actors.messages import DRIVER
from actors.orders import Rounding
from trainer.faults.log import Kill
from trainer.lock_holder import Sign
from trainer.recovery import Recovery

UNKNOWN_CAUSE: Final = "ended without a word: killed, or its machine failed"
_SLACK_S: Final = 0.5  # a fault's time is told a moment before its process's last sign of life

Line = Mapping[str, Any]


@dataclass(slots=True)
class Past:
    """The sums over all earlier processes of a run."""

    began_unix_s: float | None = None  # the first of them; None: there was none
    deaths: int = 0  # of actors and of drivers
    restarts: int = 0  # of actors; and a driver that died was resumed
    suspicions: int = 0
    refused_connections: int = 0
    repeated_steps: int = 0
    stalls_s: list[float] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)  # `at_s` is Unix time
    rounding: Rounding | None = None  # of the run's first host; None: it was not told


class Before(NamedTuple):
    """How the last process before this one ended, and how far it was."""

    step: int = 0  # the last one that it is known to have heard of
    unix_s: float = 0.0  # its last sign of life; 0: none is known
    cause: str | None = None  # of its death; None: it ended in order, or there was none


def read_past(events: Sequence[Line]) -> Past:
    """The sums over the events of the earlier processes, in the order of their lines."""
    past, open_ones = Past(), list[Recovery]()
    if events and "unix_s" in events[0]:
        past.began_unix_s = _unix_s(events[0]) - float(events[0].get("at_s", 0.0))
    for line in events:
        match line.get("event"):
            case "died" | "suspected":
                open_ones.append(_begun(line))
                past.recoveries.append(open_ones[-1])
            case "recovered":
                _end(line, open_ones, past)
            case "resumed":
                # Of the others nobody tells any more; of the driver that died, this one does.
                open_ones = [recovery for recovery in open_ones if recovery.name == DRIVER]
        _count(line, past)
    return past


def how_it_ended(
    events: Sequence[Line],
    metrics: Sequence[Line],
    left: Sign | None,
    planned: Kill | None,
) -> Before:
    """What is known of the process whose lines are the last ones.

    Args:
        left: what stands in the lock that it did not remove.
        planned: the last fault of a plan that killed a driver of this run.
    """
    begun = max((i for i, line in enumerate(events) if line.get("event") == "resumed"), default=0)
    steps = [int(line.get("step", 0)) for line in (*events[begun:], *metrics)]
    times_s = [_unix_s(line) for line in events[begun:]]
    if left is not None:
        steps.append(left.step)
        times_s.append(left.unix_s)
    step, unix_s = max(steps, default=0), max(times_s, default=0.0)
    told = bool(events) and events[-1].get("event") == "ended"
    if told or (left is not None and left.is_last):
        return Before(step, unix_s)
    if planned is not None and planned.unix_s > unix_s - _SLACK_S:  # nobody lived on after it
        return Before(max(step, planned.step), unix_s, planned.fault)
    return Before(step, unix_s, UNKNOWN_CAUSE)


def _begun(line: Line) -> Recovery:
    cause = line["reason"] if line["event"] == "died" else f"late with step {line['late_step']}"
    step = line.get("reached_step", line.get("step", 0))
    return Recovery(line["worker"], line["event"], str(cause), int(step), _unix_s(line))


def _end(line: Line, open_ones: list[Recovery], past: Past) -> None:
    """The numbers of one that was begun above, or that had no beginning of its own."""
    name, what, cause = line["worker"], line["from"], line["cause"]
    for recovery in reversed(open_ones):
        if (recovery.name, recovery.event, recovery.cause) == (name, what, cause):
            open_ones.remove(recovery)
            break
    else:
        at_s = _unix_s(line) - float(line["takeover_s"] or 0.0)
        recovery = Recovery(name, what, cause, int(line["at_step"]), at_s)
        past.recoveries.append(recovery)
    for key in ("detected_s", "takeover_s", "restart_s", "repeated_steps", "stalled_s"):
        setattr(recovery, key, line[key])
    if name == DRIVER and what == "died" and recovery.stalled_s is not None:
        past.stalls_s.append(recovery.stalled_s)


def _count(line: Line, past: Past) -> None:
    match line.get("event"):
        case "died":
            past.deaths += 1
            past.restarts += line["worker"] == DRIVER
        case "rounding":
            past.rounding = past.rounding or Rounding(line["host"], line["arithmetic"])
        case "restarting":
            past.restarts += 1
        case "suspected":
            past.suspicions += 1
        case "refused":
            past.refused_connections += int(line["count"])
        case "repeated":
            past.repeated_steps += int(line["step_count"])
        case "stalled":
            past.stalls_s.append(float(line["seconds"]))


def _unix_s(line: Line) -> float:
    return float(line.get("unix_s", 0.0))
