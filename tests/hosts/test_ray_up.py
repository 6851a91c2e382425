"""`ray up cluster.yaml` over ssh, a training and a job on what it started, and `ray down`.

Everything runs on hosts: a laptop that belongs to no cluster, and three that become one. What is
run on them is what cluster.yaml says, but for the two commands that would install Everstep from
the network: there is the environment of the tests instead, with the sources that Ray brought.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest
import yaml

from tests.command import DEADLINE_S, events_of, result_of
from tests.hosts.network import Host, Network
from tests.hosts.nodes import RayNodes
from tests.hosts.ssh import SecureShell
from tests.hosts.training import settings, undisturbed

pytestmark = pytest.mark.hosts

EPOCHS: Final = 2
# Each worker wants a whole host. One more than the head runs Ray anyway: Ray's autoscaler sees that
# the third is wanted.
_SETS: Final = ("--set=cluster.workers=3", f"--set=cluster.worker_cpus={os.cpu_count()}")
_BIN: Final = Path(sys.executable).parent
_INSTEAD: Final = {
    "python3 -m venv ": f"mkdir ~/everstep-env && ln -s {_BIN} ~/everstep-env/bin",
    "~/everstep-env/bin/pip ": "echo 'export PYTHONPATH=~/everstep' >> ~/.bashrc",
}
# What runs on a host that is no member of a cluster.
_OF_THE_HOST: Final = {"unshare", "bash", "cat", "nsenter", "sshd"}
# What Ray's launcher writes where it likes.
_LAUNCHER_S: Final = ("ray_ssh_*", "ray-*", "cluster-*")


class Launched(RayNodes):
    """What `ray up` starts, from a laptop, on hosts with an sshd; their tokens are files."""

    def __init__(self, shell: SecureShell, repository: Path, laptop: Host, *hosts: Host) -> None:
        super().__init__(shell.directory)
        self.shell, self.repository, self.laptop = shell, repository, laptop
        self.head, *self.workers = hosts
        self.hosts = {host.address: host for host in hosts}
        self.file = shell.directory / "cluster.yaml"
        self.file.write_text(yaml.safe_dump(self._filled_in(hosts)))

    def environment(self, host: Host) -> dict[str, str]:
        return {**self.shell.environment(host), "RAY_AUTH_MODE": "token"}

    def launcher(self, command: str, *arguments: str) -> str:
        """A command of Ray's launcher, on the laptop, where the repository is; what it printed."""
        done = self._run(self.laptop, "ray", command, str(self.file), *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def train(self, directory: Path, command: str) -> set[str]:
        """Three workers, by `ray exec` on the head, to the undisturbed end; the actors' addresses.

        Args:
            command: what is executed; `{}` is the command that trains. It names no address.
        """
        train = ["everstep", "train", *settings(EPOCHS), *_SETS, "--out", str(directory)]
        self.launcher("exec", command.format(" ".join(train)))
        assert result_of(directory)["digest"] == undisturbed(EPOCHS)
        return {e["host"] for e in events_of(directory) if e["event"] == "joined"}

    def stop_workers(self) -> None:
        """What docs/clusters.md says after `ray down`, for these hosts, their root and its key."""
        lines = (self.repository / "docs" / "clusters.md").read_text().splitlines()
        (command,) = (line.strip() for line in lines if line.startswith("    for host in "))
        config = yaml.safe_load((self.repository / "cluster.yaml").read_text())
        theirs = " ".join(config["provider"]["worker_ips"])
        login = f"ssh {config['auth']['ssh_user']}@$host "
        for there, here in (
            (f" {theirs};", f" {' '.join(host.address for host in self.workers)};"),
            (login, f"{shlex.join(self.shell.login)} root@$host "),
        ):
            assert command.count(there) == 1
            command = command.replace(there, here)
        done = self._run(self.laptop, "bash", "-e", "-c", command)
        assert done.returncode == 0, done.stdout + done.stderr

    def _filled_in(self, hosts: tuple[Host, ...]) -> dict[str, object]:
        """The file in the repository, changed as its reader would."""
        config: dict[str, object] = yaml.safe_load((self.repository / "cluster.yaml").read_text())
        head, *workers = (host.address for host in hosts)
        config["provider"] |= {"head_ip": head, "worker_ips": workers}
        config["auth"] = {"ssh_user": "root", "ssh_private_key": str(self.shell.key)}
        commands = config["setup_commands"]
        for beginning, instead in _INSTEAD.items():
            (place,) = (n for n, each in enumerate(commands) if each.startswith(beginning))
            commands[place] = instead
        return config


@pytest.fixture
def launched(network: Network, short_directory: Path, repository: Path) -> Iterator[Launched]:
    """Nothing runs yet but sshd; in the end nothing is left."""
    network.reset()
    before = _files_of_the_launcher()
    laptop, hosts = network.add_host(), network.hosts[:3]
    directory = short_directory / "up"
    directory.mkdir()
    with SecureShell(directory) as shell:
        try:
            for host in hosts:
                host.kill()  # what other tests left there
                shell.serve(host)
            shell.furnish(laptop)
            yield Launched(shell, repository, laptop, *hosts)
        finally:
            for host in hosts:
                host.kill()
            network.remove_host(laptop)
    shutil.rmtree(directory)
    assert _files_of_the_launcher() - before == set()


def _files_of_the_launcher() -> set[Path]:
    return {path for pattern in _LAUNCHER_S for path in Path("/tmp").glob(pattern)}


def wait_until_empty(*hosts: Host) -> None:
    """Of all but what was there before `ray up`."""
    until_s = time.monotonic() + DEADLINE_S
    while left := {p.name() for host in hosts for p in host.processes()} - _OF_THE_HOST:
        assert time.monotonic() < until_s, left
        psutil.wait_procs([psutil.Process()], timeout=0.1)


def refused(cluster: Launched, host: Host, directory: Path, *command: str) -> str:
    """What a command on a host says to somebody who has no token, and fails."""
    directory.mkdir(exist_ok=True)
    environment = {**cluster.shell.environment(host), "HOME": str(directory)}
    done = subprocess.run(
        host.command(*command, within=directory),
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    return done.stderr


def test_ray_up_makes_a_cluster_of_hosts_that_trains_and_ray_down_ends_it(
    launched: Launched, tmp_path: Path
) -> None:
    made = launched.ray(launched.laptop, "get-auth-token", "--generate")
    assert made.returncode == 0, made.stderr
    launched.launcher("up", "-y")
    assert launched.train(tmp_path / "run", "{}") == set(launched.hosts)

    stranger, command = tmp_path / "stranger", (sys.executable, "-m", "trainer", "train")
    options = ("--address", launched.address, "--out", "run")
    lines = refused(launched, launched.workers[1], stranger, *command, *options).splitlines()
    assert lines[-2].startswith(f"everstep: can not join the Ray cluster at {launched.address}: ")
    assert not (stranger / "run").exists()
    job = ("ray", "job", "submit", "--address=http://127.0.0.1:8265", "--", "ls")
    assert "Missing authentication token" in refused(launched, launched.head, stranger, *job)

    by_job = launched.train(tmp_path / "job", "ray job submit -- {}")
    assert by_job == set(launched.hosts)

    launched.launcher("down", "-y")
    launched.stop_workers()
    wait_until_empty(*launched.hosts.values())
