"""The promise: one digest, in one process or on Ray, with any number of workers."""

import subprocess
import sys

import pytest

from trainer import Config, train
from trainer.errors import ConfigError

# (shards, batch_size): micro-batches of 1 row too; not only powers of two.
CUTS = [(1, 1), (1, 16), (4, 4), (4, 32), (7, 7), (7, 21), (8, 8), (8, 40)]
DTYPES = ["float32", "float64"]
WORKERS = [1, 2, 3, 5]


def configured(shards: int, batch_size: int, dtype: str, kind: str, workers: int) -> Config:
    return Config(
        training={
            "epochs": 1,
            "shards": shards,
            "batch_size": batch_size,
            "dtype": dtype,
            "learning_rate": 0.5,
        },
        cluster={"kind": kind, "workers": workers},
    )


def undisturbed(shards: int, batch_size: int, dtype: str) -> str:
    """The reference: one worker in one process."""
    return train(configured(shards, batch_size, dtype, "local", 1)).digest


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shards", "batch_size"), CUTS)
def test_the_number_of_workers_in_one_process_changes_nothing(
    shards: int, batch_size: int, dtype: str
) -> None:
    expected = undisturbed(shards, batch_size, dtype)
    for workers in WORKERS:
        if workers <= shards:
            config = configured(shards, batch_size, dtype, "local", workers)
            assert train(config).digest == expected, f"{workers} workers"


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("shards", [1, 4, 7, 8])
def test_ray_and_one_process_give_the_same_bytes(shards: int, workers: int) -> None:
    """Each pair of counts once, with types and micro-batches (1 and 4 rows) in turn."""
    if workers > shards:
        with pytest.raises(ConfigError, match="would idle"):
            configured(shards, shards, "float32", "ray", workers)
        return
    variant = WORKERS.index(workers) + shards
    dtype, rows = DTYPES[variant % 2], 1 if variant % 4 < 2 else 4
    config = configured(shards, shards * rows, dtype, "ray", workers)
    assert train(config).digest == undisturbed(shards, shards * rows, dtype)


@pytest.mark.parametrize("changed", ["seed", "learning_rate", "shards", "batch_size"])
def test_what_should_change_the_digest_does(changed: str, quick: Config) -> None:
    """Else equal digests would prove nothing."""
    other = {"seed": 1, "learning_rate": 2.5, "shards": 4, "batch_size": 40}
    assert (
        train(quick).digest != train(quick.with_changes(training={changed: other[changed]})).digest
    )


@pytest.mark.parametrize("threads", ["2", "7"])
def test_the_environment_s_thread_count_changes_nothing(threads: str) -> None:
    """A network wide enough that BLAS would divide its products among threads."""
    script = (
        "from trainer import Config, train\n"
        "config = Config(network={'sizes': (64, 512, 10)},"
        " training={'epochs': 1, 'batch_size': 256, 'shards': 1},"
        " cluster={'kind': 'local', 'workers': 1})\n"
        "print(train(config).digest)"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PATH": "", "OPENBLAS_NUM_THREADS": count, "OMP_NUM_THREADS": count},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for count in ("1", threads)
    }
    assert len(printed) == 1
    assert len(printed.pop().strip()) == 64
