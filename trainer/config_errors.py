"""Validation errors as lines for people: which key, which value, what is allowed.

For the configuration, and for other YAML files that people write (`faults/plan.py`).
"""

from collections.abc import Callable
from difflib import get_close_matches
from types import NoneType
from typing import Any, TypeAlias, get_args

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

KeyPath: TypeAlias = list[int | str]


def config_key(path: KeyPath) -> str:
    """`config training.shards`."""
    return f"config {'.'.join(map(str, path))}"


def explain(
    error: ValidationError, model: type[BaseModel], name: Callable[[KeyPath], str] = config_key
) -> str:
    """One line a problem; `name` says how a key is called."""
    return "\n".join(_line(problem, model, name) for problem in error.errors())


def _line(problem: ErrorDetails, model: type[BaseModel], name: Callable[[KeyPath], str]) -> str:
    path = list(problem["loc"])
    for union in (["data"], ["cluster", "workers"]):
        if path[: len(union)] == union:
            del path[len(union) : len(union) + 1]  # the union's tag, which pydantic puts in between
    key = name(path)
    value, context = problem["input"], problem.get("ctx", {})
    match problem["type"]:
        case "value_error":
            text = str(context["error"])
            return text if text.startswith("config ") else f"{key}: {text}"
        case "extra_forbidden":
            known = _known_keys(model, problem["loc"][:-1])
            return f"{key}: unknown key; {_nearest(str(path[-1]), known)}"
        case "missing":
            return f"{key}: missing; it must be set"
        case "model_type" | "union_tag_not_found":
            like = f", like `{path[-1]}: {{}}`" if path and isinstance(path[-1], str) else ""
            wanted = f"must be a mapping{like}"
        case "literal_error":
            wanted = f"allowed: {context['expected']}"
        case "union_tag_invalid":
            key, value = f"{key}.source", context["tag"]
            wanted = f"allowed: {context['expected_tags']}"
        case _:
            wanted = _lower_first(problem["msg"])
    return f"{key}: {value!r} is not allowed; {wanted}"


def _known_keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys that the section at `path` has; a union tag in the path chooses the member."""
    current: Any = model
    for part in path:
        if isinstance(current, type) and issubclass(current, BaseModel):
            current = _without_null(current.model_fields[str(part)].annotation)
        elif isinstance(part, int):
            current = get_args(current)[0]
        else:
            members = (get_args(member) for member in get_args(current) if get_args(member))
            current = next(member[0] for member in members if Tag(part) in member)
    return [field.alias or name for name, field in current.model_fields.items()]


def _without_null(annotation: Any) -> Any:
    """`Section` for `Section | None`."""
    members = [member for member in get_args(annotation) if member is not NoneType]
    return members[0] if len(members) == 1 and NoneType in get_args(annotation) else annotation


def _nearest(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"allowed: {', '.join(known)}"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
