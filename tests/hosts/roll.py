"""A program: waits until exactly the named nodes of a Ray cluster live; prints all nodes.

python -m tests.hosts.roll HEAD:PORT ADDRESS...
"""

import json
import sys
import time

import ray

from tests.command import DEADLINE_S


def main(cluster: str, *alive: str) -> None:
    ray.init(address=cluster, log_to_driver=False, logging_level="ERROR")
    until_s = time.monotonic() + DEADLINE_S
    while {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]} != set(alive):
        if time.monotonic() > until_s:
            sys.exit(f"asked for {alive}, found {ray.nodes()}")
        time.sleep(0.2)
    print(json.dumps(ray.nodes()))


if __name__ == "__main__":
    main(*sys.argv[1:])
