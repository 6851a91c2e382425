"""A node is lost whole: its raylet, and every actor on it."""

import pytest

from tests.command import Everstep
from tests.hosts.conftest import CPUS, Record
from tests.hosts.network import Network
from tests.hosts.nodes import RayNodes
from tests.hosts.training import LONG, Run

pytestmark = pytest.mark.hosts


def test_a_node_killed_in_mid_epoch_and_started_again_gets_shards_again(
    network: Network, nodes: RayNodes, everstep: Everstep, record: Record
) -> None:
    run = Run(everstep, nodes, "--set=cluster.workers=4", epochs=LONG)
    run.wait_until_in_an_epoch()
    last = run.without_server(*network.hosts[1:3])
    lost = [name for name, address in run.where().items() if address == last.address]
    before_s = run.stalls_s()
    nodes.kill(last)
    run.wait_for(lambda: not {*lost} & {*run.where()})
    nodes.start(last, CPUS[-1])
    run.wait_for(lambda: run.workers_on(last))
    result = run.result_of_this_epoch()
    assert result["deaths"] >= len(lost) >= 1  # a worker, for there was no room elsewhere
    assert result["workers"] == 4
    record("a node killed whole, and started again", before_s, result)


def test_a_server_that_is_lost_with_its_node_comes_back_on_another(
    network: Network, nodes: RayNodes, everstep: Everstep, record: Record
) -> None:
    head, *others = network.hosts[:3]
    run = Run(everstep, nodes, "--set=cluster.workers=2", on=head, epochs=LONG)
    run.wait_until_in_an_epoch()
    lost = run.with_server(*others)
    before_s = run.stalls_s()
    nodes.kill(lost)
    run.wait_for(lambda: run.server() not in (None, lost.address))
    result = run.result_of_this_epoch()
    assert result["repeated_steps"] > 0
    record("the node with the parameter server killed", before_s, result)
