"""Hosts that one logs in to: each with an sshd, and a home directory for its root.

The hosts of a network share the machine's files. What each must have for itself is mounted where
only its own processes see it: who root is, and where daemons keep their files. All else that root
writes goes to the home directory, and Ray's control sockets are removed in the end. Next:
`test_ray_up.py`.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import psutil

from tests.command import DEADLINE_S
from tests.hosts.network import Host

SSHD: Final = "/usr/sbin/sshd"  # it wants to be called by its full name
# Where Ray's launcher keeps the sockets of ssh connections that it uses again; by user's name.
_SOCKETS: Final = "/tmp/ray_ssh_{}"
_MOUNTS: Final = (
    'mount --bind "$1/passwd" /etc/passwd && mount -t tmpfs sshd /run && mkdir /run/sshd'
    ' && exec "$2" -D -f "$1/sshd_config" -E "$1/sshd.log"'
)


class SecureShell:
    """The hosts' sshds, for as long as the `with` block lasts, and one key that opens them all."""

    def __init__(self, directory: Path) -> None:
        """`directory`: for the keys and the homes; a short name, for the sake of Ray's sockets."""
        self.directory = directory
        self.key = directory / "key"
        self._users: list[str] = []
        self._servers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "SecureShell":
        _make_key(self.key)
        return self

    def __exit__(self, *error: object) -> None:
        """The hosts' processes were ended."""
        for server in self._servers:
            server.wait(DEADLINE_S)
        for user in self._users:
            shutil.rmtree(_SOCKETS.format(_name(user)), ignore_errors=True)

    def home(self, host: Host) -> Path:
        return self.directory / host.name

    def furnish(self, host: Host) -> Path:
        """Its root has a home, which is made here."""
        home = self.home(host)
        home.mkdir()
        exports = (f"export {name}='{value}'\n" for name, value in self._settings(host).items())
        (home / ".bashrc").write_text("".join(exports))
        self._users.append(self._settings(host)["LOGNAME"])
        return home

    def serve(self, host: Host) -> None:
        """Furnish it; one can log in there from now on."""
        home = self.furnish(host)
        _make_key(home / "host_key")
        (home / "passwd").write_text(_root_at(home))
        (home / "sshd_config").write_text(
            f"ListenAddress {host.address}\n"
            f"HostKey {home}/host_key\n"
            f"AuthorizedKeysFile {self.key}.pub\n"
            "PasswordAuthentication no\n"
            "PidFile none\n"
            "StrictModes no\n"
            "UsePAM no\n"
        )
        command = host.command("sh", "-c", _MOUNTS, "sh", str(home), SSHD)
        self._servers.append(subprocess.Popen(command, start_new_session=True))
        self._wait_until_it_listens(home / "sshd.log")

    @property
    def login(self) -> list[str]:
        """What runs a command somewhere; where, and which, follow."""
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")
        given = [word for option in options for word in ("-o", option)]
        return ["ssh", "-i", str(self.key), *given]

    def environment(self, host: Host) -> dict[str, str]:
        """Of root's commands there, as far as it does not come with the login."""
        others = {name: value for name, value in os.environ.items() if name[:4] != "RAY_"}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        here = {"HOME": str(self.home(host)), "PATH": path, "COLUMNS": "80"}
        return {**others, **here, **self._settings(host)}

    def _settings(self, host: Host) -> dict[str, str]:
        """Ray's files go to the home; its launcher's sockets have a place for each host."""
        home = str(self.home(host))
        user = f"everstep-{os.getpid()}-{host.name}"
        here = {"LOGNAME": user, "RAY_TMPDIR": home, "TMPDIR": home}
        return {**here, "AUTOSCALER_UPDATE_INTERVAL_S": "1"}  # not five seconds

    def _wait_until_it_listens(self, log: Path) -> None:
        until_s = time.monotonic() + DEADLINE_S
        while "Server listening" not in (said := log.read_text() if log.exists() else ""):
            assert time.monotonic() < until_s, said
            psutil.wait_procs([psutil.Process()], timeout=0.05)


def _make_key(path: Path) -> None:
    options = ("-q", "-t", "ed25519", "-N", "", "-C", "everstep", "-f", str(path))
    subprocess.run(["ssh-keygen", *options], check=True)


def _root_at(home: Path) -> str:
    """The machine's users, but with root's home in that directory."""
    users = Path("/etc/passwd").read_text().splitlines(keepends=True)
    others = [user for user in users if not user.startswith("root:")]
    return "".join([f"root:x:0:0:root:{home}:/bin/bash\n", *others])


def _name(user: str) -> str:
    """As Ray shortens it."""
    return hashlib.sha256(user.encode()).hexdigest()[:10]
