"""Holds the newest state, asks for the next one when it is due, and has them written.

Without a run directory, states are asked for and held all the same: a server that dies
comes back from the newest one. So they are while a file is being written: a slow disk makes
files rarer, not states. Read on in `cadence.py` and `checkpoint_writer.py`.
"""

import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from actors.cluster import Cluster
from actors.messages import EpochDone, Snapshot
from trainer.cadence import Cadence
from trainer.checkpoint_writer import CheckpointWriter, Written, written
from trainer.checkpoints import Checkpoint
from trainer.errors import LockLostError
from trainer.files import FOLDER
from trainer.reports import CheckpointFailed, CheckpointWritten, Report
from trainer.run_directory import RunDirectory
from trainer.running_config import CheckpointsConfig
from trainer.storage.place import Place

_POLL_S: Final = 0.2


class Kept(NamedTuple):
    """A state that is on the disk."""

    step: int
    path: Place


class Keeper:
    """The newest state in memory, and the newest one on the disk."""

    def __init__(
        self,
        config: CheckpointsConfig,
        directory: RunDirectory | None,
        describe: Callable[[Snapshot], Checkpoint],
        tell: Callable[[Report], None],
        now_s: float,
    ) -> None:
        """`describe` makes a checkpoint of a state that is passed to `hold`."""
        # Each by its own cost: what a state takes of the training, what a file takes beside it.
        self._states = Cadence(config.time_share, config.every_s, now_s)
        self._files = Cadence(config.time_share, config.every_s, now_s)
        self._directory, self._describe, self._tell = directory, describe, tell
        self._writer = CheckpointWriter(directory.save) if directory else None
        self._newest: Checkpoint | None = None
        self._failed_step = -1
        self.failure = ""  # why the last one that could not be written could not
        self.kept: Kept | None = None

    def start(self, now_s: float) -> None:
        """The first step begins."""
        self._states.begin(now_s)
        self._files.begin(now_s)

    def ask(self, cluster: Cluster, now_s: float) -> float:
        """Ask for a snapshot if one is due; how long to listen before this is called again."""
        if self._states.is_due(now_s):
            self._states.began(now_s)
            cluster.take_snapshot()
        return min(_POLL_S, self._states.wait_s(now_s))

    def server_told(self, now_s: float) -> None:
        """It told something else, or is a new one, so its state had not begun to come before.

        What a link carries stays in order, and a server tells where it is before it sends its
        state: the time that it hung, or was busy with a step, is not what a snapshot costs.
        """
        if self._states.in_flight:
            self._states.began(now_s)

    def hold(self, state: Snapshot, now_s: float) -> None:
        """Take a state that was heard, and have it written if a file is due."""
        began_s = time.monotonic()
        if is_finite(state) and (self._newest is None or state.step > self._newest.step):
            self._newest = self._describe(state)
        to_write = self._newest_to_write() if self._files.is_due(now_s) else None
        if to_write and self._writer:
            self._files.began(now_s)
            self._writer.submit(to_write)
        # An epoch's end is a snapshot too, but not the answer to a request. One that is written
        # stands for the next one, so that a file is due again when a snapshot is.
        states, is_answer = self._states, not isinstance(state, EpochDone)
        stands_for_one = states.is_due(now_s) or (to_write is not None and not states.in_flight)
        if is_answer or stands_for_one:
            states.over(states.spent_s(now_s) + time.monotonic() - began_s, now_s)

    def poll(self) -> None:
        """Tell of what was written meanwhile."""
        for each in self._writer.finished() if self._writer else []:
            self._files.over(each.seconds)
            self._take(each)

    def finish(self, state: Snapshot) -> None:
        """Write the final state, now.

        Raises:
            CheckpointError, LockLostError: it could not be written.
        """
        self._newest = self._describe(state)
        self._close()
        if newest := self._newest_to_write():
            self._failed_step = newest.step  # not to be tried again
            final = self._save_now(newest)
            if isinstance(final.outcome, Exception):
                self.failure = str(final.outcome)
                final.outcome.add_note(
                    f"training is done, but its final state, after step {newest.step}, is not saved"
                )
                raise final.outcome
            self._take(final)

    def keep(self) -> None:
        """Write the newest state that is held, unless it is on the disk; tell what came of it."""
        self._close()
        newest = self._newest_to_write()
        if newest is not None and newest.step != self._failed_step:
            self._take(self._save_now(newest))

    def _save_now(self, checkpoint: Checkpoint) -> Written:
        """As the writer does, in this thread."""
        assert self._directory is not None  # noqa: S101 - or there is nothing to write
        return written(self._directory.save, checkpoint, time.monotonic)

    def _close(self) -> None:
        """Wait for what is being written."""
        if self._writer is not None:
            self._writer.close()
        self.poll()

    def _newest_to_write(self) -> Checkpoint | None:
        newest = self._newest if self._directory else None
        if newest is None or newest.step <= (self.kept.step if self.kept else 0):
            return None
        return newest

    def _take(self, outcome_of: Written) -> None:
        assert self._directory is not None  # noqa: S101 - or there was nothing to write
        (step, outcome, seconds), troubles = outcome_of, self._directory.troubles
        if not isinstance(outcome, Exception):
            self.kept = Kept(step, outcome)
            troubles.over(FOLDER)
            self._tell(CheckpointWritten(outcome, step, seconds))
        else:
            self._failed_step, self.failure = step, str(outcome) or repr(outcome)
            if not isinstance(outcome, LockLostError):  # with which the training ends
                again = not troubles.met(FOLDER, outcome)
                self._tell(CheckpointFailed(self.failure, step, again))


def is_finite(state: Snapshot) -> bool:
    """Whether a training can go on from it."""
    arrays = (state.parameters, state.optimizer_state)
    return math.isfinite(state.loss_sum) and all(bool(np.isfinite(a).all()) for a in arrays)
