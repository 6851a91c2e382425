"""What several test files share."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest

from actors.endpoint import Endpoint
from tests.command import Everstep
from tests.linked import BOUND, KEY, Clock
from trainer.config import Config

# A deadline would be a timing, and the machine may be busy.
hypothesis.settings.register_profile("everstep", deadline=None)
hypothesis.settings.load_profile("everstep")
# Whoever starts the tests in the background, or with nohup, lets them ignore signals: they would
# pass that on to the programs whose stopping they look at.
for _number, _default in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _default)
# A cluster that the environment names is none of these tests' business.
os.environ.pop("RAY_ADDRESS", None)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One private Ray for all tests that run actors on it, with CPUs for five workers."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        # What a user's environment may say; the actors must not listen to it.
        patch.setenv("OPENBLAS_NUM_THREADS", "4")
        patch.setenv("OMP_NUM_THREADS", "4")
        ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def quick() -> Config:
    """Two epochs of the digits in one process."""
    return Config(training={"epochs": 2}, cluster={"kind": "local"})


@pytest.fixture
def repository() -> Path:
    """The root of the sources."""
    return Path(__file__).parent.parent


@pytest.fixture
def everstep(tmp_path: Path) -> Iterator[Everstep]:
    made = Everstep(tmp_path)
    yield made
    for process in made.processes():
        process.kill()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[True, False], ids=["shared memory", "TCP"])
def endpoint(clock: Clock, request: pytest.FixtureRequest) -> Iterator[Callable[..., Endpoint]]:
    """Makes endpoints on loopback, and closes them."""
    share: bool = request.param
    with ExitStack() as opened:

        def make(key: bytes = KEY, bound: int = BOUND) -> Endpoint:
            made = Endpoint(key, "127.0.0.1", bound, 10.0, clock, share)
            opened.callback(made.close, "the test is over", flush_s=0.0)
            return made

        yield make
