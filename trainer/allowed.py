"""What a key of a YAML file takes, in words, read off the models' own annotations.

So a new key explains itself, and no word of the library that checks it reaches a person.
Next: `config_errors.py`, which makes lines of it.
"""

from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, Tag

KeyPath: TypeAlias = list[int | str]


class Place(NamedTuple):
    """What may stand somewhere: a type, its bounds, and an example as one would write it."""

    annotation: Any
    metadata: tuple[Any, ...] = ()
    example: str = ""


class Found(NamedTuple):
    """Where an error's location leads to."""

    path: KeyPath  # without the names that pydantic gives to a union's members
    place: Place | None  # None: there is no such key
    section: type[BaseModel]  # the innermost one on the way


def find(model: type[BaseModel], location: tuple[int | str, ...]) -> Found:
    """Follow an error's location from the outermost section inwards."""
    path: KeyPath = []
    place, section = Place(model), model
    for number, part in enumerate(location, 1):
        annotation = _not_null(place).annotation
        if _is_section(annotation):
            path.append(part)
            section = annotation
            if (field := _field(section, part)) is None:
                return Found(path, None, section)
            place = field
        elif get_origin(annotation) is dict:
            path.append(part)
            place = _place(get_args(annotation)[1])
        elif part == "[key]":  # pydantic's word: the key itself is wrong
            place = Place(str)
        elif isinstance(part, int):
            path.append(part)
            place = _place(get_args(annotation)[0])
        elif (member := _member(annotation, part)) and number < len(location):
            place = member
        # Else it is the member of a union that is meant as a whole.
    return Found(path, place, section)


def keys_of(section: type[BaseModel]) -> list[str]:
    """The keys of a section as one writes them."""
    return [field.alias or name for name, field in section.model_fields.items()]


def describe(place: Place) -> str:
    """`a whole number of at least 1`; with an example where there is one."""
    place = _not_null(place)
    like = f", like `{place.example}`" if place.example else ""
    return f"{_described(place.annotation, _bounds(place.metadata))}{like}"


def _described(annotation: Any, bounds: dict[str, float]) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(annotation)))}"
    if origin in (Union, UnionType):
        return " or ".join(describe(_place(member)) for member in get_args(annotation))
    if origin is tuple:
        return "a list"
    if origin is dict:
        return "a mapping"
    if _is_section(annotation):
        return f"a mapping of {', '.join(keys_of(annotation))}"
    if annotation is int:
        return f"a whole number{_whole_range(bounds)}"
    if annotation is float:
        endless = "" if {"lt", "le"} & bounds.keys() else "finite "
        return f"a {endless}number{_range(bounds)}"
    return "a path" if annotation is Path else "text (in quotes)"


def _whole_range(bounds: dict[str, float]) -> str:
    low = bounds.get("ge", bounds.get("gt", float("-inf")) + 1)
    if "le" in bounds:
        return f" from {low:.0f} to {bounds['le']:.0f}"
    return f" of at least {low:.0f}" if low > float("-inf") else ""


def _range(bounds: dict[str, float]) -> str:
    words = {"gt": "above", "ge": "of at least", "lt": "below", "le": "at most"}
    parts = [f"{words[key]} {bounds[key]:.12g}" for key in words if key in bounds]
    return f" {' and '.join(parts)}" if parts else ""


def _bounds(metadata: tuple[Any, ...]) -> dict[str, float]:
    """The limits among an annotation's metadata, however deep pydantic has put them."""
    found: dict[str, float] = {}
    for item in metadata:
        found |= _bounds(tuple(getattr(item, "metadata", ())))
        for key in ("gt", "ge", "lt", "le"):
            if (limit := getattr(item, key, None)) is not None:
                found[key] = limit
    return found


def _place(annotation: Any) -> Place:
    if get_origin(annotation) is not Annotated:
        return Place(annotation)
    inner, *metadata = get_args(annotation)
    examples = [example for item in metadata for example in getattr(item, "examples", None) or ()]
    return Place(inner, tuple(metadata), *examples[:1])


def _field(section: type[BaseModel], key: int | str) -> Place | None:
    for name, field in section.model_fields.items():
        if key == (field.alias or name):
            return Place(field.annotation, tuple(field.metadata), *(field.examples or ())[:1])
    return None


def _member(annotation: Any, tag: str) -> Place | None:
    """The member of a union that pydantic calls by that tag."""
    members = (member for member in get_args(annotation) if Tag(tag) in get_args(member))
    return next((_place(member) for member in members), None)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _not_null(place: Place) -> Place:
    """`Section` for `Section | None`."""
    if get_origin(place.annotation) not in (Union, UnionType):
        return place
    members = [member for member in get_args(place.annotation) if member is not NoneType]
    if len(members) != 1:
        return place
    inner = _place(members[0])
    return Place(inner.annotation, inner.metadata + place.metadata, inner.example or place.example)
