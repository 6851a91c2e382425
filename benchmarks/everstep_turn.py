"""Everstep's turn: the product as shipped, through `trainer.train`, snapshots on, a run written.

    python -m benchmarks.everstep_turn --kind ray --workers 2 --shards 2 ...

The time of a step is the summary's: all steps, their snapshots and the ends of the epochs, no
warm-up taken off. States are asked for every quarter of a second instead of every second, so that
also these short runs hold what snapshots cost. The digest is the one that result.json has.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import turn
from benchmarks.cases import CLASSES, LEARNING_RATE, SEED, Case, rows_path
from trainer.config import Config

_SNAPSHOT_EVERY_S = 0.25


def main() -> int:
    """The turn; its exit status."""
    parser = turn.arguments(__doc__)
    parser.add_argument("--kind", choices=("ray", "local"), required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--shards", type=int, required=True)
    options = turn.begin(parser)
    import trainer.driver  # noqa: F401 - what a training imports anyway, counted as start-up

    if options.kind == "ray":
        import actors.ray_cluster  # noqa: F401

    turn.write(options, turn.take(options, lambda case, folder: _train(case, folder, options)))
    return 0


def configured(case: Case, folder: Path, kind: str, workers: int, shards: int) -> Config:
    """The case as Everstep's users write it."""
    return Config(
        data={
            "source": "npz",
            "path": rows_path(case, folder),
            "test_features": "test_x",
            "test_labels": "test_y",
            "scaling": "none",
            "classes": tuple(range(CLASSES)),
        },
        network={
            "sizes": case.sizes,
            "activation": case.activation,
            "output": "softmax",
            "loss": "cross_entropy",
        },
        training={
            "epochs": case.epochs,
            "batch_size": case.batch,
            "shards": shards,
            "learning_rate": LEARNING_RATE,
            "seed": SEED,
        },
        cluster={"kind": kind, "workers": workers},
        checkpoints={"every_s": _SNAPSHOT_EVERY_S},
    )


def _train(case: Case, folder: Path, options: argparse.Namespace) -> turn.Trained:
    from trainer import train
    from trainer.reports import CheckpointWritten, Report, Started

    heard: list[Report] = []
    with tempfile.TemporaryDirectory(dir=folder) as name:
        config = configured(case, folder, options.kind, options.workers, options.shards)
        called_s = time.monotonic()
        result = train(config, out=Path(name) / "run", watchers=[heard.append])
    start_s = next(report.start_s for report in heard if isinstance(report, Started))
    first_s, summary = called_s + start_s, result.summary
    return turn.Trained(
        first_s,
        first_s + summary.train_s,
        result.parameters,
        summary.steps,
        {
            "digest": result.digest,
            "workers": summary.workers,
            "shards": options.shards,
            "checkpoints": sum(isinstance(report, CheckpointWritten) for report in heard),
            "deaths": summary.deaths,
        },
    )


if __name__ == "__main__":
    sys.exit(main())
