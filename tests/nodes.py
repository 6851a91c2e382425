"""A Ray of several nodes on this machine, each with a loopback address of its own.

A process has one Ray, and that of the other tests has one node: so this is a program, and says
what it heard as lines of JSON. `test_nodes.py` runs it and looks at the lines.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster

from actors.cluster import Job
from actors.messages import SERVER, EpochDone, RunEpoch
from actors.names import slot_of
from actors.orders import DriverMessage, Failed, Joined, Unlike, Unplaced
from actors.ray_cluster import RayCluster
from actors.supervisor import Crew
from tests.toys import toy_job, undisturbed

HEAD = "127.0.0.11"
ONE_PLACE = ("127.0.0.12", "127.0.0.13")
LATER = "127.0.0.14"
STEPS = 20
PORTS = (20700, 20720)


def train(nodes: Cluster, job: Job) -> None:
    """Two places on the head, one on two others; then the server's node is lost, another comes."""
    messages: list[DriverMessage] = []
    with RayCluster(job, Crew(1, 4), ports=PORTS) as cluster:

        def until(found: Callable[[DriverMessage], bool]) -> DriverMessage:
            while True:
                heard = cluster.receive(60.0)
                assert heard is not None, messages
                messages.append(heard.message)
                assert not isinstance(heard.message, Failed), heard.message.reason
                if found(heard.message):
                    return heard.message

        def joined() -> dict[str, str]:
            return {m.name: m.host for m in messages if isinstance(m, Joined)}

        until(lambda _: len(joined()) == 5)
        first = joined()
        server = next(m for m in messages if isinstance(m, Joined) and m.name == SERVER)
        tell("first", hosts=first, ports=[ports_of(os.getpid()), ports_of(server.process_id)])
        lost = first[SERVER]
        (node,) = [node for node in nodes.worker_nodes if node.node_ip_address == lost]
        nodes.remove_node(node, allow_graceful=False)
        until(lambda m: isinstance(m, Joined) and slot_of(m.name) == SERVER)
        until(lambda m: isinstance(m, Unplaced))
        tell("lost", host=lost, hosts=joined())
        nodes.add_node(
            num_cpus=1, node_ip_address=LATER, env_vars={"OPENBLAS_CORETYPE": "Prescott"}
        )
        until(lambda m: isinstance(m, Joined))
        tell("later", hosts=joined())
        cluster.run_epoch(RunEpoch(0, STEPS))
        done = until(lambda m: isinstance(m, EpochDone))
    assert isinstance(done, EpochDone)
    same = done.parameters.tobytes() == undisturbed(job, STEPS).parameters.tobytes()
    told = [m for m in messages if isinstance(m, Unlike | Unplaced)]
    tell("done", same=same, told=[{"kind": type(m).__name__, **asdict(m)} for m in told])


def ports_of(process_id: int) -> list[int]:
    """Of the allowed ones, those on which a process listens; Ray's own are others."""
    listening = [
        connection.laddr.port
        for connection in psutil.Process(process_id).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    return [port for port in listening if PORTS[0] <= port <= PORTS[1]]


def tell(what: str, **details: Any) -> None:
    sys.stdout.write(json.dumps({"what": what, **details}) + "\n")
    sys.stdout.flush()


def main() -> None:
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "node_ip_address": HEAD})
    try:
        for host in ONE_PLACE:
            nodes.add_node(num_cpus=1, node_ip_address=host)
        ray.init(address=nodes.address, _node_ip_address=HEAD, log_to_driver=False)
        train(nodes, toy_job(8))
    finally:
        ray.shutdown()
        nodes.shutdown()


if __name__ == "__main__":
    main()
