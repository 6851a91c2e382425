"""A training that ends early: its error says what is kept, and no empty run stays behind.

It never decides whether to go on: the error that ended the training goes its way.
"""

from collections.abc import Sequence

from trainer.errors import DivergedError, LockLostError
from trainer.keeper import Keeper
from trainer.run_directory import RunDirectory
from trainer.run_place import EVENTS, resume_command


def tell_what_is_kept(
    error: BaseException,
    directory: RunDirectory,
    keeper: Keeper,
    has_history: bool,
    options: Sequence[str] = (),
) -> None:
    """Add the lines to the error; a directory that holds nothing of worth is removed.

    Args:
        has_history: its events tell what a person may want to know: deaths, or earlier lives.
        options: what `everstep resume` has to be told beside the directory.

    Raises:
        OSError, LockLostError: the directory could not be removed.
    """
    command = resume_command(directory.path, *options)
    if isinstance(error, LockLostError):
        error.add_note(f"how far the run is: everstep status {directory.path}")
    elif keeper.kept and isinstance(error, DivergedError):
        error.add_note(f"kept: {keeper.kept.path}")
        error.add_note("resumed from that, the training would diverge again")
    elif keeper.kept:
        error.add_note(f"kept: {keeper.kept.path}")
        error.add_note(f"go on with: {command}")
    elif keeper.failure:
        error.add_note(f"nothing could be kept: {keeper.failure}")
        error.add_note(f"begin anew with: {command}")
    elif has_history:
        error.add_note("no epoch was finished; nothing is kept")
        error.add_note(f"what happened: {directory.path / EVENTS}")
        error.add_note(f"begin anew with: {command}")
    else:
        error.add_note("no epoch was finished; nothing is kept")
        directory.discard()
