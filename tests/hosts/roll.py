"""A program: waits until exactly the named nodes of a Ray cluster live; prints them.

python -m tests.hosts.roll HEAD:PORT ADDRESS...
"""

import json
import sys
import time
from typing import Any

import ray

from tests.command import DEADLINE_S


def main(cluster: str, *alive: str) -> None:
    ray.init(address=cluster, log_to_driver=False, logging_level="ERROR")
    until_s = time.monotonic() + DEADLINE_S
    while (there := living()).keys() != set(alive):
        if time.monotonic() > until_s:
            sys.exit(f"asked for {alive}, found {ray.nodes()}")
        time.sleep(0.2)
    print(json.dumps([*there.values()]))


def living() -> dict[str, dict[str, Any]]:
    """By their addresses: who died and came back has the old one, and a new number."""
    return {node["NodeManagerAddress"]: node for node in ray.nodes() if node["Alive"]}


if __name__ == "__main__":
    main(*sys.argv[1:])
