"""The neural-network trainer: mathematics, data, configuration, driver and commands.

    from trainer import Config, train
    result = train(Config(training={"epochs": 5}))

No socket and no ray here: the actors are in `actors/`. Read on in `network.py` for the
mathematics, in `driver.py` for a training's course.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.checkpoints import Checkpoint, load_checkpoint
    from trainer.config import Config, load_config
    from trainer.driver import resume, train
    from trainer.network import Evaluation, Network
    from trainer.result import Result

__version__ = "0.1.0"

__all__ = [
    "Checkpoint",
    "Config",
    "Evaluation",
    "Network",
    "Result",
    "load_checkpoint",
    "load_config",
    "resume",
    "train",
]

_HOMES = {
    "Checkpoint": "trainer.checkpoints",
    "Config": "trainer.config",
    "Evaluation": "trainer.network",
    "Network": "trainer.network",
    "Result": "trainer.result",
    "load_checkpoint": "trainer.checkpoints",
    "load_config": "trainer.config",
    "resume": "trainer.driver",
    "train": "trainer.driver",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `everstep --help` need not wait for NumPy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'trainer' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
