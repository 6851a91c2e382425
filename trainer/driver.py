"""A training from beginning to end: data, job, cluster, course, result.

Read `course.py` for what happens in between, `resuming.py` for how one goes on.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace

import numpy as np

from actors.cluster import Cluster, one_blas_thread
from trainer.chronicle import Chronicle
from trainer.cluster_address import options_to_go_on, settled
from trainer.config import Config
from trainer.course import Course, Finished
from trainer.datasets import data_digest, load_dataset
from trainer.early_end import tell_what_is_kept
from trainer.errors import LockLostError
from trainer.faults.faulty_cluster import FaultyCluster
from trainer.faults.log import FaultRecord, read_faults, with_the_rest
from trainer.faults.plan import Plan
from trainer.faults.planned import check_plan
from trainer.job import build_cluster, build_job, build_network
from trainer.keeper import Kept
from trainer.reports import Faulted, Notice, Watcher
from trainer.result import Result
from trainer.resuming import Beginning, begin_again, completed, refuse_idle_options
from trainer.run_directory import RunDirectory
from trainer.storage.place import Place, place_of
from trainer.summing_up import summed_up
from trainer.timekeeping import Timekeeper


def train(
    config: Config | None = None,
    out: str | Place | None = None,
    watchers: Sequence[Watcher] = (),
    faults: Plan | None = None,
    profile: bool = False,
) -> Result:
    """Train as configured and return the final weights.

    Args:
        config: the defaults train the handwritten digits on a private Ray.
        out: the run directory to create, a path or an fsspec URL; None writes nothing.
        watchers: called with every `reports.Report`, in the caller's thread.
        faults: what is done to the training on purpose; needs `out`.
        profile: measure where each step's time goes: `Result.profile`, `out`/trace.json.

    Raises:
        ConfigError: the configured cluster can not suffer these faults, or RAY_ADDRESS is none.
        DataError, RunDirectoryError: before anything is started.
        ClusterError, DivergedError: training could not go on; a note names what is kept.
        CheckpointError, RunWriteError: it is done, but its final state could not be written.
        LockLostError: another process went on with the run, which this one did not hold any more.
    """
    began_s = time.monotonic()
    config = settled(config or Config())
    if faults is not None:
        check_plan(faults, config)
    place = place_of(out, "--out") if out is not None else None
    with _one_way_to_count():
        dataset = load_dataset(config)
        hashed = data_digest(dataset) if place is not None else ""
        directory = RunDirectory.create(place, config) if place is not None else None
        beginning = Beginning(config, dataset, hashed)
        return _Training(beginning, directory, watchers, began_s, faults, profile).result()


def resume(
    directory: str | Place,
    overrides: Sequence[str] = (),
    watchers: Sequence[Watcher] = (),
    faults: Plan | None = None,
    profile: bool = False,
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
        run = RunDirectory.reopen(place_of(directory))
        try:
            beginning = begin_again(run, overrides)
            for line in beginning.complaints:
                _tell(watchers, line)
            if (result := completed(run, beginning)) is not None:
                refuse_idle_options(run, faults is not None, profile)
                _tell(
                    watchers,
                    f"DIR {directory}: is complete already, nothing was run;"
                    " --set training.epochs=N goes on to more epochs",
                )
                return result
            beginning.config = settled(beginning.config)
            if faults is not None:
                check_plan(faults, beginning.config)
            beginning.prepare(run)
            return _Training(beginning, run, watchers, began_s, faults, profile).result()
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
        profile: bool,
    ) -> None:
        self._faults, self._profile = faults, profile
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
        self._timekeeper = Timekeeper(config, self._chronicle, directory, profile)
        self._faulty: FaultyCluster | None = None
        self._fates: Sequence[FaultRecord] = ()  # what became of each fault
        if directory is not None and beginning.resumes:
            self._fates = read_faults(directory.path)
        if beginning.path is not None:
            self._course.keeper.kept = Kept(step, beginning.path)

    def result(self) -> Result:
        """Run it. Whatever stops it says what is kept, and which faults were done to it."""
        try:
            try:
                last = self._run()
            finally:
                self._tell_of_faults()
            return self._finish(last)
        except BaseException as error:
            self._abandon(error)
            raise

    def _run(self) -> Finished:
        beginning = self._beginning
        config, start = beginning.config, beginning.checkpoint
        if beginning.resumes:
            file = beginning.path.name if beginning.path else None
            self._chronicle.resume(beginning.before, file, beginning.resumes)
        last = self._course.skip_what_is_done(beginning.reported_epochs)
        if last is not None:
            return last
        job = build_job(config, self._network, beginning.dataset, start.state if start else None)
        name = self._directory.name if self._directory else job.name
        rounding = self._chronicle.rounding
        job = replace(job, profile=self._profile, name=name, rounding=rounding)
        try:
            with (
                self._with_faults(build_cluster(config, job), job.state.step) as cluster,
                self._timekeeper.over(cluster),
            ):
                return self._course.run(cluster)
        finally:
            self._timekeeper.finish()

    def _with_faults(self, cluster: Cluster, step: int) -> Cluster:
        if self._faults is None or self._directory is None:
            return cluster
        folder, troubles = self._directory.held, self._directory.troubles
        self._faulty = FaultyCluster(cluster, self._faults, folder, step, self._fault, troubles)
        return self._faulty

    def _fault(self, at_s: float, record: FaultRecord) -> None:
        """In the thread that fires faults."""
        cause = None if record.kind == "kill" else f"fault {record.number} ({record.fault})"
        for hit in record.hits:
            self._chronicle.recoveries.fault(hit.name, at_s, cause)

    def _tell_of_faults(self) -> None:
        """Fired or not fired: of every planned fault, however the training ends."""
        if self._faults is not None:
            records = self._faulty.records if self._faulty else ()
            if self._faulty and self._faulty.unwritten:
                self._chronicle.tell(Notice(self._faulty.unwritten))
            fates = self._fates = with_the_rest(records, self._faults)
            self._chronicle.tell(Faulted(self._faults, fates))

    def _finish(self, last: Finished) -> Result:
        """All epochs are done: write down and return what came out."""
        self._chronicle.end("done")
        course = self._course
        summary = summed_up(self._beginning, course, self._chronicle, last, self._fates)
        self._timekeeper.note(summary, course.evaluation_s)
        if self._directory is not None:
            self._directory.finish(asdict(summary))
        path = self._directory.path if self._directory else None
        return Result(
            summary, self._network, last.done.parameters.copy(), path, self._timekeeper.profile
        )

    def _abandon(self, error: BaseException) -> None:
        """Training ends early: say what is kept, and leave no empty run behind."""
        if (directory := self._directory) is None:
            return
        try:
            stop = f"stopped by {error}" if isinstance(error, KeyboardInterrupt) else str(error)
            self._chronicle.end(stop)
            fired = self._faulty is not None and any(r.fired for r in self._faulty.records)
            deaths = self._chronicle.recoveries.deaths
            has_history = bool(deaths or fired or self._beginning.resumes)
            options = options_to_go_on(self._beginning.config, error)
            tell_what_is_kept(error, directory, self._course.keeper, has_history, options)
        except (OSError, LockLostError) as another:
            error.add_note(f"and then: {another}")
        finally:
            directory.release()
