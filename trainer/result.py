"""What a finished training came to: its numbers and its weights."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    train_s: float  # from the first step's start, or the resumption, to the last step's end
    wall_s: float  # all of `train`: with data, start-up, evaluation and shutdown
    workers: int  # the most at once
    # From here on: since the training began, or was resumed for the last time.
    deaths: int
    restarts: int
    suspicions: int  # how often a worker was late, and others computed its shards too
    refused_connections: int
    repeated_steps: int
    stalls_s: list[float]  # each time that someone died or was late: seconds without a step
    recoveries: list[dict[str, Any]]  # of each death and suspicion: `recoveries.Recovery`
    resumes: int = 0  # how often
    resumed_at_step: int = 0  # the last time; 0: never


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
