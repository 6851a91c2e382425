"""Who takes part in the comparison, in the order of their turns."""

from dataclasses import dataclass
from typing import Final, Literal

OURS: Final = "everstep-2"
LOCAL: Final = "local"
LIMIT: Final = "products"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A module of `benchmarks` that is run as a process of its own.

    Attributes:
        once: takes its turn in the first repetition only: its time is in no ratio.
    """

    name: str
    label: str
    kind: Literal["everstep", "peer", "floor"]
    module: str
    arguments: tuple[str, ...] = ()
    once: bool = False

    @property
    def command(self) -> tuple[str, ...]:
        """What Python is told."""
        return ("-m", f"benchmarks.{self.module}", *self.arguments)


def _everstep(
    name: str, label: str, kind: str, workers: int, shards: int, once: bool = False
) -> Contestant:
    arguments = ("--kind", kind, "--workers", str(workers), "--shards", str(shards))
    return Contestant(name, label, "everstep", "everstep_turn", arguments, once)


CONTESTANTS: Final = (
    _everstep(OURS, "Everstep, Ray, 2 workers", "ray", 2, 2),
    Contestant("torch-ddp", "PyTorch DDP, gloo, 2 procs", "peer", "peers.torch_ddp"),
    Contestant("ray-calls", "Ray actor calls, 2 workers", "peer", "peers.ray_calls"),
    _everstep("everstep-1", "Everstep, Ray, 1 worker", "ray", 1, 2, once=True),
    _everstep(LOCAL, "Everstep, local, 1 shard", "local", 1, 1),
    _everstep("local-2", "Everstep, local, 2 shards", "local", 1, 2),
    Contestant("torch-1", "PyTorch, 1 thread", "peer", "peers.torch_one", ("--threads", "1")),
    Contestant("torch-2", "PyTorch, 2 threads", "peer", "peers.torch_one", ("--threads", "2")),
    Contestant("scikit", "scikit-learn MLPClassifier", "peer", "peers.scikit"),
    Contestant("per-sample", "NumPy, sample by sample", "peer", "peers.per_sample"),
    Contestant("shared", "Floor: bare shared memory", "floor", "peers.bare_shared"),
    Contestant(LIMIT, "Floor: its products alone", "floor", "peers.products"),
)

LABELS: Final = {contestant.name: contestant.label for contestant in CONTESTANTS}
