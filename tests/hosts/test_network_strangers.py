"""Somebody on the network who has no business with the training: on its ports, and on Ray's."""

import secrets
import socket
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from actors.addresses import Address
from tests.command import Everstep, result_of
from tests.hosts.network import Network
from tests.hosts.nodes import RayNodes
from tests.hosts.training import LONG, Run, settings, undisturbed
from tests.strangers import GARBAGE, prove_wrongly, say

pytestmark = pytest.mark.hosts


def link_ports(process_ids: set[int]) -> set[Address]:
    """Where these processes listen, and speak Everstep's protocol; called within a host."""
    found = set()
    for process_id in process_ids:
        for listening in psutil.Process(process_id).net_connections("tcp"):
            if listening.status == psutil.CONN_LISTEN and speaks_everstep(listening.laddr):
                found.add((listening.laddr.ip, listening.laddr.port))
    return found


def speaks_everstep(address: Address) -> bool:
    with suppress(OSError), socket.create_connection(address, timeout=1.0) as connection:
        return connection.recv(8) == b"EVERSTEP"
    return False


def test_a_stranger_on_the_link_ports_is_refused_and_counted(
    network: Network, nodes: RayNodes, everstep: Everstep
) -> None:
    run = Run(everstep, nodes, "--set=cluster.workers=4", epochs=LONG)
    run.wait_until_in_an_epoch()
    ports = set()
    for host in network.hosts:
        mine = {process.pid for process in host.processes()}
        with host.entered():
            found = link_ports(mine)
        assert {ip for ip, _ in found} <= {host.address}  # not every address of the host
        ports |= found
    assert len(ports) == 2  # the server's and the driver's; nobody calls a worker
    stranger = network.hosts[1]
    with stranger.entered():
        for address in ports:
            for words in GARBAGE.values():
                say(address, words)
            prove_wrongly(address)
    count = len(ports) * (len(GARBAGE) + 1)
    run.wait_for(lambda: sum(e["count"] for e in run.events("refused")) >= count)
    result = run.result_of_this_epoch()
    assert result["refused_connections"] >= count
    assert result["deaths"] == 0


@pytest.mark.parametrize("token", [None, secrets.token_hex(32)], ids=["no token", "another"])
def test_a_client_without_the_token_is_refused_in_one_clear_line(
    token: str | None, network: Network, nodes: RayNodes, everstep: Everstep
) -> None:
    for name in nodes.token:
        del everstep.environment[name]
    if token is not None:
        everstep.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    everstep.environment["HOME"] = str(everstep.directory)  # without a token of its own
    everstep.prefix = network.hosts[1].command(within=everstep.directory)
    done = everstep.run("train", "--address", nodes.address, "--out", "run")
    assert done.returncode == 1
    why = (
        "it wants a token, and there is none here; set RAY_AUTH_MODE=token, and set RAY_AUTH_TOKEN"
    )
    if token is not None:
        why = "the token in RAY_AUTH_TOKEN is not the cluster's; set RAY_AUTH_TOKEN"
    refused, kept = done.stderr.splitlines()
    assert refused == (
        f"everstep: can not join the Ray cluster at {nodes.address}: {why}, or copy"
        " ~/.ray/auth_token of the cluster's head"
    )
    assert kept == "everstep: no epoch was finished; nothing is kept"
    assert not (everstep.directory / "run").exists()


def test_on_a_node_auto_shows_the_token_that_lies_there(
    nodes: RayNodes, everstep: Everstep
) -> None:
    """`ray.init("auto")` does so by itself; an address that was given is not trusted with it."""
    for name in nodes.token:
        del everstep.environment[name]
    everstep.environment["HOME"] = str(everstep.directory)
    (everstep.directory / ".ray").mkdir()
    (everstep.directory / ".ray" / "auth_token").write_text(nodes.token["RAY_AUTH_TOKEN"])
    there = everstep.run("train", "--address", nodes.address, "--out", "no-run")
    why = "it wants a token; set RAY_AUTH_MODE=token, and the one in ~/.ray/auth_token is shown"
    assert there.stderr.splitlines()[0].endswith(f" {nodes.address}: {why}")
    done = everstep.run("train", *settings(1), "--address", "auto", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert result_of(everstep.directory / "run")["digest"] == undisturbed(1)


@pytest.mark.parametrize("has_token", [False, True], ids=["no token", "another"])
def test_a_node_without_the_token_is_refused_by_ray(
    has_token: bool, network: Network, nodes: RayNodes, tmp_path: Path
) -> None:
    stranger = RayNodes(nodes.directory)
    another = stranger.token if has_token else {"HOME": str(tmp_path)}
    stranger.token = {**another, "RAY_NUM_REDIS_GET_RETRIES": "2"}  # not twenty, a second each
    host = network.add_host()
    try:
        there = f"--node-ip-address={host.address}"
        done = stranger.ray(host, "start", f"--address={nodes.address}", there)
        assert done.returncode != 0, done.stdout
        assert "InvalidAuthToken" in done.stdout + done.stderr
        nodes.roll(*network.hosts[:3])
    finally:
        network.remove_host(host)
