"""What an actor's exception says to those who did not see it: its traceback, from where it matters.

The frames of the machine itself, which every such traceback begins with, are left out: what
remains is the objective's, or whoever's the defect is.
"""

import traceback
from pathlib import Path
from typing import Final

_OURS: Final = str(Path(__file__).parent)
_MOST_CHARACTERS: Final = 4000


def last_words(error: BaseException) -> str:
    """The traceback of the error; of a very long one the end."""
    told = traceback.TracebackException.from_exception(error)
    frames = [*told.stack]
    theirs = next((i for i, f in enumerate(frames) if not f.filename.startswith(_OURS)), 0)
    told.stack = traceback.StackSummary.from_list(frames[theirs:])
    return "".join(told.format())[-_MOST_CHARACTERS:].strip()
