"""What a finished training came to: its numbers and its weights."""

from dataclasses import dataclass, field
from typing import Any

from actors.messages import Vector
from trainer.network import Network
from trainer.profile import Profile
from trainer.storage.place import Place


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
    # From here on: over all processes of the run.
    deaths: int  # of actors, and of drivers that were resumed
    restarts: int  # likewise
    suspicions: int  # how often a worker was late, and others computed its shards too
    refused_connections: int
    repeated_steps: int
    stalls_s: list[float]  # each time that someone died or was late: seconds without a step
    recoveries: list[dict[str, Any]]  # of each death and suspicion: `recovery.Recovery`
    resumes: int = 0  # how often
    resumed_at_step: int = 0  # the last time; 0: never
    resumed_at_sample: int = 0  # so many of samples_applied were an earlier process's
    start_s: float = 0.0  # from the call to the first step: data, Ray, the actors; 0: unknown
    unlike_hosts: list[dict[str, Any]] = field(default_factory=list)  # those that round otherwise
    nodes: list[str] = field(default_factory=list)  # all that had an actor, over all processes
    local_steps: int = 1  # at most so many of each shard in one of the steps
    faults: list[dict[str, Any]] = field(
        default_factory=list
    )  # of a plan: `faults.log.FaultRecord`


@dataclass(frozen=True, slots=True)
class Result:
    """A finished training: its numbers, the final weights, and the network to use them with."""

    summary: Summary
    network: Network = field(repr=False)
    parameters: Vector = field(repr=False)
    directory: Place | None  # a `StoredPath` if it is in a store
    profile: Profile | None = field(default=None, repr=False)  # if one was asked for

    @property
    def digest(self) -> str:
        """BLAKE2b-256 of the final weights."""
        return self.summary.digest

    @property
    def accuracy(self) -> float:
        """On the test set."""
        return self.summary.accuracy
