"""The head of the cluster is lost: no Ray can go on there, the training can elsewhere."""

import pytest

from tests.command import DEADLINE_S, Everstep
from tests.hosts.network import Network
from tests.hosts.nodes import RayNodes
from tests.hosts.training import LONG, Run, on_host

pytestmark = pytest.mark.hosts


def test_a_lost_head_ends_the_job_with_a_clear_message_and_resume_goes_on_elsewhere(
    network: Network, nodes: RayNodes, everstep: Everstep
) -> None:
    head, other, last = network.hosts[:3]
    run = Run(everstep, nodes, "--set=cluster.workers=2", on=other, epochs=LONG)
    run.wait_until_in_an_epoch()
    lost = nodes.address
    nodes.kill(head)
    _, errors = run.process.communicate(timeout=DEADLINE_S)
    assert run.process.returncode == 1, errors
    *_, why, kept, command = errors.splitlines()
    assert why.startswith("everstep: training stopped after step ")
    assert f": the head of the Ray cluster at {lost} is lost: no answer for 10 s (" in why
    assert why.endswith("); the training can go on in another cluster")
    assert kept.startswith("everstep: kept: run/checkpoints/step-")
    assert command == "everstep: go on with: everstep resume run --address HOST:PORT"
    for host in network.hosts:  # a new cluster, of fewer nodes
        nodes.kill(host)
    nodes.head = None
    nodes.run_on({other: 1, last: 1})
    on_host(everstep, nodes, other)
    run.resume(command.partition("go on with: ")[2].replace("HOST:PORT", nodes.address))
