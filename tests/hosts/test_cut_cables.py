"""The cable of a node is cut for a while: nobody says a word, and no connection ends."""

import pytest

from tests.command import Everstep
from tests.hosts.conftest import CPUS, Record
from tests.hosts.network import Network
from tests.hosts.nodes import RayNodes
from tests.hosts.training import LONG, Run, passed
from trainer import Config

pytestmark = pytest.mark.hosts

# Of a link on which nobody speaks: silent for the one half, then asked in vain for the other.
LONGEST_S = 2 * Config().cluster.link_timeout_s + 2


def test_a_cable_that_is_cut_for_five_seconds_costs_no_actor_and_no_bit(
    network: Network, nodes: RayNodes, everstep: Everstep, record: Record
) -> None:
    run = Run(everstep, nodes, "--set=cluster.workers=4", epochs=LONG)
    run.wait_until_in_an_epoch()
    cut = run.without_server(*network.hosts[1:3])
    deaths = len(run.events("died"))
    before_s = run.stalls_s()
    cut.unplug()
    run.wait_for(passed(5.0))
    cut.plug()
    run.wait_for(lambda: run.workers_on(cut))
    result = run.result_of_this_epoch()
    assert result["deaths"] == deaths
    record("the cable of workers cut for 5 s", before_s, result)


def test_a_node_whose_cable_is_cut_for_longer_than_every_timeout_comes_back(
    network: Network, nodes: RayNodes, everstep: Everstep, record: Record
) -> None:
    head, *others = network.hosts[:3]
    run = Run(everstep, nodes, "--set=cluster.workers=4", epochs=LONG)
    run.wait_until_in_an_epoch()
    last = run.without_server(*others)
    (other,) = (host for host in others if host is not last)
    cut = {name for name, address in run.where().items() if address == last.address}
    before_s = run.stalls_s()
    every_timeout = passed(LONGEST_S)
    last.unplug()
    run.wait_for(lambda: not cut & {*run.where()})  # the driver has given them up
    nodes.roll(head, other)  # and so has Ray
    run.wait_for(every_timeout)
    last.plug()
    nodes.wait_until_it_ends(last)  # the node learns that it is dead
    nodes.start(last, CPUS[-1])  # as a service would
    run.wait_for(lambda: run.workers_on(last))
    record("a cable cut for longer than every timeout", before_s, run.result_of_this_epoch())


def test_the_server_s_cable_cut_for_five_seconds_costs_no_actor_and_no_bit(
    network: Network, nodes: RayNodes, everstep: Everstep, record: Record
) -> None:
    head, *others = network.hosts[:3]
    run = Run(everstep, nodes, "--set=cluster.workers=2", on=head, epochs=LONG)
    run.wait_until_in_an_epoch()
    cut = run.with_server(*others)
    deaths = len(run.events("died"))
    before_s = run.stalls_s()
    cut.unplug()
    run.wait_for(passed(5.0))
    cut.plug()
    result = run.result_of_this_epoch()
    assert result["deaths"] == deaths
    # Nobody else could go on; what both ends of the cable noticed is one standstill.
    stalls_s = result["stalls_s"][len(before_s) :]
    assert len([seconds for seconds in stalls_s if seconds > 3]) == 1
    record("the cable of the server cut for 5 s", before_s, result)
