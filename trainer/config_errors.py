"""Validation errors as lines for people: which key, which value, what is allowed."""

from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One line a problem."""
    return "\n".join(_line(problem, model) for problem in error.errors())


def _line(problem: ErrorDetails, model: type[BaseModel]) -> str:
    path = list(problem["loc"])
    for union in (["data"], ["cluster", "workers"]):
        if path[: len(union)] == union:
            del path[len(union) : len(union) + 1]  # the union's tag, which pydantic puts in between
    key = ".".join(map(str, path))
    value, context = problem["input"], problem.get("ctx", {})
    match problem["type"]:
        case "value_error":
            return str(context["error"])
        case "extra_forbidden":
            known = _known_keys(model, problem["loc"][:-1])
            return f"config {key}: unknown key; {_nearest(str(path[-1]), known)}"
        case "missing":
            return f"config {key}: missing; it must be set"
        case "model_type" | "union_tag_not_found":
            wanted = f"must be a mapping, like `{key}: {{}}`"
        case "literal_error":
            wanted = f"allowed: {context['expected']}"
        case "union_tag_invalid":
            key, value = f"{key}.source", context["tag"]
            wanted = f"allowed: {context['expected_tags']}"
        case _:
            wanted = _lower_first(problem["msg"])
    return f"config {key}: {value!r} is not allowed; {wanted}"


def _known_keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys that the section at `path` has; a union tag in the path chooses the member."""
    current: Any = model
    for part in path:
        if isinstance(current, type) and issubclass(current, BaseModel):
            current = current.model_fields[str(part)].annotation
        else:
            members = (get_args(member) for member in get_args(current) if get_args(member))
            current = next(member[0] for member in members if Tag(str(part)) in member)
    return list(current.model_fields)


def _nearest(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"allowed: {', '.join(known)}"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
