"""What an actor's exception says to those who did not see it: its traceback, from where it matters.

The frames of the machine itself, which every such traceback begins with, are left out: what
remains is the objective's, or whoever's the defect is.
"""

import traceback
from pathlib import Path
from typing import Final

_OURS: Final = str(Path(__file__).parent)
_MOST_CHARACTERS: Final = 4000
_BEGINNING: Final = "Traceback (most recent call last):"


def last_words(error: BaseException) -> str:
    """The traceback of the error; of a very long one the end."""
    told = traceback.TracebackException.from_exception(error)
    frames = [*told.stack]
    theirs = next((i for i, f in enumerate(frames) if not f.filename.startswith(_OURS)), 0)
    told.stack = traceback.StackSummary.from_list(frames[theirs:])
    words = "".join(told.format()).strip()
    if len(words) > _MOST_CHARACTERS:
        words = f"{_BEGINNING}\n...{words[-_MOST_CHARACTERS:]}"
    return words


def are_last_words(reason: str) -> bool:
    """Whether an exception ended that actor, and no signal, no cut cable and no order."""
    return _BEGINNING in reason
