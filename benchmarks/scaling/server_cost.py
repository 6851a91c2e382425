"""What a step costs the server, fitted to measurements, and what follows for clusters. Pure.

    cpu = per_step_s + per_message_s * messages + per_byte_s * bytes
          + per_update_byte_s * model bytes

With W workers and a model of B bytes a step has 2 W messages and 2 W B bytes: weights out,
gradients in (the addition of a gradient is part of its bytes' cost). The network carries the
same bytes, first one way, then the other, so in the sync mode the two do not overlap.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

FLOAT_BYTES: Final = 4
_BITS: Final = 8


class Sample(NamedTuple):
    """One measured training."""

    message_count: int  # a step, in and out
    message_bytes: int  # a step, in and out
    model_bytes: int
    cpu_s: float  # a step


class ServerCost(NamedTuple):
    """The fitted coefficients, in CPU seconds."""

    per_step_s: float
    per_message_s: float
    per_byte_s: float  # of a message
    per_update_byte_s: float  # of the model, once a step

    def cpu_s(self, message_count: float, message_bytes: float, model_bytes: float) -> float:
        """What the formula says for one step."""
        return (
            self.per_step_s
            + self.per_message_s * message_count
            + self.per_byte_s * message_bytes
            + self.per_update_byte_s * model_bytes
        )


class Prediction(NamedTuple):
    """A calculated step of a cluster: nobody has measured it."""

    parameter_count: int
    worker_count: int
    cpu_s: float  # of the server's one core
    wire_s: tuple[float, ...]  # on each network

    @property
    def least_s(self) -> tuple[float, ...]:
        """However fast the workers are, a step takes no less, on each network."""
        return tuple(max(self.cpu_s, wire_s) for wire_s in self.wire_s)


def fit(samples: Sequence[Sample]) -> ServerCost:
    """Non-negative least squares of the relative errors, so that small steps count too."""
    columns = np.array([(1, *sample[:3]) for sample in samples], np.float64)
    measured = np.array([sample.cpu_s for sample in samples])
    scaled = columns / measured[:, np.newaxis]
    used = list(range(len(ServerCost._fields)))
    while True:
        found = np.linalg.lstsq(scaled[:, used], np.ones(len(samples)), rcond=None)[0]
        if found.min() >= 0 or len(used) == 1:
            break
        del used[int(found.argmin())]  # a cost below nothing is the others' noise
    coefficients = np.zeros(len(ServerCost._fields))
    coefficients[used] = found
    return ServerCost(*coefficients.tolist())


def relative_errors(cost: ServerCost, samples: Sequence[Sample]) -> list[float]:
    """(formula - measured) / measured, for each sample."""
    return [cost.cpu_s(*sample[:3]) / sample.cpu_s - 1 for sample in samples]


def predict(
    cost: ServerCost, parameter_count: int, worker_count: int, bits_per_s: Sequence[float]
) -> Prediction:
    """A step of a cluster whose server has one such core and a link of each of these rates."""
    model_bytes = parameter_count * FLOAT_BYTES
    moved_bytes = 2 * worker_count * model_bytes
    return Prediction(
        parameter_count,
        worker_count,
        cost.cpu_s(2 * worker_count, moved_bytes, model_bytes),
        tuple(moved_bytes * _BITS / rate for rate in bits_per_s),
    )


def most_workers(
    cost: ServerCost, parameter_count: int, bits_per_s: float, allowed_s: float
) -> int:
    """The largest cluster whose server and network need at most so long a step; 0: none."""
    one = predict(cost, parameter_count, 1, [bits_per_s])
    none = predict(cost, parameter_count, 0, [bits_per_s])
    by_cpu = (allowed_s - none.cpu_s) / (one.cpu_s - none.cpu_s)
    by_wire = allowed_s / one.wire_s[0]
    return max(0, int(min(by_cpu, by_wire) + 1e-9))
