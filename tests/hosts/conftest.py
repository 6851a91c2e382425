"""A network of three hosts, a Ray cluster on them, and the command that trains there.

They need root, since they make network namespaces. `EVERSTEP_REQUIRED=hosts` turns the skip
of who is not root into a failure: so `.ci/run` says.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.ability import unable
from tests.command import Everstep
from tests.hosts.network import Network
from tests.hosts.nodes import RayNodes
from tests.hosts.training import on_host

Record = Callable[[str, Sequence[float], Mapping[str, Any]], None]
_RECORDED = pytest.StashKey[list[str]]()

# Debian's names of what makes hosts and cables, and of what `ray up` runs.
_PACKAGES: Final = {
    "iproute2": ("ip", "tc"),
    "openssh-server": ("sshd",),
    "openssh-client": ("ssh", "ssh-keygen"),
    "rsync": ("rsync",),
}
_PATH: Final = f"{os.environ['PATH']}:/usr/sbin"

# Four workers need them all; the server goes to one of those with room for fewer, not to the head.
CPUS = (2, 1, 1)


def why_not() -> str | None:
    """What is missing on this machine to make hosts; None: nothing."""
    if os.geteuid() != 0:
        return "only root makes network namespaces; run: sudo -E env PATH=$PATH pytest -m hosts"
    for package, commands in _PACKAGES.items():
        if missing := [each for each in commands if shutil.which(each, path=_PATH) is None]:
            return f"no {' and no '.join(missing)} on this machine; install {package}"
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun makes bad lines, and this machine has none"
    return None


@pytest.fixture(scope="session")
def able() -> None:
    """This machine can make hosts."""
    if (reason := why_not()) is not None:
        unable("hosts", reason)


@pytest.fixture(scope="session")
def network(able: None) -> Iterator[Network]:
    with Network(host_count=3) as made:
        yield made


@pytest.fixture(scope="session")
def short_directory() -> Iterator[Path]:
    """The names of local sockets in it may have about a hundred letters."""
    path = Path(tempfile.mkdtemp(prefix="everstep-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def _nodes(network: Network, short_directory: Path) -> Iterator[RayNodes]:
    nodes = RayNodes(short_directory)
    yield nodes
    for host in network.hosts:
        host.kill()
    nodes.forget()


@pytest.fixture
def nodes(_nodes: RayNodes, network: Network) -> RayNodes:
    """Ray runs on all three; whatever a test does to them is mended before the next."""
    network.reset()
    for host in network.hosts[3:]:  # that a test added
        _nodes.kill(host)
    _nodes.run_on(dict(zip(network.hosts[:3], CPUS, strict=True)))
    return _nodes


@pytest.fixture
def everstep(tmp_path: Path, nodes: RayNodes) -> Iterator[Everstep]:
    """The command, on the head of the cluster."""
    made = Everstep(tmp_path)
    assert nodes.head is not None
    on_host(made, nodes, nodes.head)
    yield made
    for process in made.processes():
        process.kill()


@pytest.fixture
def record(pytestconfig: pytest.Config) -> Record:
    """Note what a fault cost, for docs/clusters.md; it is printed at the end."""
    lines = pytestconfig.stash.setdefault(_RECORDED, [])

    def note(what: str, before_s: Sequence[float], result: Mapping[str, Any]) -> None:
        """`before_s`: the standstills before that fault."""
        stalls_s = result["stalls_s"][len(before_s) :]
        stalls = ", ".join(f"{seconds:.2f}" for seconds in stalls_s) or "none"
        lines.append(f"{what}: seconds without progress {stalls}")

    return note


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What the faults cost."""
    for line in config.stash.get(_RECORDED, []):
        terminalreporter.write_line(f"hosts: {line}")
