"""Numbers and names in sentences, and sentences in lines."""

import textwrap
from collections.abc import Sequence


def counted(count: int, noun: str) -> str:
    """`1 worker`, `1,000 workers`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], width: int) -> str:
    """As many as fit, at least one: `a, b and 3 more`."""
    for shown in range(len(names), 1, -1):
        more = f" and {len(names) - shown:,} more" if shown < len(names) else ""
        if len(text := ", ".join(names[:shown]) + more) <= width:
            return text
    return ", ".join(names[:1]) + (f" and {len(names) - 1:,} more" if len(names) > 1 else "")


def fitted(line: str, width: int | None) -> str:
    """A line as a terminal of that width shows it best: broken between words, paths whole.

    A command that follows `with:` is there to be copied, and goes out as it is; so does
    everything where there is no terminal.
    """
    if width is None or len(line) <= width or " with: everstep " in line:
        return line
    return textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)


def last_line(text: str) -> str:
    """What a traceback or a report comes to; empty where there is no word in it."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
