"""What a machine may lack that a test needs."""

import os
from typing import NoReturn

import pytest


def unable(what: str, why: str) -> NoReturn:
    """Skip the test; where EVERSTEP_REQUIRED names `what` it tests, as in .ci/run, fail it."""
    told = f"{what}: {why}"
    if what in os.environ.get("EVERSTEP_REQUIRED", "").split(","):
        pytest.fail(told)
    pytest.skip(told)
