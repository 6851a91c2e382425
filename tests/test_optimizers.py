"""SGD: its formula in bits, wherever it writes and however the vector is cut up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.optimizers import SGD

DTYPES = (np.float32, np.float64)
NO_STATE = np.empty(0)


def sgd_case(size, dtype):
    generator = np.random.default_rng(3)
    return [generator.standard_normal(size).astype(dtype) for _ in range(2)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 16_384, 40_001])
def test_sgd_in_place_and_elsewhere_gives_the_same_bytes_and_its_formula(size, dtype):
    parameters, gradient = sgd_case(size, dtype)
    before, gradient_before, out = parameters.copy(), gradient.copy(), np.full_like(parameters, 9)
    sgd = SGD(0.25)
    sgd.update(parameters, gradient, 32, NO_STATE, out, NO_STATE)
    assert parameters.tobytes() == before.tobytes()
    sgd.update(parameters, gradient, 32, NO_STATE, parameters, NO_STATE)
    assert parameters.tobytes() == out.tobytes()
    assert gradient.tobytes() == gradient_before.tobytes()
    # 0.25 / 32 is a power of two: only the subtraction rounds, so the formula holds in bits.
    assert out.tobytes() == (before - gradient * dtype(0.25 / 32)).tobytes()


def test_sgd_has_no_state():
    assert SGD(1.0).init(np.ones(5, np.float32)).shape == (0,)


@given(st.tuples(st.integers(0, 40_000), st.integers(0, 40_000)), st.sampled_from(DTYPES))
def test_sgd_on_a_slice_gives_the_bytes_of_sgd_on_the_whole(ends, dtype):
    parameters, gradient = sgd_case(40_000, dtype)
    part, whole = slice(min(ends), max(ends)), np.empty_like(parameters)
    sliced = np.empty_like(parameters[part])
    sgd = SGD(0.3)
    sgd.update(parameters, gradient, 7, NO_STATE, whole, NO_STATE)
    sgd.update(parameters[part], gradient[part], 7, NO_STATE, sliced, NO_STATE)
    assert sliced.tobytes() == whole[part].tobytes()
