"""CSV files to tables: a header line, then numbers, and maybe one column of labels.

NumPy's parser does the reading. Only to say where something is wrong is a file read again,
with the `csv` module.
"""

import csv
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from trainer.errors import DataError
from trainer.tables import Table, reading


def read_csv(path: Path, label: str | None, columns: tuple[str, ...] | None = None) -> Table:
    """A table with a header line; blank lines are skipped.

    Args:
        label: the column of labels; None when there is none.
        columns: the feature columns to take, in this order; None: all but the label.

    Raises:
        DataError: names the line (the file's first is line 1) and the column.
    """
    with reading(path, " as CSV"), _open(path) as file:
        header = _header(path, file)
        wanted = columns or tuple(name for name in header if name != label)
        for name in wanted if label is None else (label, *wanted):
            if name not in header:
                there = f"{', '.join(header)}{_hint(header)}"
                raise DataError(f"data {path}: no column {name!r}; there are: {there}")
        if not wanted:
            raise DataError(f"data {path}: no feature column, only the label {label!r}")
        lines = _filled_lines(file)
        first = next(lines, None)
        if first is None:
            raise DataError(f"data {path}: a header, but no rows")
        try:
            features, labels = _load(chain([first], lines), header, wanted, label)
        except ValueError:
            raise DataError(f"data {path}: {_first_problem(path, header, wanted)}") from None
    return Table(features, labels, str(path), wanted, lambda row: f"line {_line(path, row)}")


def _open(path: Path) -> TextIO:
    return path.open(encoding="utf-8-sig", newline="")


def _header(path: Path, file: TextIO) -> list[str]:
    """The first row that is not blank; the file is then at the line behind it."""
    _, header = next(_rows(file), (0, []))
    if not header:
        raise DataError(f"data {path}: is empty, expected a header line")
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise DataError(
            f"data {path}: the column {twice[0]!r} stands twice in the header{_hint(header)}"
        )
    return header


def _hint(header: list[str]) -> str:
    """For who has a table without one: numbers are hardly names."""
    if not any(_is_number(name) for name in header):
        return ""
    return "; the first line is taken for the header, write one above it if it is a row"


def _filled_lines(file: Iterable[str]) -> Iterator[str]:
    """All lines but those that are blank and stand in no quoted cell."""
    quoted = False
    for line in file:
        if quoted or line.strip():
            yield line
        quoted ^= line.count('"') % 2 == 1


def _load(
    lines: Iterable[str], header: list[str], wanted: tuple[str, ...], label: str | None
) -> tuple[NDArray[np.float64], NDArray[Any] | None]:
    """Features and labels, in one pass.

    Every column is read, for NumPy counts a row's cells only then. What is no feature
    becomes 0 in the table; the labels are put aside on the way.

    Raises:
        ValueError: a cell is no number, or a row has another number of cells than the header.
    """
    labels: list[str] = []

    def put_aside(cell: str) -> float:
        labels.append(cell.strip())
        return 0.0

    others: dict[int | str, Callable[[str], Any]] = {
        column: put_aside if name == label else (lambda _: 0.0)
        for column, name in enumerate(header)
        if name not in wanted
    }
    table = np.loadtxt(
        lines, comments=None, delimiter=",", ndmin=2, quotechar='"', converters=others
    )
    if table.shape[1] != len(header):
        raise ValueError
    features = np.take(table, [header.index(name) for name in wanted], axis=1)
    return features, None if label is None else _classes(labels)


def _classes(labels: list[str]) -> NDArray[Any]:
    """Integers where all of them are, of at most 64 bits; else text."""
    try:
        return np.array([int(label) for label in labels], np.int64)
    except (ValueError, OverflowError):
        return np.array(labels)


def _rows(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """The line on which it begins, and the cells, of every row that is not blank."""
    reader, line = csv.reader(file), 1
    for row in reader:
        if len(row) > 1 or "".join(row).strip():
            yield line, row
        line = reader.line_num + 1


def _line(path: Path, row: int) -> int:
    with _open(path) as file:
        return next(islice(_rows(file), row + 1, None))[0]  # + 1: the header


def _first_problem(path: Path, header: list[str], wanted: tuple[str, ...]) -> str:
    """Where the first row is that has not the header's cells, or a cell that is no number."""
    with _open(path) as file:
        for line, row in islice(_rows(file), 1, None):
            if len(row) != len(header):
                return f"line {line}: {len(row)} cells, the header has {len(header)}"
            for name, cell in zip(header, row, strict=True):
                if name in wanted and not _is_number(cell):
                    return f"line {line}, column {name!r}: {cell!r} is no number"
    return "can not be read as a table of numbers; look for a quote that is not closed"


def _is_number(cell: str) -> bool:
    """As NumPy's parser sees it, which knows no `1_0` and no digits but ASCII's."""
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell
