"""`everstep evaluate` and `everstep predict`: a checkpoint on rows, outside any training."""

import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as ConsoleTable
from rich.text import Text

from actors.cluster import one_blas_thread
from trainer.checkpoints import Checkpoint, load_checkpoint, newest_intact
from trainer.csv_tables import read_csv
from trainer.data_config import CsvSource, NpzSource
from trainer.datasets import check_finite, load_tables, one_hot
from trainer.errors import DataError
from trainer.files import FOLDER, checkpoints_in, write_atomically
from trainer.job import build_network
from trainer.network import Evaluation
from trainer.run_place import refuse_no_directory
from trainer.storage.place import Place, path_on_disk, place_of
from trainer.tables import Table, read_npz


def print_evaluation(directory: str, name: str | None, dataset: str) -> None:
    """Accuracy, loss and confusion matrix; `dataset` is test, train or a labelled file."""
    rows = _local(dataset, "--dataset", "rows are read from a path only")
    checkpoint = _checkpoint(place_of(directory), name)
    table = _labelled(checkpoint, dataset, rows)
    config = checkpoint.config
    dtype = config.training.dtype
    with one_blas_thread:
        evaluation = build_network(config).evaluate(
            checkpoint.parameters,
            checkpoint.scaler.apply(table, dtype),
            one_hot(table, checkpoint.classes, dtype),
        )
    console = Console()
    console.print(
        f"step {checkpoint.step}, {len(table.features):,} rows of {table.source}"
        f"{'' if dataset not in ('test', 'train') else f' ({dataset})'}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    console.print(f"accuracy  {evaluation.accuracy:.4f}", highlight=False)
    console.print(f"loss      {evaluation.loss:.4f}  ({config.network.loss})", highlight=False)
    console.print(_confusion(evaluation, checkpoint))


def write_predictions(directory: str, name: str | None, inputs: str, out: str | None) -> None:
    """CSV lines: class, then the probability of each class."""
    source = _local(inputs, "INPUTS", "rows are read from a path only")
    target = None if out is None else _local(out, "--out", "predictions are written to a path only")
    place = place_of(directory)
    if target is not None:
        _refuse_to_replace(target, source, place)
    checkpoint = _checkpoint(place, name)
    table = _read(checkpoint, source, labelled=False)
    config = checkpoint.config
    with one_blas_thread:
        outputs = build_network(config).feedforward(
            checkpoint.parameters, checkpoint.scaler.apply(table, config.training.dtype)
        )
    text = _as_csv(probabilities(outputs), checkpoint)
    if target is None:
        sys.stdout.write(text)
        return
    _write(target, text)


def _local(given: str, what: str, rule: str) -> Path:
    """A file of this machine; a store holds run directories and nothing else.

    Raises:
        DataError, RunDirectoryError: it is a URL, or almost one.
    """
    path = path_on_disk(given, what)
    if path is None:
        raise DataError(f"{what} {given}: is a URL, and {rule}")
    return path


def _refuse_to_replace(out: Path, inputs: Path, directory: Place) -> None:
    """Neither what is read nor what a run has written is replaced by predictions."""
    target = out.resolve()
    if target == inputs.resolve():
        raise DataError(f"--out {out}: that is the file to read; name another one")
    if isinstance(directory, Path) and directory.resolve() in target.parents:
        raise DataError(f"--out {out}: that is in the run directory {directory}; write elsewhere")


def _write(out: Path, text: str) -> None:
    """A file is replaced as a whole; into a pipe or a device the text is written."""
    try:
        if out.exists() and not out.is_file():
            out.write_text(text, encoding="utf-8")
        else:
            write_atomically(out.resolve(), text.encode())
    except OSError as error:
        raise DataError(f"--out {out}: {error.strerror}") from None


def probabilities(outputs: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Outputs (rows, classes) as shares that sum to 1 in each row.

    A softmax output is that already. Sigmoid and identity outputs estimate each class on
    its own: what is negative counts as 0, then the row is divided by its sum. A row
    without anything above 0 gets equal shares.
    """
    shares = np.maximum(outputs.astype(np.float64), 0)
    sums = shares.sum(axis=1, keepdims=True)
    return np.where(sums > 0, shares / np.where(sums > 0, sums, 1), 1 / outputs.shape[1])


def _checkpoint(directory: Place, name: str | None) -> Checkpoint:
    """The newest intact checkpoint of a run, or the named one.

    Raises:
        DataError, RunDirectoryError: there is no such thing.
        CheckpointError: it is there and can not be believed.
    """
    try:
        refuse_no_directory(directory)
        kept = checkpoints_in(directory / FOLDER)
        if name is not None:
            return load_checkpoint(_named(directory, name, kept))
    except OSError as error:  # a name that is too long, a folder that nobody may look into
        raise DataError(f"{error.filename}: {error.strerror}") from None
    if not kept:
        raise DataError(f"DIR {directory}: no checkpoint in this directory; give one of a run")
    intact = newest_intact(directory)
    for line in intact.damaged.values():
        sys.stderr.write(f"everstep: {line}\n")
    return intact.checkpoint


def _named(directory: Place, name: str, kept: list[Place]) -> Place:
    kept_in = directory / FOLDER
    candidates = (kept_in / name, kept_in / f"{name}.safetensors", place_of(name, "--checkpoint"))
    for path in candidates:
        if path.is_file():
            return path
    has = f"the newest is {kept[-1].name}" if kept else "it has none at all"
    raise DataError(f"--checkpoint {name}: no such file, nor does {directory} have it; {has}")


def _labelled(checkpoint: Checkpoint, dataset: str, path: Path) -> Table:
    """The rows that `--dataset` names; `path` is where they are if it is a file."""
    if dataset in ("test", "train"):
        train, test = load_tables(checkpoint.config.data)
        return test if dataset == "test" else train
    return _read(checkpoint, path, labelled=True)


def _read(checkpoint: Checkpoint, path: Path, labelled: bool) -> Table:
    """A .csv by the columns of the training data, an .npz by the names of its arrays."""
    table = _read_unchecked(checkpoint, path, labelled)
    check_finite(table)
    return table


def _read_unchecked(checkpoint: Checkpoint, path: Path, labelled: bool) -> Table:
    data = checkpoint.config.data
    match path.suffix.lower():
        case ".csv":
            label = (data.label if isinstance(data, CsvSource) else "label") if labelled else None
            return read_csv(path, label, checkpoint.columns)
        case ".npz":
            names = (data.features, data.labels) if isinstance(data, NpzSource) else ("x", "y")
            return read_npz(path, names[0], names[1] if labelled else None)
        case _:
            raise DataError(f"data {path}: must be a .npz or a .csv file")


def _confusion(evaluation: Evaluation, checkpoint: Checkpoint) -> ConsoleTable:
    """Rows are the true classes, columns the predicted ones; 0 is left blank."""
    title = "true class (rows), predicted class (columns)"
    table = ConsoleTable(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("", style="bold")
    for name in checkpoint.classes:
        table.add_column(Text(str(name)), justify="right")
    for name, row in zip(checkpoint.classes, evaluation.confusion.tolist(), strict=True):
        table.add_row(Text(str(name)), *(str(count) if count else "" for count in row))
    return table


def _as_csv(shares: NDArray[np.float64], checkpoint: Checkpoint) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", *(f"p_{name}" for name in checkpoint.classes)])
    for row in shares:
        writer.writerow([checkpoint.classes[int(row.argmax())], *(f"{p:.6f}" for p in row)])
    return text.getvalue()
