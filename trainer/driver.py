"""A training from beginning to end: data, job, cluster, course, result.

Read `course.py` for what happens in between.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from actors.cluster import one_blas_thread
from trainer.config import Config
from trainer.course import Course
from trainer.datasets import load_dataset
from trainer.job import build_cluster, build_job, build_network
from trainer.reports import Watcher
from trainer.result import Result
from trainer.run_directory import RunDirectory


def train(
    config: Config | None = None,
    out: str | Path | None = None,
    watchers: Sequence[Watcher] = (),
) -> Result:
    """Train as configured and return the final weights.

    Args:
        config: the defaults train the handwritten digits on a private Ray.
        out: the run directory to create; None writes nothing.
        watchers: called with every `reports.Report`, in the caller's thread.

    Raises:
        DataError, RunDirectoryError: before anything is started.
        ClusterError, DivergedError: training could not go on; a note names what is kept.
    """
    config = config or Config()
    began_s = time.perf_counter()
    # Numbers that overflow are reported as a diverged loss, once, and not by NumPy too.
    with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
        dataset = load_dataset(config)
        network = build_network(config)
        job = build_job(config, network, dataset)
        directory = RunDirectory(Path(out), config) if out is not None else None
        course = Course(config, network, dataset, directory, watchers, began_s)
        try:
            with build_cluster(config, job) as cluster:
                last = course.run(cluster)
        except BaseException as error:
            course.abandon(error)
            raise
        return course.finish(last)
