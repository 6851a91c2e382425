"""The least that a Ray program of three actors does: what start-up is compared with.

    python -m benchmarks.peers.bare_ray

Prints three times of the wall clock: Ray imported, Ray there, three actors have answered.
"""

import logging
import time

import ray


class Bare:
    """An actor that does nothing."""

    def answer(self) -> int:
        """It is there."""
        return 1


def main() -> None:
    """Start Ray with a CPU for each worker, a server and two workers at once, and call each."""
    imported_s = time.time()
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    there_s = time.time()
    actors = [ray.remote(Bare).options(num_cpus=count).remote() for count in (0, 1, 1)]
    ray.get([actor.answer.remote() for actor in actors])
    print(imported_s, there_s, time.time())


if __name__ == "__main__":
    main()
