"""The line of a node is bad for a while: how fast it goes is not looked at, what comes out is."""

import pytest

from tests.command import Everstep
from tests.hosts.line import Weather
from tests.hosts.network import Network
from tests.hosts.nodes import RayNodes
from tests.hosts.training import LONG, Run

pytestmark = pytest.mark.hosts

WEATHERS = {  # and what the line must have done to frames
    "20 percent of the frames are lost": (Weather(loss=0.2), {"delivered", "lost"}),
    "an answer takes 100 ms longer": (Weather(delay_s=0.05), {"delivered"}),
    "it takes in no word": (Weather(deaf=True), {"delivered", "blocked"}),
    "no word comes out": (Weather(mute=True), {"delivered", "blocked"}),
}


@pytest.mark.parametrize("what", WEATHERS)
def test_a_bad_line_does_not_make_a_training_wrong(
    what: str, network: Network, nodes: RayNodes, everstep: Everstep
) -> None:
    weather, effects = WEATHERS[what]
    run = Run(everstep, nodes, "--set=cluster.workers=4", epochs=LONG)
    run.wait_until_in_an_epoch()
    bad = run.without_server(*network.hosts[1:3])
    there = {name for name, address in run.where().items() if address == bad.address}
    with bad.weather(weather) as did:
        if weather.deaf or weather.mute:  # half a conversation is none
            run.wait_for(lambda: not there & {*run.where()})
        else:  # a bad one is one all the same: who is late with a step is in the next again
            run.wait_for(lambda: run.workers_on(bad))
        run.wait_until_it_moved()
    assert {*did} == effects
    run.result_of_this_epoch()


def test_a_slow_line_does_not_make_a_training_wrong(
    network: Network, nodes: RayNodes, everstep: Everstep
) -> None:
    run = Run(everstep, nodes, "--set=cluster.workers=4", epochs=LONG)
    run.wait_until_in_an_epoch()
    slow = run.without_server(*network.hosts[1:3])
    slow.limit("10mbit")
    run.wait_until_it_moved()
    run.wait_for(lambda: run.workers_on(slow))
    assert slow.held_back() > 0
    run.result_of_this_epoch()
