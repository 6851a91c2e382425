"""One cause is told once while it lasts, whichever file met it."""

from trainer.errors import CheckpointError, EverstepError, LockLostError, RunWriteError
from trainer.files import FOLDER
from trainer.write_troubles import WriteTroubles


def failed(kind: type[EverstepError], number: int, strerror: str) -> EverstepError:
    """As the trainer raises it: where the system's own is caught."""
    try:
        try:
            raise OSError(number, strerror)
        except OSError as error:
            raise kind(f"file: {error.strerror}") from None
    except kind as error:
        return error


def full(kind: type[EverstepError] = RunWriteError) -> EverstepError:
    return failed(kind, 28, "No space left on device")


def test_a_cause_is_news_once_whichever_file_meets_it() -> None:
    troubles = WriteTroubles()
    assert troubles.met("metrics.jsonl", full())
    assert not troubles.met(FOLDER, full(CheckpointError))
    assert not troubles.met("events.jsonl", OSError(28, "No space left on device"))
    assert troubles.met("events.jsonl", failed(RunWriteError, 13, "Permission denied"))
    assert troubles.met(FOLDER, MemoryError())  # no system's
    assert not troubles.met(FOLDER, MemoryError())


def test_a_cause_is_over_once_all_that_met_it_is_written_and_a_checkpoint_too() -> None:
    troubles = WriteTroubles()
    assert troubles.met("metrics.jsonl", full())
    troubles.over("metrics.jsonl")
    assert not troubles.met("metrics.jsonl", full())
    troubles.over(FOLDER)
    assert not troubles.met("metrics.jsonl", full())  # it was not written meanwhile
    troubles.over(FOLDER)
    troubles.over("metrics.jsonl")
    assert troubles.met("metrics.jsonl", full())


def test_lines_that_wait_are_told_once_and_a_lost_lock_says_so_itself() -> None:
    troubles = WriteTroubles()
    lost = LockLostError("taken")
    for error in (full(), full(), lost):
        assert isinstance(error, RunWriteError)
        troubles.keep("events.jsonl", error)
    assert troubles.take() == "file: No space left on device; kept in memory, training goes on"
    assert troubles.take() is None
