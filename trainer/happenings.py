"""What the driver hears of the actors, as lines for events.jsonl. Says nothing of the epochs."""

from typing import Any, NamedTuple

from actors.messages import DRIVER, SERVER, Refused, Repeated, Stall
from actors.orders import (
    Assigned,
    Died,
    DriverMessage,
    Joined,
    Missing,
    Restarting,
    Rounding,
    Silent,
    Suspected,
    Unlike,
    Unplaced,
)


class Happening(NamedTuple):
    """The fields of a `reports.Event` that a message decides."""

    event: str
    worker: str
    details: dict[str, Any]


def happening(message: DriverMessage) -> Happening | None:
    """The event that a message tells of; None: it is no event."""
    match message:
        case Joined(name, host, process_id):
            return Happening("joined", name, {"host": host, "process_id": process_id})
        case Missing(names, reason):
            return Happening("missing", names[0], {"workers": list(names), "reason": reason})
        case Unplaced(names, reason):
            return Happening("unplaced", names[0], {"workers": list(names), "reason": reason})
        case Rounding(host, arithmetic):
            return Happening("rounding", DRIVER, {"host": host, "arithmetic": arithmetic})
        case Unlike(name, host, other_host, differences):
            hosts = {"host": host, "other_host": other_host}
            return Happening("unlike", name, {**hosts, "differences": list(differences)})
        case Died(name, reason):
            return Happening("died", name, {"reason": reason})
        case Restarting(name, replaces, restart_count, max_restarts, period_s):
            intensity = {"max_restarts": max_restarts, "period_s": period_s}
            details = {"replaces": replaces, "restart_count": restart_count, **intensity}
            return Happening("restarting", name, details)
        case Suspected(name, step):
            return Happening("suspected", name, {"late_step": step})
        case Silent(name, seconds):
            return Happening("silent", name, {"seconds": seconds})
        case Assigned(name, shards):
            return Happening("assigned", name, {"shards": list(shards)})
        case Stall(step, seconds):
            return Happening("stalled", SERVER, {"finished_step": step, "seconds": seconds})
        case Repeated(step_count):
            return Happening("repeated", SERVER, {"step_count": step_count})
        case Refused(count, reason):
            return Happening("refused", SERVER, {"count": count, "reason": reason})
        case _:
            return None
