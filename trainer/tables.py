"""Files to tables: rows of numbers with a label each, and errors that name the place.

IDX (MNIST's format, plain or gzipped), NPZ, CSV, and the digits that scikit-learn carries.
Nothing is ever unpickled. Next: `datasets.py`, which turns tables into a training's data.
"""

import gzip
import zipfile
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


class Table(NamedTuple):
    """Rows of features, with their labels where the source has some."""

    features: NDArray[np.float64]  # (rows, columns)
    labels: NDArray[Any] | None  # (rows,), integers or text
    source: str  # where it is from, for messages
    columns: tuple[str, ...] | None = None  # the features' names, where the source has some


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
    with gzip.open(path) as file:
        table = np.loadtxt(file, delimiter=",")
    return Table(table[:, :-1], table[:, -1].astype(np.int64), "digits")


def read_idx_pair(images: Path, labels: Path) -> Table:
    """An IDX file of images and one of labels; each image becomes a row."""
    features, classes = read_idx(images), read_idx(labels)
    if classes.ndim != 1:
        raise DataError(f"data {labels}: labels of shape {classes.shape}, expected one a row")
    if features.ndim < 2:  # noqa: PLR2004 - rows of pixels
        raise DataError(f"data {images}: shape {features.shape}, expected at least two dimensions")
    return _table(features, classes, str(images), str(labels))


def read_idx(path: Path) -> NDArray[Any]:
    """An IDX file's array, plain or gzipped.

    Format: two zero bytes, element type, dimension count; each dimension as a big-endian
    32-bit number; the elements, big-endian, in C order.
    """
    content = _read_bytes(path)
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
    arrays = _npz_arrays(path, [features] if labels is None else [features, labels])
    where = f"{path}[{features}]"
    if arrays[0].ndim < 2 or arrays[0].dtype.kind not in "buif":  # noqa: PLR2004
        raise DataError(
            f"data {where}: {arrays[0].dtype} of shape {arrays[0].shape},"
            " expected numbers in at least two dimensions"
        )
    if labels is None:
        return Table(_rows(arrays[0]), None, where)
    return _table(arrays[0], arrays[1], where, f"{path}[{labels}]")


def _npz_arrays(path: Path, names: list[str]) -> list[NDArray[Any]]:
    _must_exist(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"data {path}: is no .npz file")
            for name in names:
                if name not in archive:
                    there = ", ".join(archive.files) or "none"
                    raise DataError(f"data {path}: no array {name!r}; there are: {there}")
            return [archive[name] for name in names]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"data {path}: can not be read as .npz: {error}") from None


def _table(features: NDArray[Any], labels: NDArray[Any], where: str, labels_at: str) -> Table:
    if len(features) != len(labels):
        raise DataError(
            f"data {labels_at}: {len(labels)} labels for the {len(features)} rows of {where}"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "buifU":
        raise DataError(
            f"data {labels_at}: {labels.dtype} of shape {labels.shape}, expected one label a row"
        )
    if labels.dtype.kind == "f":
        odd = np.flatnonzero(labels != np.trunc(labels))
        if odd.size:
            raise DataError(f"data {labels_at}: row {odd[0]}: label {labels[odd[0]]} is no class")
    if labels.dtype.kind != "U":
        labels = labels.astype(np.int64)
    return Table(_rows(features), labels, where)


def _rows(features: NDArray[Any]) -> NDArray[np.float64]:
    return features.reshape(len(features), -1).astype(np.float64)


def _read_bytes(path: Path) -> bytes:
    _must_exist(path)
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP_MAGIC) else content
    except (OSError, EOFError) as error:
        raise DataError(f"data {path}: can not be read: {error}") from None


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"data {path}: no such file")
