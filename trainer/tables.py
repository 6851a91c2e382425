"""Files to tables: rows of numbers with a label each, and errors that name the place.

IDX (MNIST's format, plain or gzipped), NPZ, CSV, and the digits that scikit-learn carries.
Nothing is ever unpickled. Next: `datasets.py`, which turns tables into a training's data.
"""

import csv
import gzip
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.errors import DataError

_GZIP_MAGIC: Final = b"\x1f\x8b"
_IDX_TYPES: Final = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_IDX_DIMENSIONS: Final = 4
_ZIP_MAGIC: Final = b"PK\x03\x04"
# What the standard library and NumPy raise over a file that can not be read or is damaged.
_UNREADABLE: Final = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
    zlib.error,
    zipfile.BadZipFile,
    csv.Error,
)


class Table(NamedTuple):
    """Rows of features, with their labels where the source has some."""

    features: NDArray[np.float64]  # (rows, columns)
    labels: NDArray[Any] | None  # (rows,), integers or text
    source: str  # where it is from, for messages
    columns: tuple[str, ...] | None = None  # the features' names, where the source has some
    place: Callable[[int], str] = "row {}".format  # where a row stands in the source, from 0


def read_digits() -> Table:
    """scikit-learn's handwritten digits, (1797, 64) of 0 to 16.

    Read from the file that the package carries: importing scikit-learn takes longer than
    a small training.
    """
    package = find_spec("sklearn")
    folders = package.submodule_search_locations if package else None
    path = Path((folders or ["sklearn"])[0]) / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise DataError(f"data digits: {path}: no such file; install scikit-learn")
    with reading(path), gzip.open(path) as file:
        table = np.loadtxt(file, delimiter=",")
    return Table(table[:, :-1], table[:, -1].astype(np.int64), "digits")


def read_idx_pair(images: Path, labels: Path) -> Table:
    """An IDX file of images and one of labels; each image becomes a row."""
    return _table(read_idx(images), str(images), read_idx(labels), str(labels))


def read_idx(path: Path) -> NDArray[Any]:
    """An IDX file's array, plain or gzipped.

    Format: two zero bytes, element type, dimension count; each dimension as a big-endian
    32-bit number; the elements, big-endian, in C order.
    """
    with reading(path):
        content = path.read_bytes()
        if content.startswith(_GZIP_MAGIC):
            content = gzip.decompress(content)
    if len(content) < 4 or content[:2] != b"\0\0":  # noqa: PLR2004 - the magic's size
        raise DataError(f"data {path}: wrong magic {content[:4].hex()}, this is no IDX file")
    type_code, dimension_count = content[2], content[3]
    if type_code not in _IDX_TYPES or not 1 <= dimension_count <= _IDX_DIMENSIONS:
        raise DataError(
            f"data {path}: wrong magic {content[:4].hex()}, no IDX element type"
            f" {type_code:#04x} with {dimension_count} dimensions"
        )
    start = 4 + 4 * dimension_count
    shape = tuple(np.frombuffer(content[4:start].ljust(start - 4, b"\0"), ">u4").tolist())
    dtype = np.dtype(_IDX_TYPES[type_code])
    due = start + prod(shape) * dtype.itemsize
    if len(content) != due:
        what = "truncated" if len(content) < due else "too long"
        raise DataError(
            f"data {path}: {what}, {len(content)} bytes where {due} are due for"
            f" {' x '.join(map(str, shape))} elements; fetch it again"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape)


def read_npz(path: Path, features: str, labels: str | None) -> Table:
    """Two arrays of an .npz file by name; features of more dimensions become rows."""
    names = [features] if labels is None else [features, labels]
    # NumPy takes a file that is no .npz for a pickle, and advises to allow that.
    with reading(path, " as .npz"), path.open("rb") as file:
        if file.read(len(_ZIP_MAGIC)) != _ZIP_MAGIC:
            raise DataError(f"data {path}: is no .npz file")
        file.seek(0)
        archive = np.load(file, allow_pickle=False)
        for name in names:
            if name not in archive:
                there = ", ".join(archive.files)
                raise DataError(f"data {path}: no array {name!r}; there are: {there}")
        arrays = [np.asarray(archive[name]) for name in names]
    where = [f"{path}[{name}]" for name in names]
    if labels is None:
        return Table(_rows(arrays[0], where[0]), None, where[0])
    return _table(arrays[0], where[0], arrays[1], where[1])


@contextmanager
def reading(path: Path, how: str = "") -> Iterator[None]:
    """Say of whatever goes wrong with a file's bytes which file it is.

    Raises:
        DataError: there is no such file, or it can not be read.
    """
    try:
        if not path.is_file():
            raise DataError(f"data {path}: no such file")
        yield
    except _UNREADABLE as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"data {path}: can not be read{how}: {reason}") from None


def _table(features: NDArray[Any], where: str, labels: NDArray[Any], labels_at: str) -> Table:
    rows, classes = _rows(features, where), _labels(labels, labels_at)
    if len(rows) != len(classes):
        raise DataError(
            f"data {labels_at}: {len(classes)} labels for the {len(rows)} rows of {where}"
        )
    return Table(rows, classes, where)


def _rows(features: NDArray[Any], where: str) -> NDArray[np.float64]:
    what = f"data {where}: {features.dtype} of shape {features.shape}"
    if features.ndim < 2 or features.dtype.kind not in "buif":  # noqa: PLR2004
        raise DataError(f"{what}, expected numbers in at least two dimensions")
    if features.size == 0:
        raise DataError(f"{what}, there are no rows with features in it")
    return features.reshape(len(features), -1).astype(np.float64)


def _labels(labels: NDArray[Any], where: str) -> NDArray[Any]:
    """Text as it is; numbers as integers, which they have to equal."""
    if labels.ndim != 1 or labels.dtype.kind not in "buifU":
        raise DataError(
            f"data {where}: {labels.dtype} of shape {labels.shape}, expected one label a row"
        )
    if labels.dtype.kind == "U":
        return labels
    with np.errstate(invalid="ignore"):  # NaN, infinity and more than 64 bits
        integers = labels.astype(np.int64)
    odd = np.flatnonzero(integers != labels)
    if odd.size:
        raise DataError(f"data {where}: row {odd[0]}: label {labels[odd[0]]} is no class")
    return integers
