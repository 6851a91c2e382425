"""Where the data is from: the `data` section of the configuration, one class a source."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeInt,
    Tag,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A part of the configuration: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: object) -> object:
        """No key takes one, and Python would take `yes` for 1."""
        items = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(item, bool) for item in items):
            raise PydanticCustomError("truth_value", "")
        return value


def _nameable(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError(f"{str(path)!r} is not allowed; no file's name has a zero byte in it")
    return path


def _on_disk(given: object) -> object:
    """Said here, for a path that is made of a URL has lost a slash."""
    if isinstance(given, str) and re.match(r"[A-Za-z][A-Za-z0-9+.:-]*://", given):
        raise ValueError(f"{given!r} is a URL, and data is read from a path only")
    return given


FilePath = Annotated[Path, BeforeValidator(_on_disk), AfterValidator(_nameable)]


class _Source(Section):
    """What all data sources have in common."""

    source: Literal["digits", "idx", "npz", "csv"]
    scaling: Literal["minmax", "standard", "none"] = "minmax"
    # One range for each feature, or one for the whole table (images: all pixels alike).
    statistics: Literal["feature", "table"] = "feature"
    # The classes in the order of the outputs; null: those of the training rows, sorted.
    classes: tuple[int | str, ...] | None = Field(default=None, examples=["classes: [cat, dog]"])
    # Without a test set of its own, this share of the rows is held out.
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    split_seed: NonNegativeInt = 0

    @field_validator("classes")
    @classmethod
    def _all_different(cls, classes: tuple[int | str, ...] | None) -> tuple[int | str, ...] | None:
        texts = [str(name) for name in classes or ()]
        for name in classes or ():
            if texts.count(str(name)) > 1:
                raise ValueError(f"config data.classes: {name!r} stands twice")
        return classes


class DigitsSource(_Source):
    """scikit-learn's handwritten digits: 1,797 images of 8x8."""

    source: Literal["digits"] = "digits"
    statistics: Literal["feature", "table"] = "table"


class IdxSource(_Source):
    """Images and labels as IDX files, MNIST's format, plain or gzipped."""

    source: Literal["idx"]
    train_images: FilePath
    train_labels: FilePath
    test_images: FilePath | None = None
    test_labels: FilePath | None = None
    statistics: Literal["feature", "table"] = "table"

    @model_validator(mode="after")
    def _test_set_is_whole(self) -> Self:
        _both_or_none(test_images=self.test_images, test_labels=self.test_labels)
        return self


class NpzSource(_Source):
    """Arrays of one NumPy .npz file, by name."""

    source: Literal["npz"]
    path: FilePath
    features: str = "x"
    labels: str = "y"
    test_features: str | None = None
    test_labels: str | None = None

    @model_validator(mode="after")
    def _test_set_is_whole(self) -> Self:
        _both_or_none(test_features=self.test_features, test_labels=self.test_labels)
        return self


class CsvSource(_Source):
    """Tables with a header line; one column holds the label, all others are numbers."""

    source: Literal["csv"]
    train: FilePath
    test: FilePath | None = None
    label: str


def _source(given: Any) -> str | None:
    if isinstance(given, dict):
        return str(given.get("source", "digits"))
    return getattr(given, "source", None)


DataConfig = Annotated[
    Annotated[DigitsSource, Tag("digits")]
    | Annotated[IdxSource, Tag("idx")]
    | Annotated[NpzSource, Tag("npz")]
    | Annotated[CsvSource, Tag("csv")],
    Discriminator(_source),
]


def _both_or_none(**keys: object) -> None:
    given = [name for name, value in keys.items() if value is not None]
    if len(given) == 1:
        missing = next(name for name in keys if name not in given)
        raise ValueError(f"config data.{missing}: missing, while data.{given[0]} is given")
