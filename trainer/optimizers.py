"""Optimizers: `init` and `update` on flat vectors, elementwise, without hidden state.

Because an update is elementwise, a server that holds a slice of the vector computes the
same bits as one that holds all of it. `actors.objectives.Optimizer` is the protocol.
"""

from typing import Final

import numpy as np

from trainer.layout import Vector

_CHUNK: Final = 1 << 18  # elements; what is scaled is still in the cache when it is added


class SGD:
    """Stochastic gradient descent: parameters - learning_rate * mean gradient.

    Source: Nielsen (2015), chapter 1, equations 20 and 21.
    """

    def __init__(self, learning_rate: float) -> None:
        self._learning_rate = learning_rate
        self._scaled: Vector | None = None  # scratch for one chunk

    def init(self, parameters: Vector) -> Vector:
        """No state: an empty vector."""
        return np.empty(0, parameters.dtype)

    def update(
        self,
        parameters: Vector,
        gradient_sum: Vector,
        sample_count: int,
        state: Vector,
        out: Vector,
        state_out: Vector,
    ) -> None:
        """Write the next parameters into ``out``, which may be `parameters` itself.

        Args:
            parameters, gradient_sum, out: (p,) of one dtype.
            sample_count: the gradient's sum over so many samples becomes their mean.
            state, state_out: empty.
        """
        factor = -self._learning_rate / sample_count
        if self._scaled is None or self._scaled.dtype != parameters.dtype:
            self._scaled = np.empty(_CHUNK, parameters.dtype)
        for start in range(0, parameters.size, _CHUNK):
            chunk = slice(start, start + _CHUNK)
            part = gradient_sum[chunk]
            scaled = np.multiply(part, factor, out=self._scaled[: part.size])
            np.add(parameters[chunk], scaled, out=out[chunk])


class Average:
    """The mean of where the shards have come: parameters - mean difference.

    The server's optimizer when shards take local steps. Every shard counts alike: all have
    equally many samples in a step.
    """

    def __init__(self, shard_count: int) -> None:
        self._shard_count = shard_count
        self._descent = SGD(1.0)

    def init(self, parameters: Vector) -> Vector:
        """No state: an empty vector."""
        return self._descent.init(parameters)

    def update(
        self,
        parameters: Vector,
        gradient_sum: Vector,
        sample_count: int,
        state: Vector,
        out: Vector,
        state_out: Vector,
    ) -> None:
        """As `SGD.update`; `gradient_sum` is the sum of the shards' differences."""
        self._descent.update(parameters, gradient_sum, self._shard_count, state, out, state_out)
