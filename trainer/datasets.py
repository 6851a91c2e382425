"""A training's data: features scaled by the training rows, classes as one-hot targets.

Read `tables.py` for the files. Next: `shards.py`, which cuts the training rows up.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.activations import Matrix
from trainer.config import Config
from trainer.csv_tables import read_csv
from trainer.data_config import CsvSource, DataConfig, DigitsSource, IdxSource, NpzSource
from trainer.errors import DataError
from trainer.tables import Table, read_digits, read_idx_pair, read_npz

ClassName = int | str


class Scaler(NamedTuple):
    """(features - shift) / scale, column by column; its numbers come from training rows only."""

    shift: NDArray[np.float64]  # (columns,)
    scale: NDArray[np.float64]  # (columns,)

    def apply(self, table: Table, dtype: str) -> Matrix:
        """The table's features, (rows, columns) of `dtype`.

        Raises:
            DataError: another number of columns, or a number that is too large for `dtype`.
        """
        columns = table.features.shape[1]
        if columns != len(self.shift):
            raise DataError(
                f"data {table.source}: {columns} features, the training data has {len(self.shift)}"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            inputs = ((table.features - self.shift) / self.scale).astype(dtype)
        _refuse(
            table,
            ~(np.isfinite(inputs) & np.isfinite(self.scale)),
            f"is too large to be scaled as {dtype}; divide the feature by a constant",
        )
        return inputs


class Dataset(NamedTuple):
    """What a training needs of its data."""

    train_inputs: Matrix
    train_targets: Matrix
    test_inputs: Matrix
    test_targets: Matrix
    classes: tuple[ClassName, ...]
    scaler: Scaler
    columns: tuple[str, ...] | None


def load_dataset(config: Config) -> Dataset:
    """Read, check, split and scale the configured data.

    Raises:
        DataError: the data can not be trained on, or does not fit the configuration.
    """
    train, test = load_tables(config.data)
    classes = _classes(config.data.classes, train)
    scaler = fit_scaler(train.features, config.data)
    dtype = config.training.dtype
    dataset = Dataset(
        scaler.apply(train, dtype),
        one_hot(train, classes, dtype),
        scaler.apply(test, dtype),
        one_hot(test, classes, dtype),
        classes,
        scaler,
        train.columns,
    )
    _check_fit(config, dataset)
    return dataset


def data_digest(dataset: Dataset) -> str:
    """The BLAKE2b-256 hex digest of all that training uses: scaled rows, targets, classes."""
    hasher = hashlib.blake2b(repr(dataset.classes).encode(), digest_size=32)
    for array in (dataset.train_inputs, dataset.train_targets):
        hasher.update(repr(array.shape).encode())
        hasher.update(
            np.ascontiguousarray(array, array.dtype.newbyteorder("<")).view(np.uint8).data
        )
    return hasher.hexdigest()


def load_tables(data: DataConfig) -> tuple[Table, Table]:
    """The training rows and the test rows of a source, checked but not scaled."""
    tested: Table | None = None
    match data:
        case IdxSource():
            train = read_idx_pair(data.train_images, data.train_labels)
            if data.test_images and data.test_labels:
                tested = read_idx_pair(data.test_images, data.test_labels)
        case NpzSource():
            train = read_npz(data.path, data.features, data.labels)
            if data.test_features and data.test_labels:
                tested = read_npz(data.path, data.test_features, data.test_labels)
        case CsvSource():
            train = read_csv(data.train, data.label)
            if data.test:
                tested = read_csv(data.test, data.label, train.columns)
        case DigitsSource():
            train = read_digits()
    for table in (train, tested):
        if table is not None:
            check_finite(table)
    return (train, tested) if tested is not None else _hold_out(train, data)


def fit_scaler(features: NDArray[np.float64], data: DataConfig) -> Scaler:
    """The configured scaling's numbers; a constant column is only shifted."""
    columns = features.shape[1]
    axis = 0 if data.statistics == "feature" else None
    low, high = features.min(axis), features.max(axis)
    with np.errstate(over="ignore", invalid="ignore"):  # `Scaler.apply` refuses what overflows
        match data.scaling:
            case "minmax":
                shift, scale = low, high - low
            case "standard":
                shift, scale = features.mean(axis), features.std(axis)
            case "none":
                return Scaler(np.zeros(columns), np.ones(columns))
    # The mean of equal numbers can differ from them, by rounding: that is no deviation.
    constant = low == high
    shift = np.where(constant, low, shift)
    scale = np.where(constant | (scale == 0), 1.0, scale)
    return Scaler(*(np.broadcast_to(part, columns).astype(np.float64) for part in (shift, scale)))


def one_hot(table: Table, classes: Sequence[ClassName], dtype: str) -> Matrix:
    """Targets (rows, classes): 1 in the column of the row's class, else 0.

    Raises:
        DataError: a label that is none of the classes; names the row.
    """
    if table.labels is None:
        raise DataError(f"data {table.source}: has no labels")
    # By their text: one file of a data set may hold nothing but numbers, the other words too.
    column_of = {str(name): column for column, name in enumerate(classes)}
    found, which = np.unique(table.labels, return_inverse=True)
    for position, name in enumerate(found.tolist()):
        if str(name) not in column_of:
            row = int(np.flatnonzero(which == position)[0])
            raise DataError(
                f"data {table.source}: {table.place(row)}: label {name!r} is none of the"
                f" {len(classes)} classes {_some(classes)}"
            )
    columns = np.array([column_of[str(name)] for name in found.tolist()])[which]
    targets: Matrix = np.eye(len(classes), dtype=dtype)[columns]
    return targets


def check_finite(table: Table) -> None:
    """Raise a DataError that names the first cell that is NaN or infinite."""
    _refuse(table, ~np.isfinite(table.features), "is no finite number")


def _refuse(table: Table, wrong: NDArray[np.bool_], why: str) -> None:
    """Raise a DataError that names the first cell that is `wrong`, if there is one."""
    if wrong.any():
        row, column = np.unravel_index(wrong.argmax(), wrong.shape)
        name = repr(table.columns[column]) if table.columns else column
        raise DataError(
            f"data {table.source}: {table.place(int(row))}, feature {name}:"
            f" {table.features[row, column]} {why}"
        )


def _classes(configured: Sequence[ClassName] | None, train: Table) -> tuple[ClassName, ...]:
    """The configured classes, or those of the training rows, sorted."""
    found = () if train.labels is None else tuple(np.unique(train.labels).tolist())
    classes = found if configured is None else tuple(configured)
    if len(classes) < 2:  # noqa: PLR2004 - there is nothing to tell apart
        raise DataError(
            f"data {train.source}: a single class {_some(classes)}, at least two needed"
        )
    return classes


def _hold_out(table: Table, data: DataConfig) -> tuple[Table, Table]:
    """A fixed share of the rows as test set, by a permutation of its own seed."""
    row_count = len(table.features)
    order = np.random.default_rng([data.split_seed, 0]).permutation(row_count)
    test_count = max(1, round(row_count * data.test_fraction))
    if test_count >= row_count:
        raise DataError(
            f"config data.test_fraction: {data.test_fraction} holds out {test_count} of the"
            f" {row_count} rows of {table.source}, none is left to train on; lower it"
        )
    return _take(table, np.sort(order[test_count:])), _take(table, np.sort(order[:test_count]))


def _take(table: Table, rows: NDArray[np.intp]) -> Table:
    labels = None if table.labels is None else table.labels[rows]
    return table._replace(
        features=table.features[rows],
        labels=labels,
        place=lambda row: table.place(int(rows[row])),
    )


def _check_fit(config: Config, dataset: Dataset) -> None:
    """Layer sizes and row counts against the data."""
    sizes, training = config.network.sizes, config.training
    row_count, feature_count = dataset.train_inputs.shape
    if sizes[0] != feature_count or sizes[-1] != len(dataset.classes):
        fitting = [feature_count, *sizes[1:-1], len(dataset.classes)]
        raise DataError(
            f"config network.sizes: {list(sizes)} does not fit data with {feature_count} features"
            f" and {len(dataset.classes)} classes; set it to {fitting}"
        )
    micro_batch = training.batch_size // training.shards
    if row_count // training.shards < micro_batch:
        raise DataError(
            f"config training.batch_size: {training.batch_size} needs {training.shards} shards of"
            f" at least {micro_batch} rows, the training data has {row_count} rows in all;"
            " lower training.batch_size"
        )


def _some(classes: Sequence[ClassName]) -> str:
    shown = ", ".join(map(repr, classes[:10]))
    return f"({shown}{', ...' if len(classes) > 10 else ''})"  # noqa: PLR2004 - enough to see
