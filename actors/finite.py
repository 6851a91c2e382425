"""The first number of a vector that is no number any more."""

import math

import numpy as np

from actors.messages import Vector


def first_not_finite(vector: Vector) -> int | None:
    """Where the first infinity or NaN of a (p,) vector is; None: it has none."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(vector.sum())
    if math.isfinite(total):  # a bad value always spoils the sum, so this is the whole test
        return None
    bad = ~np.isfinite(vector)
    return int(bad.argmax()) if bad.any() else None  # the sum alone may overflow
