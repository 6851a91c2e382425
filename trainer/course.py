"""Where a training stands, and what is done about each message from the actors.

It runs the epochs and evaluates them. The weights are the server's: what is held of them for
a crash, and written, is `keeper.py`'s business; what is told, `chronicle.py`'s.
"""

import time
from typing import Final, NamedTuple

from actors.cluster import Cluster, Heard
from actors.errors import ClusterError, ClusterLostError, EverstepError
from actors.messages import SERVER, EpochDone, NotFinite, Progress, RunEpoch, Snapshot
from actors.names import slot_of
from actors.orders import Failed, Joined, Ready
from trainer.checkpoints import Checkpoint
from trainer.chronicle import Chronicle
from trainer.config import Config
from trainer.datasets import Dataset
from trainer.divergence import diverged, epoch_diverged
from trainer.keeper import Keeper, is_finite
from trainer.layout import spans_of
from trainer.local_steps import rounds_of
from trainer.network import Network
from trainer.reports import EpochReport, InEpoch, Started
from trainer.run_directory import RunDirectory
from trainer.stop_signals import StopSignals

_POLL_S: Final = 0.2
_FRESH_S: Final = 2.0  # how long a stopped training waits for the newest state


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
        data_digest: str,
        directory: RunDirectory | None,
        chronicle: Chronicle,
        start: Checkpoint | None = None,
    ) -> None:
        """`start`: where an earlier process left off; None: at the beginning."""
        self._config, self._network, self._dataset = config, network, dataset
        self._data_digest = data_digest
        self._chronicle = chronicle
        self._steps_per_epoch = rounds_of(config.training, len(dataset.train_inputs)).per_epoch
        self._epochs = config.training.epochs
        self._start = start
        self._epoch = start.epoch if start else 0
        # Over the epochs before each one; a state says which one it is in.
        self._samples_before = {self._epoch: start.samples_applied if start else 0}
        self._samples_elsewhere = start.sample_count if start else 0  # of this epoch
        self._last: Finished | None = None
        self.started_s = self._epoch_began_s = self.ended_s = time.monotonic()
        self.evaluation_s = 0.0
        self.keeper = Keeper(
            config.checkpoints, directory, self._checkpoint, chronicle.tell, self.started_s
        )

    @property
    def sample_count(self) -> int:
        """Over all epochs that are done."""
        return self._samples_before[self._epoch]

    def skip_what_is_done(self, reported_epochs: int) -> Finished | None:
        """Close the epoch that a checkpoint ends; the last one is the end of the training.

        Args:
            reported_epochs: how many have their line in metrics.jsonl.
        """
        start = self._start
        if start is None or start.step < (start.epoch + 1) * self._steps_per_epoch:
            return None
        done = EpochDone(*(getattr(start.state, name) for name in Snapshot.__slots__))
        last = self._close_epoch(done, seconds=0.0)
        if reported_epochs <= done.epoch:
            self._chronicle.tell(last.report)
        return last if self._epoch >= self._epochs else None

    def run(self, cluster: Cluster) -> Finished:
        """Until the last epoch is done, evaluated, and on the disk; that epoch."""
        self._wait_for_actors(cluster)
        self.started_s = self._epoch_began_s = self.ended_s = time.monotonic()
        self.keeper.start(self.started_s)
        start_s = self.started_s - self._chronicle.began_s
        self._chronicle.tell(Started(self._epochs, self._steps_per_epoch, start_s))
        with StopSignals() as signals:
            try:
                self._run_epoch(cluster)
                while self._last is None or self._epoch < self._epochs:
                    self._listen(cluster)
                    if signals.noted is not None:
                        self._hold_a_fresh_state(cluster)
                        signals.check()
                self.keeper.finish(self._last.done)
            except BaseException:
                self.keeper.keep()
                raise
        return self._last

    def _wait_for_actors(self, cluster: Cluster) -> None:
        """Until enough of them are there; what is heard meanwhile is told at once."""
        ready = False
        while not ready:
            if (heard := cluster.receive(_POLL_S)) is not None:
                self._hear(cluster, heard)
                ready = isinstance(heard.message, Ready)
            self._chronicle.tell_trouble()

    def _listen(self, cluster: Cluster) -> None:
        heard = cluster.receive(self.keeper.ask(cluster, time.monotonic()))
        self.keeper.poll()
        if heard is not None:
            self._hear(cluster, heard)
        self._chronicle.tell_trouble()

    def _hear(self, cluster: Cluster, heard: Heard) -> None:
        at_s, message = heard
        self._chronicle.note(heard)
        match message:
            case EpochDone():
                self._epoch_done(cluster, message, at_s)
            case Snapshot():
                self.keeper.hold(message, at_s)
            case Progress():
                self.keeper.server_told(at_s)
                self._in_epoch(message, at_s)
            case Joined(name) if slot_of(name) == SERVER:
                self.keeper.server_told(at_s)
            case NotFinite():
                spans = spans_of(self._config.network.sizes)
                raise diverged(message, spans, self._config.training)
            case Failed(reason, step=known, cluster_is_lost=lost):
                step = max(known, self._chronicle.step)
                raise (ClusterLostError if lost else ClusterError)(
                    f"training stopped after step {step}: {reason}"
                )

    def _hold_a_fresh_state(self, cluster: Cluster) -> None:
        """Wait a moment for the state that is the newest; else the one held has to do."""
        until_s = time.monotonic() + _FRESH_S
        try:
            cluster.take_snapshot()
            while (left_s := until_s - time.monotonic()) > 0:
                if (heard := cluster.receive(left_s)) is None:
                    return None
                self._chronicle.note(heard)
                if isinstance(heard.message, Snapshot):
                    return self.keeper.hold(heard.message, heard.at_s)
        except EverstepError:
            return None  # the training was about to fail: it is stopped anyway

    def _run_epoch(self, cluster: Cluster) -> None:
        cluster.run_epoch(RunEpoch(self._epoch, (self._epoch + 1) * self._steps_per_epoch))

    def _epoch_done(self, cluster: Cluster, done: EpochDone, at_s: float) -> None:
        """Let the next epoch begin, then look at this one."""
        if done.epoch != self._epoch:
            return  # said again by a server that was restored
        if not is_finite(done):
            raise epoch_diverged(done, self._steps_per_epoch, self._config.training)
        self.ended_s = time.monotonic()
        seconds, self._epoch_began_s = self.ended_s - self._epoch_began_s, self.ended_s
        if done.epoch + 1 < self._epochs:
            cluster.run_epoch(RunEpoch(done.epoch + 1, done.step + self._steps_per_epoch))
        self._chronicle.tell(self._close_epoch(done, seconds).report)
        if self._epoch < self._epochs:  # the last state is written by `run`
            self.keeper.hold(done, at_s)

    def _close_epoch(self, done: EpochDone, seconds: float) -> Finished:
        self._epoch = done.epoch + 1
        self._samples_before[self._epoch] = self._samples_before[done.epoch] + done.sample_count
        began_s = time.monotonic()
        self._last = Finished(done, self._evaluate(done, seconds))
        self.evaluation_s += time.monotonic() - began_s
        self._samples_elsewhere = 0
        return self._last

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
            samples_per_second=self._rate(done.sample_count, seconds),
            workers=len(self._chronicle.roster.workers),
            nodes=len(self._chronicle.roster.nodes),
        )

    def _in_epoch(self, progress: Progress, at_s: float) -> None:
        self._chronicle.tell(
            InEpoch(
                progress.epoch + 1,
                progress.step,
                progress.loss_sum / progress.sample_count,
                self._rate(progress.sample_count, at_s - self._epoch_began_s),
                len(self._chronicle.roster.workers),
                len(self._chronicle.roster.nodes),
            )
        )

    def _rate(self, sample_count: int, seconds: float) -> float:
        """Samples a second, of those that this process saw."""
        return (sample_count - self._samples_elsewhere) / seconds if seconds > 0 else 0.0

    def _checkpoint(self, state: Snapshot) -> Checkpoint:
        return Checkpoint(
            self._config,
            state.epoch,
            state.step,
            state.sample_count,
            state.loss_sum,
            self._samples_before[state.epoch],
            state.parameters,
            state.optimizer_state,
            self._dataset.scaler,
            self._dataset.classes,
            self._dataset.columns,
            self._data_digest,
        )
