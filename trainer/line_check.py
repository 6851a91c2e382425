"""Refuses a line of a run's files that lacks what is read of it, by the file's name."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from trainer.errors import RunDirectoryError
from trainer.storage.place import Place

Read = TypeVar("Read")


def checked(line: Any, kind: TypeAdapter[Read], path: Place) -> Read:
    """A line as one of that kind.

    Raises:
        RunDirectoryError: it is none; names the file, the line, and what is wrong there.
    """
    try:
        return kind.validate_python(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise RunDirectoryError(
            f"{path}: holds a line that this version does not read{_told(line)}:"
            f" {where}{first['msg'][:1].lower()}{first['msg'][1:]}"
        ) from None


def _told(line: Any) -> str:
    """Which one it is, for who looks it up."""
    if not isinstance(line, Mapping):
        return ""
    told = [f"{key} {line[key]!r:.40}" for key in ("event", "epoch", "step") if key in line]
    return f" ({', '.join(told)})" if told else ""
