"""A node is added while a training runs, and one is drained: it will go, and says so before."""

import pytest

from tests.command import Everstep
from tests.hosts.network import Network
from tests.hosts.nodes import RayNodes
from tests.hosts.training import LONG, Run

pytestmark = pytest.mark.hosts


def test_a_node_that_is_added_gets_shards_and_one_that_is_drained_is_left_in_order(
    network: Network, nodes: RayNodes, everstep: Everstep
) -> None:
    head, *others = network.hosts[:3]
    run = Run(everstep, nodes, "--set=cluster.workers={min: 4, max: 5}", on=head, epochs=LONG)
    run.wait_until_in_an_epoch()
    added = network.hosts[3] if len(network.hosts) > 3 else network.add_host()
    nodes.start(added, 1)
    nodes.wait(added)
    run.wait_for(lambda: run.workers_on(added))

    going = run.with_server(*others)  # it has to go as well, and takes its state along
    staying = [host for host in network.hosts if host is not going]
    there = [name for name, address in run.where().items() if address == going.address]
    repeated = len(run.events("repeated"))
    roll = {node["NodeManagerAddress"]: node["NodeID"] for node in nodes.roll(*network.hosts)}
    drain = ("--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot", "--node-id")
    done = nodes.ray(head, "drain-node", "--address", nodes.address, *drain, roll[going.address])
    assert done.returncode == 0, done.stderr
    run.wait_for(lambda: not {*there} & {*run.where()})
    left = [e for e in run.events("died") if e["worker"] in there]
    nodes.roll(*staying)  # nobody is there any more: Ray ends the node
    run.wait_for(lambda: run.server() in [host.address for host in staying])
    run.result_of_this_epoch()
    because = f"left in order, because its node {going.address} is drained"
    assert [e["reason"] for e in left] == [because] * len(there)
    assert len(there) == 2  # the server and a worker
    assert run.events("repeated")[repeated:] == []
    nodes.kill(going)  # Ray may take a while to end there, and the next test wants it anew
