"""The step against the number of workers, with EMULATED computation.

Each worker waits 50 ms a step, whatever its shards, as if it computed so long on a core of
its own. What the step takes beyond that is the actors' and this machine's doing: with 16
workers on two cores, all their messages are written and read by two cores.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks.private_ray import private_ray
from benchmarks.scaling.tables import Shown, milliseconds, table
from benchmarks.scaling.toy import toy_job
from benchmarks.scaling.training import measure, ray_cluster
from benchmarks.scaling.verdicts import MOST_WORKERS_RATIO, Verdict

WAIT_S: Final = 0.05
_WORKERS: Final = (1, 2, 4, 8, 16)
_SHARDS: Final = 16
_PARAMETERS: Final = 23_860  # of a 784-30-10 network
_STEPS: Final = 60


def run(say: Callable[[str], None]) -> dict[str, Any]:
    """One training for each number of workers, of the same job."""
    trainings = []
    with private_ray(max(_WORKERS)):
        for count in _WORKERS:
            say(f"workers: {count}, emulated computation")
            job = toy_job(_PARAMETERS, _SHARDS, WAIT_S)
            trainings.append(measure(job, count, ray_cluster(count), _STEPS))
    first = trainings[0]
    return {
        "computation": f"EMULATED: each worker waits {WAIT_S * 1e3:g} ms a step",
        "parameters": _PARAMETERS,
        "shards": _SHARDS,
        "rows": [
            {
                "workers": training.worker_count,
                "step_ms": training.median_s * 1e3,
                "ratio": training.median_s / first.median_s,
                "server_cpu_ms": training.server_cpu_s * 1e3,
                "messages": training.message_count,
                "same_bytes": training.digest == first.digest,
                "steps_s": training.step_s.tolist(),
            }
            for training in trainings
        ],
    }


def show(measured: dict[str, Any]) -> Sequence[Shown | str]:
    """A row for each number of workers."""
    rows = measured["rows"]
    verdict = Verdict("16 workers, times 1 worker", rows[-1]["ratio"], MOST_WORKERS_RATIO)
    return [
        table(
            "Workers: EMULATED computation, a 50 ms wait a step and worker",
            ("workers", "step ms", "ratio", "server CPU ms", "messages", "bytes"),
            (
                (
                    str(row["workers"]),
                    milliseconds(row["step_ms"] / 1e3),
                    f"{row['ratio']:.3f}",
                    milliseconds(row["server_cpu_ms"] / 1e3),
                    str(row["messages"]),
                    "same" if row["same_bytes"] else "OTHER",
                )
                for row in rows
            ),
            f"{measured['parameters']:,} parameters, {measured['shards']} shards, medians;"
            " bytes: the final weights against those of 1 worker",
        ),
        str(verdict),
    ]
