"""Ray Train under kills: a `TorchTrainer` with `FailureConfig` and periodic checkpoints.

Set up as Ray's guides "Handling Failures and Node Preemption" and "Saving and Loading
Checkpoints" say: two workers, DistributedDataParallel on gloo, `FailureConfig(max_failures)`,
rank 0 writes model, optimizer and step with `ray.train.report` every so many steps, a restarted
worker group loads the newest checkpoint. All of Ray's own settings keep their defaults, and what
the environment says (RAY_TRAIN_HEALTH_CHECK_INTERVAL_S and so on) reaches Ray unchanged.

Why 100 steps from checkpoint to checkpoint: Ray's controller takes one report per worker and
poll, every 2 s by default, and a report waits for the one before it to be taken. So 100 steps of
20 ms is about the shortest interval that does not slow the training down. A checkpoint counts
once it is taken, so that a kill may repeat up to an interval and a poll's worth of steps.

    python -m benchmarks.peers.ray_train --kills 3 --seed 0 --out ray-train.json
"""

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.kills import (
    WORKERS,
    Kills,
    PeerError,
    arguments,
    command,
    emulate_compute,
    report,
    require,
)
from benchmarks.peers.private_ray import private_ray
from benchmarks.step_log import StepLog

_STOP = "stop-after-step"
_MORE_STEPS = 50  # the workers read the last step's number this long before they reach it
_STATE = "state.pt"


def main() -> int:
    """The command; its exit status."""
    parser = arguments("ray_train", "Kill workers of a Ray Train TorchTrainer.")
    parser.add_argument(
        "--checkpoint-every",
        type=int,
        default=100,
        help="steps from checkpoint to checkpoint (default: %(default)s, 2 s of training)",
    )
    options = parser.parse_args()
    require("ray", "torch", "pandas", "pyarrow")
    return command(lambda: _measure(options))


def _measure(options: argparse.Namespace) -> None:
    settings = {
        "max_failures": options.kills,
        "checkpoint_every_steps": options.checkpoint_every,
        "else": "Ray's defaults",
    }
    with tempfile.TemporaryDirectory(prefix="peer-") as name:
        folder = Path(name)
        with private_ray(folder):
            training = _Training(folder, options)
            kills = Kills(folder, options, training.check)
            costs = kills.run()
            training.stop(kills.last_step() + _MORE_STEPS, options.wait_s)
        step_s = kills.undisturbed_step_s()
    report("Ray Train", options, ["ray", "torch"], settings, costs, step_s)


class _Training:
    """`TorchTrainer.fit` in a thread, since it blocks until the training is over."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._stop_file = folder / _STOP
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._fit, args=(folder, options), daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise when it is over though nobody stopped it."""
        if not self._thread.is_alive():
            raise PeerError(f"the training ended by itself: {self._error}")

    def stop(self, step: int, wait_s: float) -> None:
        """Let all workers end after ``step``, which none has reached yet."""
        draft = self._stop_file.with_suffix(".draft")
        draft.write_text(str(step))
        draft.replace(self._stop_file)
        self._thread.join(wait_s)
        if self._thread.is_alive():
            raise PeerError(f"the end of the training: not within {wait_s:g} s; see --wait-s")
        if self._error:
            raise PeerError(f"the training failed at its end: {self._error}")

    def _fit(self, folder: Path, options: argparse.Namespace) -> None:
        from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        trainer = TorchTrainer(
            _train,
            train_loop_config={
                "folder": str(folder),
                "step_s": options.step_s,
                "checkpoint_every": options.checkpoint_every,
            },
            scaling_config=ScalingConfig(num_workers=WORKERS),
            run_config=RunConfig(
                name="recovery",
                storage_path=str(folder / "results"),
                failure_config=FailureConfig(max_failures=options.kills),
                checkpoint_config=CheckpointConfig(num_to_keep=2),
            ),
        )
        try:
            trainer.fit()
        except Exception as error:  # of any kind, told by `check` in the main thread
            self._error = error


def _train(config: dict[str, Any]) -> None:
    """One worker: data-parallel steps from the newest checkpoint on, until told to stop."""
    import ray.train
    import ray.train.torch
    import torch

    folder = Path(config["folder"])
    rank = ray.train.get_context().get_world_rank()
    torch.manual_seed(0)
    model = ray.train.torch.prepare_model(torch.nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    step = _restore(ray.train.get_checkpoint(), model, optimizer)
    with StepLog(folder, rank) as log:
        while not _stopped(folder / _STOP, step):
            step += 1
            started_s = time.monotonic()
            rows = torch.Generator().manual_seed(step * WORKERS + rank)
            inputs = torch.randn(16, 64, generator=rows)
            labels = torch.randint(10, (16,), generator=rows)
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(inputs), labels)
            emulate_compute(started_s, config["step_s"])
            loss.backward()  # DistributedDataParallel averages the gradients here
            optimizer.step()
            log.append(step, batch=step)
            if step % config["checkpoint_every"] == 0:
                _report(step, loss.item(), model, optimizer, saves=rank == 0)


def _restore(checkpoint: Any, model: Any, optimizer: Any) -> int:
    """Load the checkpoint, if there is one; the steps it holds."""
    import torch

    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as directory:
        state = torch.load(Path(directory) / _STATE)
    model.module.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _report(step: int, loss: float, model: Any, optimizer: Any, saves: bool) -> None:
    """Report to Ray Train, with a checkpoint from the rank that saves; a barrier for all ranks."""
    import ray.train
    import torch

    metrics = {"step": step, "loss": loss}
    if not saves:
        ray.train.report(metrics)
        return
    state = {
        "step": step,
        "model": model.module.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    with tempfile.TemporaryDirectory() as directory:
        torch.save(state, Path(directory) / _STATE)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(directory))


def _stopped(stop_file: Path, step: int) -> bool:
    return stop_file.exists() and step >= int(stop_file.read_text())


if __name__ == "__main__":
    sys.exit(main())
