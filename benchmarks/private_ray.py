"""A Ray of the benchmark's own, as `everstep train` starts one."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import ray


@contextmanager
def private_ray(cpu_count: int) -> Iterator[None]:
    """Ray with so many CPUs, whatever the machine has; gone after the `with` block."""
    ray.init(
        address="local",
        num_cpus=cpu_count,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        yield
    finally:
        ray.shutdown()
