"""The first number of a vector that is no number any more."""

import math

import numpy as np

from actors.messages import Vector


def numbers_may_overflow() -> np.errstate:
    """While it is entered, NumPy says nothing: what is not finite is found, and told once."""
    return np.errstate(over="ignore", invalid="ignore")


def first_not_finite(vector: Vector) -> int | None:
    """Where the first infinity or NaN of a (p,) vector is; None: it has none."""
    if math.isfinite(vector.dot(vector)):  # a bad value always spoils it, so this is the whole test
        return None
    bad = ~np.isfinite(vector)
    return int(bad.argmax()) if bad.any() else None  # the squares alone may overflow
