"""What a finished training came to: its numbers and its weights."""

from dataclasses import dataclass, field
from pathlib import Path

from actors.messages import Vector
from trainer.network import Network


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers of a finished run: result.json."""

    digest: str
    accuracy: float  # on the test set
    loss: float  # mean training loss of the last epoch
    test_loss: float
    epochs: int
    steps: int
    samples_applied: int
    train_s: float  # from the first step's start to the last step's end
    wall_s: float  # all of `train`: with data, start-up, evaluation and shutdown
    workers: int
    deaths: int
    restarts: int
    repeated_steps: int
    stalls_s: list[float]  # for each death before the last step: seconds around it without a step


@dataclass(frozen=True, slots=True)
class Result:
    """A finished training: its numbers, the final weights, and the network to use them with."""

    summary: Summary
    network: Network = field(repr=False)
    parameters: Vector = field(repr=False)
    directory: Path | None

    @property
    def digest(self) -> str:
        """BLAKE2b-256 of the final weights."""
        return self.summary.digest

    @property
    def accuracy(self) -> float:
        """On the test set."""
        return self.summary.accuracy
