"""`everstep status`: what a run directory tells, as lines for a person or as JSON."""

import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Final

from trainer.roster import Member
from trainer.run_lines import Line
from trainer.run_place import resume_command
from trainer.status import Status, read_status
from trainer.storage.place import place_of
from trainer.words import counted, last_line, listed

_WIDTH: Final = 80
_LABEL_WIDTH: Final = 10
_GAP: Final = 2  # between columns
_QUIET_S: Final = 5.0  # no sign of life for longer is worth a word
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600


def print_status(directory: str, as_json: bool) -> None:
    """To standard output; at most 80 columns, but for a command that is there to be copied.

    Raises:
        RunDirectoryError: it is no run directory, or holds what no run has.
    """
    status = read_status(
        place_of(directory), told=lambda line: print(f"everstep: {line}", file=sys.stderr)
    )
    print("\n".join([json.dumps(as_fields(status), indent=2)] if as_json else as_lines(status)))


def as_fields(status: Status) -> dict[str, Any]:
    """What `--json` prints; None: not known, or not now."""
    holder, past, last = status.lock.holder, status.past, status.metrics[-1:]
    epoch = last[0] if last else {}
    return {
        "directory": str(status.directory),
        "state": status.state,
        "reason": status.reason,
        "process_id": holder.process_id if holder else None,
        "host": holder.host if holder else None,
        "running_s": round(status.now_s - holder.began_unix_s, 3) if holder else None,
        "last_sign_unix_s": status.seen_s or None,
        "epochs_done": status.epochs_done,
        "epochs": status.epochs,
        "step": status.step,
        "steps": status.steps,
        "steps_per_second": None if status.rate is None else round(status.rate, 3),
        "steps_per_second_over_s": round(status.rate_over_s, 3),
        **{key: epoch.get(key) for key in ("samples_per_second", "loss", "test_loss", "accuracy")},
        "nodes": status.roster.nodes,
        "actors": [_actor(member) for member in status.roster.members()],
        "awaited": status.roster.awaited,
        "deaths": past.deaths,
        "restarts": past.restarts,
        "suspicions": past.suspicions,
        "repeated_steps": past.repeated_steps,
        "refused_connections": past.refused_connections,
        "stalled_s": round(sum(past.stalls_s), 3),
        "last_death": dict(status.last_death) if status.last_death else None,
        "checkpoint": status.checkpoint.name if status.checkpoint else None,
        "digest": status.result.get("digest"),
    }


def as_lines(status: Status) -> list[str]:
    """The same for a person."""
    lines = []
    for label, text in _rows(status):
        lines += textwrap.wrap(
            text,
            _WIDTH,
            initial_indent=f"{label:<{_LABEL_WIDTH}}",
            subsequent_indent=" " * _LABEL_WIDTH,
        )
    lines += _table(status.roster.members())
    if status.state in ("stopped", "failed", "died"):
        lines += ["", f"go on with: {resume_command(status.directory)}"]
    return lines


def _rows(status: Status) -> Iterator[tuple[str, str]]:
    yield "state", _state(status)
    yield "progress", _progress(status)
    if speeds := _speeds(status):
        yield "speed", speeds
    if status.metrics and (reached := _reached(status.metrics[-1])):
        yield "accuracy", reached
    if nodes := status.roster.nodes:
        workers, room = len(status.roster.workers), _WIDTH - _LABEL_WIDTH
        yield "workers", f"{workers} on {counted(len(nodes), 'node')}"
        yield "nodes", listed([*nodes], room)
    for name, why in status.roster.awaited.items():
        yield "awaited", f"{name}: {why}"
    yield "troubles", _troubles(status)
    if (death := status.last_death) is not None:
        yield "last", textwrap.shorten(_died(death, status.now_s), 2 * _WIDTH)
    if status.checkpoint is not None:
        yield "kept", status.checkpoint.name
    if "digest" in status.result:
        yield "digest", str(status.result["digest"])


def _state(status: Status) -> str:
    if status.state == "running":
        return _running(status)
    reason = f": {told}" if (told := last_line(status.reason or "")) else ""
    when = f", {_time(status.now_s - status.seen_s)} ago" if status.seen_s else ""
    text = textwrap.shorten(f"{status.state}{when}{reason}", 4 * _WIDTH)
    if status.state == "finished":
        times = (("train_s", "of training"), ("wall_s", "in all"))
        told_s = [(status.result.get(key), what) for key, what in times]
        told = ", ".join(f"{s:.1f} s {what}" for s, what in told_s if isinstance(s, int | float))
        text += f"; {told}" if told else ""
    return text


def _running(status: Status) -> str:
    if (holder := status.lock.holder) is None:
        return "running"
    running_s = status.now_s - holder.began_unix_s
    text = (
        f"running for {_time(running_s)}: `everstep {holder.command}`, process"
        f" {holder.process_id} on host {holder.host}"
    )
    if status.behind_s:
        text += f"; the store hears of it every {_time(status.behind_s)}"
    quiet_s = status.now_s - max(status.seen_s, holder.began_unix_s)
    if not status.roster.living:
        return f"{text}; its actors are not there yet"
    if quiet_s > _QUIET_S + status.behind_s:
        text += f"; no news for {_time(quiet_s)}"
    return text


def _progress(status: Status) -> str:
    of_steps = f" of {status.steps:,}" if status.steps is not None else ""
    of_epochs = f" of {status.epochs:,}" if status.epochs is not None else ""
    return f"{status.epochs_done:,}{of_epochs} epochs done, step {status.step:,}{of_steps}"


def _speeds(status: Status) -> str:
    told = []
    if status.rate is not None:
        told.append(f"{_rate(status.rate)} steps a second (last {_time(status.rate_over_s)})")
    epoch = status.metrics[-1] if status.metrics else {}
    if (rate := epoch.get("samples_per_second")) is not None:
        told.append(f"{_rate(rate)} samples a second (epoch {epoch['epoch']:,})")
    return ", ".join(told)


def _reached(epoch: Line) -> str:
    """Accuracy and loss, as far as the line has them."""
    shown = (("accuracy", "{:.4f} on the test set"), ("loss", "loss {:.4f}"))
    told = [text.format(value) for key, text in shown if (value := epoch.get(key)) is not None]
    return ", ".join([*told, f"after epoch {epoch['epoch']:,}"]) if told else ""


def _died(death: Line, now_s: float) -> str:
    ago = f" {_time(now_s - death['unix_s'])} ago" if "unix_s" in death else ""
    reason = f": {told}" if (told := last_line(death["reason"])) else ""
    return f"{death['worker']} died{ago}{reason}"


def _troubles(status: Status) -> str:
    past = status.past
    told = [
        (past.deaths, f"{past.deaths:,} died"),
        (past.restarts, counted(past.restarts, "restart")),
        (past.suspicions, f"{past.suspicions:,} times late"),
        (past.repeated_steps, f"{counted(past.repeated_steps, 'step')} run again"),
        (len(past.stalls_s), f"{sum(past.stalls_s):.2f} s without progress"),
    ]
    return ", ".join(text for count, text in told if count) or "none died"


def _table(members: Sequence[Member]) -> list[str]:
    """A row for each actor."""
    if not members:
        return []
    rows = [("actor", "node", "process")]
    rows += [(member.name, member.host, str(member.process_id)) for member in members]
    name, node, process = (max(len(row[column]) for row in rows) for column in range(3))
    room = _WIDTH - (name + node + process + 3 * _GAP)
    shards = ["shards", *(listed(_runs(member.shards), room) for member in members)]
    lines = [
        f"{row[0]:<{name}}  {row[1]:<{node}}  {row[2]:>{process}}  {held}".rstrip()
        for row, held in zip(rows, shards, strict=True)
    ]
    return ["", *lines]


def _actor(member: Member) -> dict[str, Any]:
    shards = None if member.shards is None else [*member.shards]
    where = {"node": member.host, "process_id": member.process_id}
    return {"name": member.name, **where, "shards": shards}


def _runs(shards: tuple[int, ...] | None) -> list[str]:
    """`0-3` and `8` for 0, 1, 2, 3 and 8; nothing for a server, which has none."""
    if shards is None:
        return []
    runs: list[list[int]] = []
    for shard in sorted(shards):
        if runs and shard == runs[-1][-1] + 1:
            runs[-1].append(shard)
        else:
            runs.append([shard])
    told = [f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]
    return told or ["none"]


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2f}"  # noqa: PLR2004


def _time(seconds: float) -> str:
    """Clocks of two machines may differ: nothing is told as yet to come."""
    seconds = max(0.0, seconds)
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    return f"{seconds / _HOUR_S:.1f} h"
