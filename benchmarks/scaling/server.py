"""What a step costs the server's core, over TCP, and a calculation of what it can feed.

Actors on one host may share memory; between hosts every byte goes through TCP. So the links
of this part use TCP alone, and the fitted costs are those of a cluster's server.
"""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, Final

from benchmarks.private_ray import private_ray
from benchmarks.scaling import server_cost
from benchmarks.scaling.server_cost import FLOAT_BYTES, Sample, ServerCost
from benchmarks.scaling.tables import Shown, counted_bytes, milliseconds, table
from benchmarks.scaling.toy import toy_job
from benchmarks.scaling.training import measure, ray_cluster
from benchmarks.scaling.verdicts import MOST_WORKERS_RATIO

COMPUTE_S: Final = 0.05
_SHARDS: Final = 8
_WORKERS: Final = (1, 2, 8)
_PARAMETERS: Final = (1_000, 30_000, 1_000_000)
_GBIT: Final = 1e9
_RATES: Final = (10 * _GBIT, 100 * _GBIT)
_CLUSTERS: Final = (10, 100, 1000)
_MODELS: Final = {
    "784-30-10": 23_860,
    "784-100-10": 79_510,
    "784-1024-1024-10": 1_863_690,
    "ten million": 10_000_000,
}


def run(say: Callable[[str], None]) -> dict[str, Any]:
    """Trainings at full speed of several sizes and numbers of workers, and the fit."""
    rows = []
    with private_ray(max(_WORKERS)):
        for workers, parameters in product(_WORKERS, _PARAMETERS):
            say(f"server: workers {workers}, {parameters:,} parameters, TCP")
            cluster = ray_cluster(workers, share_memory=False)
            training = measure(toy_job(parameters, _SHARDS), workers, cluster)
            size = training.message_count, training.message_bytes, parameters * FLOAT_BYTES
            rows.append((workers, Sample(*size, training.server_cpu_s), training.median_s))
    samples = [sample for _, sample, _ in rows]
    cost = server_cost.fit(samples)
    errors = server_cost.relative_errors(cost, samples)
    return {
        "links": "TCP",
        "rows": [
            {"workers": workers, "step_ms": step_s * 1e3, "error": error} | sample._asdict()
            for (workers, sample, step_s), error in zip(rows, errors, strict=True)
        ],
        "cost": cost._asdict(),
        "calculation": [
            {"model": model} | server_cost.predict(cost, parameters, workers, _RATES)._asdict()
            for (model, parameters), workers in product(_MODELS.items(), _CLUSTERS)
        ],
    }


def show(measured: dict[str, Any]) -> Sequence[Shown | str]:
    """The samples, the formula, and the two calculated tables."""
    cost = ServerCost(**measured["cost"])
    errors = [abs(row["error"]) for row in measured["rows"]]
    rms = math.sqrt(sum(error * error for error in errors) / len(errors))
    formula = (
        f"server CPU a step = {cost.per_step_s * 1e6:.1f} us"
        f" + {cost.per_message_s * 1e6:.1f} us a message\n"
        f"  + {cost.per_byte_s * 1e9:.3f} ns a byte of messages"
        f" + {cost.per_update_byte_s * 1e9:.3f} ns a byte of the model;\n"
        f"  the fit's errors: largest {max(errors):.0%}, root of the mean square {rms:.0%}"
    )
    return [_samples(measured), formula, _clusters(cost), _largest(cost)]


def _samples(measured: dict[str, Any]) -> Shown:
    return table(
        "Server: CPU time a step, measured over TCP",
        ("workers", "model", "messages", "their bytes", "CPU ms", "fit", "step ms"),
        (
            (
                str(row["workers"]),
                counted_bytes(row["model_bytes"]),
                str(row["message_count"]),
                counted_bytes(row["message_bytes"]),
                milliseconds(row["cpu_s"]),
                f"{row['error']:+.0%}",
                milliseconds(row["step_ms"] / 1e3),
            )
            for row in measured["rows"]
        ),
        "fit: what the formula says, against the measured",
    )


def _clusters(cost: ServerCost) -> Shown:
    """What a step takes at least, beside the workers' computation."""
    rows = []
    for (model, parameters), workers in product(_MODELS.items(), _CLUSTERS):
        prediction = server_cost.predict(cost, parameters, workers, _RATES)
        times = prediction.cpu_s, *prediction.wire_s, *prediction.least_s
        rows.append((model, f"{workers:,}", *(milliseconds(seconds) for seconds in times)))
    return table(
        "CALCULATION, not measured: the server's part of a step, in ms",
        ("model", "workers", "CPU", "10 Gb/s", "100 Gb/s", "least, 10", "least, 100"),
        rows,
        "least: the larger of CPU and wire; one server, one core like this machine's",
    )


def _largest(cost: ServerCost) -> Shown:
    allowed_s = COMPUTE_S * (MOST_WORKERS_RATIO - 1)
    return table(
        "CALCULATION, not measured: the most workers that one server feeds",
        ("model", "10 Gb/s", "100 Gb/s"),
        (
            (
                model,
                *(
                    f"{server_cost.most_workers(cost, parameters, rate, allowed_s):,}"
                    for rate in _RATES
                ),
            )
            for model, parameters in _MODELS.items()
        ),
        f"with {COMPUTE_S * 1e3:g} ms of computation: a step takes at most"
        f" {MOST_WORKERS_RATIO:g} times that",
    )
