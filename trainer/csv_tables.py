"""CSV files to tables: a header line, then numbers, and maybe one column of labels."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import DataError
from trainer.tables import Table


def read_csv(path: Path, label: str | None, columns: tuple[str, ...] | None = None) -> Table:
    """A table with a header line.

    Args:
        label: the column of labels; None when there is none.
        columns: the feature columns to take, in this order; None: all but the label.

    Raises:
        DataError: names the row (the header is line 1) and the column.
    """
    header = _header(path)
    if label is not None and label not in header:
        raise DataError(f"data {path}: no column {label!r}; there are: {', '.join(header)}")
    wanted = columns or tuple(name for name in header if name != label)
    for name in wanted:
        if name not in header:
            raise DataError(f"data {path}: no column {name!r}; there are: {', '.join(header)}")
    try:
        features = _load(path, [header.index(name) for name in wanted], np.float64)
    except ValueError:
        raise DataError(f"data {path}: {_first_problem(path, header, wanted)}") from None
    if len(features) == 0:
        raise DataError(f"data {path}: a header, but no rows")
    labels = None if label is None else _labels(path, header.index(label))
    return Table(features, labels, str(path), wanted)


def _header(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(f"data {path}: no such file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data {path}: can not be read as CSV: {error}") from None
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise DataError(f"data {path}: the column {twice[0]!r} stands twice in the header")
    if not header:
        raise DataError(f"data {path}: is empty, expected a header line")
    return header


def _load(path: Path, columns: list[int], dtype: Any) -> NDArray[Any]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        next(csv.reader(file))
        rows = (line for line in file if line.strip())
        return np.loadtxt(
            rows, dtype, comments=None, delimiter=",", usecols=columns, ndmin=2, quotechar='"'
        )


def _labels(path: Path, column: int) -> NDArray[Any]:
    """Integers where all of them are, else text."""
    labels = np.char.strip(_load(path, [column], np.str_)[:, 0])
    try:
        return labels.astype(np.int64)
    except ValueError:
        return labels


def _first_problem(path: Path, header: list[str], wanted: tuple[str, ...]) -> str:
    """Where the first cell is that is no number; the slow way, taken only to explain."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        next(reader)
        for row in reader:
            if row and len(row) != len(header):
                return f"line {reader.line_num}: {len(row)} cells, the header has {len(header)}"
            for name, cell in zip(header, row, strict=False):
                if name in wanted and not _is_number(cell):
                    return f"line {reader.line_num}, column {name!r}: {cell!r} is no number"
    return "can not be read as a table of numbers"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
