"""Time, bytes and memory against the size of the model, with two workers.

Memory is what a process held at most above the same process of a training of 100 parameters,
in parameter vectors; of the largest model, because a process's own size differs by some
megabytes from start to start. Where links share memory, what two processes hold together
counts once, divided between them (PSS); where all goes over TCP, each one's own peak counts.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks.private_ray import private_ray
from benchmarks.scaling.line_chart import Axis, draw_lines
from benchmarks.scaling.server_cost import FLOAT_BYTES
from benchmarks.scaling.tables import Shown, counted_bytes, milliseconds, table
from benchmarks.scaling.toy import toy_job
from benchmarks.scaling.training import (
    Memory,
    Training,
    largest_worker_of,
    measure,
    ray_cluster,
    server_of,
)
from benchmarks.scaling.verdicts import Verdict, server_limit, vectors_above, worker_limit

_IDLE: Final = 100
_PARAMETERS: Final = (10_000, 100_000, 1_000_000, 10_000_000)
_WORKERS: Final = 2
_SHARDS: Final = 8
_DIGITS: Final = 1  # of a vector of 40 MB: 4 MB, the unrest of a process's own size
_LINKS: Final = {"shared memory": "proportional", "TCP": "life"}  # and which peak is judged
_KINDS: Final = Memory.__slots__


def run(say: Callable[[str], None]) -> dict[str, Any]:
    """One training for each size, as on one host; the largest and the least over TCP too."""
    largest = max(_PARAMETERS)
    with private_ray(_WORKERS):

        def train(count: int, links: str) -> Training:
            say(f"sizes: {count:,} parameters, {links}")
            cluster = ray_cluster(_WORKERS, share_memory=links != "TCP")
            return measure(toy_job(count, _SHARDS), _WORKERS, cluster, watch_memory=True)

        idle = {links: train(_IDLE, links) for links in _LINKS}
        shipped = {count: train(count, "shared memory") for count in _PARAMETERS}
        full = {"shared memory": shipped[largest], "TCP": train(largest, "TCP")}
    return {
        "workers": _WORKERS,
        "shards": _SHARDS,
        "rows": [_row(count, training) for count, training in shipped.items()],
        "memory_parameters": largest,
        "memory": [
            {"links": links, "process": who}
            | _vectors(of(full[links].memory), of(idle[links].memory), largest * FLOAT_BYTES)
            for links in _LINKS
            for who, of in (("server", server_of), ("worker", largest_worker_of))
        ],
    }


def _row(count: int, training: Training) -> dict[str, Any]:
    return {
        "parameters": count,
        "step_ms": training.median_s * 1e3,
        "message_bytes": training.message_bytes,
        "server_cpu_ms": training.server_cpu_s * 1e3,
    }


def _vectors(held: Memory, idle: Memory, vector_bytes: int) -> dict[str, float]:
    """Each kind of peak, above the idle process's."""
    return {
        kind: vectors_above(getattr(held, kind), getattr(idle, kind), vector_bytes)
        for kind in _KINDS
    }


def show(measured: dict[str, Any]) -> Sequence[Shown | str]:
    """Time and bytes; memory in vectors; whether it keeps the limits."""
    limits = {"server": server_limit(measured["workers"]), "worker": worker_limit(0, 1)}
    verdicts = []
    for row in measured["memory"]:
        peak, limit = row[_LINKS[row["links"]]], limits[row["process"]]
        what = f"{row['process']}'s peak in vectors, {row['links']}:"
        verdicts.append(str(Verdict(what, peak, limit, _DIGITS)))
    return [_times(measured["rows"]), _memory(measured), *verdicts]


def draw(measured: dict[str, Any]) -> str:
    """An SVG document: the step and the server's CPU time in it."""
    lines = {
        name: [(float(row["parameters"]), float(row[key])) for row in measured["rows"]]
        for name, key in (("step", "step_ms"), ("server's CPU time in it", "server_cpu_ms"))
    }
    every = [point for points in lines.values() for point in points]
    x = Axis.over("parameters", 10, [size for size, _ in every])
    y = Axis.over("milliseconds", 10, [ms for _, ms in every])
    return draw_lines("A step against the size of the model, two workers", x, y, lines)


def _times(rows: Sequence[dict[str, Any]]) -> Shown:
    return table(
        "Model sizes, two workers",
        ("parameters", "step ms", "ns a parameter", "bytes a step", "server CPU ms"),
        (
            (
                f"{row['parameters']:,}",
                milliseconds(row["step_ms"] / 1e3),
                f"{row['step_ms'] * 1e6 / row['parameters']:.3g}",
                counted_bytes(row["message_bytes"]),
                milliseconds(row["server_cpu_ms"] / 1e3),
            )
            for row in rows
        ),
        "bytes: of all messages at the server, in and out, as between hosts; on one host\n"
        "larger arrays lie in shared memory instead",
    )


def _memory(measured: dict[str, Any]) -> Shown:
    return table(
        f"Peak memory above an idle process, in vectors of {measured['memory_parameters']:,}",
        ("links", "process", "peak", "of steps", "PSS of steps"),
        (
            (row["links"], row["process"], *(f"{row[kind]:.2f}" for kind in _KINDS))
            for row in measured["memory"]
        ),
        "peak: VmHWM, start included, a shared page counts in each process;\n"
        "PSS: a shared page counts once, divided; judged for shared memory",
    )
