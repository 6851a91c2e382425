"""Three nodes that nothing happens to."""

import pytest

from tests.command import Everstep
from tests.hosts.network import Network
from tests.hosts.nodes import RayNodes
from tests.hosts.training import Run

pytestmark = pytest.mark.hosts


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_on_three_nodes_end_with_the_bytes_of_one_process(
    workers: int, network: Network, nodes: RayNodes, everstep: Everstep
) -> None:
    run = Run(everstep, nodes, f"--set=cluster.workers={workers}", epochs=2)
    result = run.result()
    assert result["workers"] == workers
    assert (result["deaths"], result["repeated_steps"]) == (0, 0)
    hosts = {event["worker"]: event["host"] for event in run.events("joined")}
    assert {*hosts.values()} == {host.address for host in network.hosts[:3]}
    if workers == 2:  # one node for each actor
        assert hosts["server"] not in {hosts["worker-0"], hosts["worker-1"]}
