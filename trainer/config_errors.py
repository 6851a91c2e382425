"""Validation errors as lines for people: which key, which value, what is allowed.

For the configuration, and for other YAML files that people write (`faults/plan.py`). The
library that checks says only where something is wrong; the words are all ours.
"""

import reprlib
from collections.abc import Callable
from datetime import date
from difflib import get_close_matches
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trainer.allowed import Found, KeyPath, describe, find, keys_of

_MOST_LINES: Final = 10


def config_key(path: KeyPath) -> str:
    """`config training.shards`."""
    return f"config {dotted(path)}"


def dotted(path: KeyPath) -> str:
    """`training.shards`; what a terminal could not show as it is, is escaped."""
    return ".".join(part if part.isprintable() else repr(part) for part in map(str, path))


def explain(
    error: ValidationError, model: type[BaseModel], name: Callable[[KeyPath], str] = config_key
) -> str:
    """One line a problem, and not too many of them; `name` says how a key is called."""
    problems = error.errors(include_url=False)
    # A value that no member of a union takes is as many problems as there are members.
    lines = [*dict.fromkeys(_line(problem, model, name) for problem in problems)]
    more = len(lines) - _MOST_LINES
    return "\n".join(lines[:_MOST_LINES] + ([f"... and {more} more problems"] if more > 0 else []))


def shown(value: object) -> str:
    """A value as YAML would have it, cut where it is long."""
    return _Shown().repr(value)


def _line(problem: ErrorDetails, model: type[BaseModel], name: Callable[[KeyPath], str]) -> str:
    found = find(model, problem["loc"])
    key, value = name(found.path), problem["input"]
    match problem["type"]:
        case "value_error":
            text = str(problem["ctx"]["error"])
            return text if text.startswith("config ") else f"{key}: {text}"
        case "union_tag_invalid":
            key, value = name([*found.path, "source"]), value["source"]
            return f"{key}: {shown(value)} is not allowed; allowed: {_tags(problem)}"
        case "union_tag_not_found":
            return f"{key}: {shown(value)} is not allowed; must be a mapping{_like(found)}"
        case "missing":
            return f"{key}: missing; {_must_be(found, 'set it to')}"
        case _ if found.place is None:
            return f"{key}: unknown key; {_nearest(str(found.path[-1]), keys_of(found.section))}"
        case _:
            return f"{key}: {shown(value)} is not allowed; {_must_be(found, 'must be')}"


def _must_be(found: Found, begin: str) -> str:
    return f"{begin} {describe(found.place)}" if found.place else begin


def _like(found: Found) -> str:
    return f", like `{found.path[-1]}: {{}}`" if found.path else ""


def _tags(problem: ErrorDetails) -> str:
    return str(problem["ctx"]["expected_tags"]).replace("'", "")


def _nearest(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"allowed: {', '.join(known)}"


class _Shown(reprlib.Repr):
    """Python's short representation, but for what YAML writes in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 80, 80

    def repr1(self, x: Any, level: int) -> str:
        if x is None or isinstance(x, bool):
            return {None: "null", True: "true", False: "false"}[x]
        return str(x) if isinstance(x, date) else super().repr1(x, level)
