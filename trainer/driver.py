"""A training from beginning to end: data, job, cluster, course, result.

Read `course.py` for what happens in between, `resuming.py` for how one goes on.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from actors.cluster import Cluster, one_blas_thread
from trainer.checkpoints import digest
from trainer.chronicle import Chronicle
from trainer.config import Config
from trainer.course import Course, Finished
from trainer.datasets import data_digest, load_dataset
from trainer.errors import DivergedError
from trainer.faults.faulty_cluster import FaultyCluster
from trainer.faults.log import FaultRecord
from trainer.faults.plan import Plan
from trainer.faults.planned import check_plan
from trainer.job import build_cluster, build_job, build_network
from trainer.keeper import Kept
from trainer.reports import Notice, Watcher
from trainer.result import Result, Summary
from trainer.resuming import Beginning, begin_again, completed
from trainer.run_directory import EVENTS, RunDirectory, resume_command


def train(
    config: Config | None = None,
    out: str | Path | None = None,
    watchers: Sequence[Watcher] = (),
    faults: Plan | None = None,
) -> Result:
    """Train as configured and return the final weights.

    Args:
        config: the defaults train the handwritten digits on a private Ray.
        out: the run directory to create; None writes nothing.
        watchers: called with every `reports.Report`, in the caller's thread.
        faults: what is done to the training on purpose; needs `out`.

    Raises:
        ConfigError: the configured cluster can not suffer these faults.
        DataError, RunDirectoryError: before anything is started.
        ClusterError, DivergedError: training could not go on; a note names what is kept.
        CheckpointError, RunWriteError: it is done, but its final state could not be written.
    """
    config = config or Config()
    began_s = time.monotonic()
    if faults is not None:
        check_plan(faults, config)
    with _one_way_to_count():
        dataset = load_dataset(config)
        hashed = data_digest(dataset) if out is not None else ""
        directory = RunDirectory.create(Path(out), config) if out is not None else None
        beginning = Beginning(config, dataset, hashed)
        return _Training(beginning, directory, watchers, began_s, faults).result()


def resume(
    directory: str | Path,
    overrides: Sequence[str] = (),
    watchers: Sequence[Watcher] = (),
    faults: Plan | None = None,
) -> Result:
    """Go on with a training from its newest intact checkpoint, to the same final weights.

    Args:
        directory: what `train` wrote.
        overrides: `section.key=value` for what does not decide the weights: all of cluster,
            checkpoints and supervision, and training.epochs.

    Raises:
        ConfigError, DataError, RunDirectoryError: it can not go on like that.
        CheckpointError: no checkpoint is intact. Else as `train`.
    """
    began_s = time.monotonic()
    with _one_way_to_count():
        run = RunDirectory.reopen(Path(directory))
        try:
            beginning = begin_again(run, overrides)
            for line in beginning.complaints:
                _tell(watchers, line)
            if (result := completed(run, beginning)) is not None:
                _tell(watchers, f"DIR {directory}: is complete already, nothing was run")
                return result
            if faults is not None:
                check_plan(faults, beginning.config)
            beginning.prepare(run)
            return _Training(beginning, run, watchers, began_s, faults).result()
        finally:
            run.release()


@contextmanager
def _one_way_to_count() -> Iterator[None]:
    """Products round the same everywhere; what overflows is reported once, and not by NumPy."""
    with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
        yield


def _tell(watchers: Sequence[Watcher], line: str) -> None:
    for watcher in watchers:
        watcher(Notice(line))


class _Training:
    """One process's part of a training: all of it, or what an earlier process left."""

    def __init__(
        self,
        beginning: Beginning,
        directory: RunDirectory | None,
        watchers: Sequence[Watcher],
        began_s: float,
        faults: Plan | None,
    ) -> None:
        self._faults = faults
        self._beginning, self._directory = beginning, directory
        config, start = beginning.config, beginning.checkpoint
        self._network = build_network(config)
        step = start.step if start else 0
        earlier = directory.events.lines() if directory and beginning.resumes else []
        self._chronicle = Chronicle(directory, watchers, began_s, step, earlier)
        self._course = Course(
            config,
            self._network,
            beginning.dataset,
            beginning.data_digest,
            directory,
            self._chronicle,
            start,
        )
        if beginning.path is not None:
            self._course.keeper.kept = Kept(step, beginning.path)

    def result(self) -> Result:
        """Run it. Whatever stops it says what is kept."""
        try:
            return self._finish(self._run())
        except BaseException as error:
            self._abandon(error)
            raise

    def _run(self) -> Finished:
        beginning = self._beginning
        config, start = beginning.config, beginning.checkpoint
        if beginning.resumes:
            file = beginning.path.name if beginning.path else None
            self._chronicle.event("resumed", "driver", file=file, count=beginning.resumes)
        last = self._course.skip_what_is_done(beginning.reported_epochs)
        if last is not None:
            return last
        job = build_job(config, self._network, beginning.dataset, start.state if start else None)
        with self._faulty(build_cluster(config, job), job.state.step) as cluster:
            return self._course.run(cluster)

    def _faulty(self, cluster: Cluster, step: int) -> Cluster:
        if self._faults is None or self._directory is None:
            return cluster
        return FaultyCluster(cluster, self._faults, self._directory.path, step, self._fault)

    def _fault(self, at_s: float, record: FaultRecord) -> None:
        """In the thread that fires faults."""
        for hit in record.hits:
            self._chronicle.recoveries.fault(hit.name, at_s)

    def _finish(self, last: Finished) -> Result:
        """All epochs are done: write down and return what came out."""
        done, report = last
        course, told = self._course, self._chronicle.recoveries
        start = self._beginning.checkpoint
        summary = Summary(
            digest=digest(done.parameters),
            accuracy=report.accuracy,
            loss=report.loss,
            test_loss=report.test_loss,
            epochs=report.epoch,
            steps=done.step,
            samples_applied=course.sample_count,
            train_s=course.ended_s - course.started_s,
            wall_s=time.monotonic() - self._chronicle.began_s,
            workers=self._chronicle.most_workers,
            deaths=told.deaths,
            restarts=told.restarts,
            suspicions=told.suspicions,
            refused_connections=told.refused_connections,
            repeated_steps=told.repeated_steps,
            stalls_s=told.stalls_s,
            recoveries=told.since(self._chronicle.began_s),
            resumes=self._beginning.resumes,
            resumed_at_step=start.step if start else 0,
        )
        if self._directory is not None:
            self._directory.finish(asdict(summary))
        path = self._directory.path if self._directory else None
        return Result(summary, self._network, done.parameters, path)

    def _abandon(self, error: BaseException) -> None:
        """Training ends early: say what is kept, and leave no empty run behind."""
        if (directory := self._directory) is None:
            return
        keeper = self._course.keeper
        try:
            if keeper.kept and isinstance(error, DivergedError):
                error.add_note(
                    f"step {keeper.kept.step} is kept: {keeper.kept.path}; resumed from it, the"
                    " training would diverge again"
                )
            elif keeper.kept:
                error.add_note(f"step {keeper.kept.step} is kept: {keeper.kept.path}")
                error.add_note(f"go on with: {resume_command(directory.path)}")
            elif keeper.failure:
                error.add_note(f"nothing could be kept: {keeper.failure}")
            elif self._chronicle.recoveries.deaths or self._beginning.resumes:
                error.add_note(f"no epoch was finished; see {directory.path / EVENTS}")
            else:
                directory.discard()
                error.add_note("no epoch was finished; nothing is kept")
        except OSError as another:
            error.add_note(f"and then: {another}")
        finally:
            directory.release()
