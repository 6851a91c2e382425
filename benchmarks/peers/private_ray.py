"""A Ray of a peer's own: on the loopback interface, one CPU for each worker, quiet."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.kills import WORKERS, leave_on_sigterm


@contextmanager
def private_ray(folder: Path) -> Iterator[None]:
    """Start it, and end it on leaving; its files are in ``folder``."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    import ray

    ray.init(
        address="local",
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.2",
        _temp_dir=str(folder / "ray"),
    )
    leave_on_sigterm()  # once more: Ray's own handler would end this process on the spot
    try:
        yield
    finally:
        ray.shutdown()
