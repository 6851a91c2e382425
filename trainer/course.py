"""Where a training stands, and what is done about each message from the actors.

It evaluates, reports, counts, and writes checkpoints. The weights are the server's: of them it
holds only what the last finished epoch sent.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from actors.cluster import Cluster
from actors.errors import ClusterError, EverstepError
from actors.messages import (
    Assigned,
    Died,
    DriverMessage,
    EpochDone,
    Failed,
    Joined,
    Progress,
    RunEpoch,
    Stall,
)
from trainer.checkpoints import Checkpoint, digest
from trainer.config import Config
from trainer.datasets import Dataset
from trainer.errors import DivergedError
from trainer.network import Network
from trainer.reports import CheckpointWritten, EpochReport, Event, InEpoch, Report, Started, Watcher
from trainer.result import Result, Summary
from trainer.run_directory import EVENTS, RunDirectory
from trainer.shards import steps_per_epoch


class Finished(NamedTuple):
    """An epoch that is done and evaluated."""

    done: EpochDone
    report: EpochReport


class Course:
    """Where a training stands, and what is done about each message."""

    def __init__(
        self,
        config: Config,
        network: Network,
        dataset: Dataset,
        directory: RunDirectory | None,
        watchers: Sequence[Watcher],
        began_s: float,
    ) -> None:
        self._config, self._network, self._dataset = config, network, dataset
        self._directory = directory
        self._watchers: list[Watcher] = [*([directory] if directory else []), *watchers]
        self._began_s = began_s
        training = config.training
        self._steps_per_epoch = steps_per_epoch(
            len(dataset.train_inputs), training.shards, training.batch_size
        )
        self._last: Finished | None = None
        self._step = 0
        self._started_s = self._epoch_began_s = self._ended_s = began_s
        self._workers: set[str] = set()
        self._sample_count = 0
        self._deaths = 0
        self._stalls_s: list[float] = []

    def run(self, cluster: Cluster) -> Finished:
        """Until the last epoch is done and evaluated; that epoch."""
        epochs = self._config.training.epochs
        self._started_s = self._epoch_began_s = time.perf_counter()
        self._tell(Started(epochs, self._steps_per_epoch, self._started_s - self._began_s))
        self._run_epoch(cluster, 0)
        while (last := self._last) is None or last.report.epoch < epochs:
            self._handle(cluster, cluster.receive())
        return last

    def abandon(self, error: BaseException) -> None:
        """Training ends early: keep what is done, say where, and leave no empty run behind."""
        if self._directory is None:
            return
        try:
            if self._last is None and self._deaths:
                error.add_note(f"no epoch was finished; see {self._directory.path / EVENTS}")
            elif self._last is None:
                self._directory.discard()
                error.add_note("no epoch was finished; nothing is kept")
            else:
                path = self._directory.save(self._checkpoint(self._last.done))
                error.add_note(f"epoch {self._last.report.epoch} is kept: {path}")
        except (OSError, EverstepError) as another:
            error.add_note(f"and then: {another}")

    def finish(self, last: Finished) -> Result:
        """All epochs are done: write down and return what came out."""
        done, report = last
        summary = Summary(
            digest=digest(done.parameters),
            accuracy=report.accuracy,
            loss=report.loss,
            test_loss=report.test_loss,
            epochs=report.epoch,
            steps=done.step,
            samples_applied=self._sample_count,
            train_s=self._ended_s - self._started_s,
            wall_s=time.perf_counter() - self._began_s,
            workers=self._config.cluster.workers,
            deaths=self._deaths,
            restarts=0,
            repeated_steps=0,
            stalls_s=self._stalls_s,
        )
        if self._directory is not None:
            self._directory.finish(asdict(summary))
        path = self._directory.path if self._directory else None
        return Result(summary, self._network, done.parameters, path)

    def _handle(self, cluster: Cluster, message: DriverMessage) -> None:
        match message:
            case EpochDone():
                self._epoch_done(cluster, message)
            case Progress():
                self._in_epoch(message)
            case Joined(name, host, process_id):
                self._workers.add(name)
                self._event("joined", name, host=host, process_id=process_id)
            case Died(name, reason):
                self._workers.discard(name)
                self._deaths += 1
                self._event("died", name, reason=reason)
            case Assigned(name, shards):
                self._event("assigned", name, shards=list(shards))
            case Stall(name, step, seconds):
                self._stalls_s.append(seconds)
                self._event("stalled", name, finished_step=step, seconds=seconds)
            case Failed(reason):
                raise ClusterError(f"training stopped after step {self._step}: {reason}")

    def _run_epoch(self, cluster: Cluster, epoch: int) -> None:
        cluster.run_epoch(RunEpoch(epoch, (epoch + 1) * self._steps_per_epoch))

    def _epoch_done(self, cluster: Cluster, done: EpochDone) -> None:
        """Let the next epoch begin, then look at this one."""
        self._ended_s = time.perf_counter()
        seconds, self._epoch_began_s = self._ended_s - self._epoch_began_s, self._ended_s
        self._step = done.step
        self._check_finite(done)
        last = done.epoch == self._config.training.epochs - 1
        if not last:
            self._run_epoch(cluster, done.epoch + 1)
        self._sample_count += done.sample_count
        report = self._evaluate(done, seconds)
        self._last = Finished(done, report)
        self._tell(report)
        if last or (done.epoch + 1) % self._config.checkpoints.every_epochs == 0:
            self._save(done)

    def _save(self, done: EpochDone) -> None:
        if self._directory is not None:
            self._tell(CheckpointWritten(self._directory.save(self._checkpoint(done))))

    def _check_finite(self, done: EpochDone) -> None:
        if not (math.isfinite(done.loss_sum) and np.isfinite(done.parameters).all()):
            first = done.step - self._steps_per_epoch + 1
            raise DivergedError(
                f"training diverged: the loss is {done.loss_sum / done.sample_count:g} in epoch"
                f" {done.epoch + 1} (steps {first} to {done.step}); lower training.learning_rate,"
                f" now {self._config.training.learning_rate:g}"
            )

    def _evaluate(self, done: EpochDone, seconds: float) -> EpochReport:
        dataset = self._dataset
        evaluation = self._network.evaluate(
            done.parameters, dataset.test_inputs, dataset.test_targets
        )
        return EpochReport(
            epoch=done.epoch + 1,
            step=done.step,
            loss=done.loss_sum / done.sample_count,
            test_loss=evaluation.loss,
            accuracy=evaluation.accuracy,
            seconds=seconds,
            samples_per_second=done.sample_count / seconds,
            workers=len(self._workers),
        )

    def _in_epoch(self, progress: Progress) -> None:
        self._step = progress.step
        seconds = time.perf_counter() - self._epoch_began_s
        self._tell(
            InEpoch(
                progress.epoch + 1,
                progress.step,
                progress.loss_sum / progress.sample_count,
                progress.sample_count / seconds,
                len(self._workers),
            )
        )

    def _checkpoint(self, done: EpochDone) -> Checkpoint:
        return Checkpoint(
            self._config,
            done.epoch + 1,
            done.step,
            done.parameters,
            done.optimizer_state,
            self._dataset.scaler,
            self._dataset.classes,
            self._dataset.columns,
        )

    def _event(self, event: str, worker: str, **details: Any) -> None:
        at_s = round(time.perf_counter() - self._began_s, 6)
        self._tell(Event(at_s, self._step, event, worker, details))

    def _tell(self, report: Report) -> None:
        for watcher in self._watchers:
            watcher(report)
