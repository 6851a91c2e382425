"""Asks the actors how they spent their time, and makes of it a profile, a trace or a note.

Without --profile only the end of a training on Ray with several workers asks, and only for
sums: are the workers worth their messages?
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Final

from actors.cluster import Cluster
from actors.errors import EverstepError
from actors.messages import Times
from trainer.advice import too_small
from trainer.chronicle import Chronicle
from trainer.config import Config
from trainer.errors import LockLostError
from trainer.files import write_atomically
from trainer.profile import Profile, Setting
from trainer.reports import Notice, Profiled
from trainer.result import Summary
from trainer.run_directory import RunDirectory
from trainer.run_place import TRACE
from trainer.trace import trace_pieces

_PATIENCE_S: Final = 1.0


class Timekeeper:
    """Asks when a training ends, and says what came of it."""

    def __init__(
        self, config: Config, chronicle: Chronicle, directory: RunDirectory | None, profile: bool
    ) -> None:
        """`profile`: one is wanted; its trace goes into the directory, if there is one."""
        self._config, self._chronicle, self._directory = config, chronicle, directory
        self._is_wanted = profile
        self._all_answered = False
        self.profile: Profile | None = None

    @contextmanager
    def over(self, cluster: Cluster) -> Iterator[None]:
        """While the training runs; who stops it wants the profile all the same."""
        try:
            yield
        except KeyboardInterrupt:
            if self._is_wanted:
                self._ask(cluster)
            raise
        if self._is_wanted or self._is_in_question():
            self._ask(cluster)

    def finish(self) -> None:
        """Write the trace and tell the profile, if one is wanted and there is anything in it."""
        heard = self._chronicle.times
        actors = heard.actors()
        if not self._is_wanted or not actors:
            return
        self.profile = Profile(actors, self._setting(), left_out=heard.left_out)
        if self._directory is not None:
            self._write_trace(self.profile, self._directory)
        self._chronicle.tell(Profiled(self.profile))

    def note(self, summary: Summary, evaluation_s: float) -> None:
        """Say that one process would be quicker, if the numbers say so.

        Args:
            evaluation_s: what one process would have to do besides.
        """
        step_count = summary.steps - summary.resumed_at_step
        if self._is_wanted or not self._all_answered or summary.deaths or step_count < 1:
            return
        workers_s, server_s = self._chronicle.times.worked_s()
        line = too_small(
            summary.train_s / step_count,
            [worked_s / step_count for worked_s in workers_s],
            server_s / step_count,
            evaluation_s / step_count,
        )
        if line is not None:
            self._chronicle.tell(Notice(line))

    def _is_in_question(self) -> bool:
        on_ray = self._config.cluster.kind == "ray"
        undisturbed = not self._chronicle.recoveries.deaths  # who died took its sums along
        return on_ray and undisturbed and self._chronicle.roster.most_workers > 1

    def _ask(self, cluster: Cluster) -> None:
        """Until all have answered, or for a moment."""
        asked, answered = set(cluster.take_times()), self._chronicle.times.answered
        until_s = time.monotonic() + _PATIENCE_S
        with suppress(EverstepError):  # the training is over all the same
            while asked - answered and (left_s := until_s - time.monotonic()) > 0:
                # Whoever dies now has done all of its work: it is no death of the training.
                if (heard := cluster.receive(left_s)) and isinstance(heard.message, Times):
                    self._chronicle.note(heard)
        self._all_answered = bool(asked) and asked <= answered

    def _setting(self) -> Setting:
        training, kind = self._config.training, self._config.cluster.kind
        cores = len(os.sched_getaffinity(0))
        workers = self._chronicle.roster.most_workers
        return Setting(kind == "local", workers, training.shards, training.batch_size, cores)

    def _write_trace(self, profile: Profile, directory: RunDirectory) -> None:
        path, heard = directory.path / TRACE, self._chronicle.times
        unwritten = "; the trace is not written"
        pieces = trace_pieces(heard.lanes(), self._chronicle.began_s, heard.left_out)
        try:
            write_atomically(directory.held / TRACE, pieces)
        except OSError as error:
            self._chronicle.tell(Notice(f"{path}: {error.strerror}{unwritten}"))
        except LockLostError as error:  # with which the training ends
            self._chronicle.tell(Notice(f"{error}{unwritten}"))
        else:
            self.profile = replace(profile, trace=path)
