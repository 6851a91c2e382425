"""A private Ray beside another one.

What it waits for is only there with `ray[default]`; see `test_ray_metrics.py`.
"""

import importlib.util
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ability import unable
from tests.command import SHORT, Everstep

_USUAL_PORT = 52365  # of the agent of Ray's dashboard
_LISTENS = re.compile(r"Dashboard agent http address: \S+:(\d+)$", re.MULTILINE)


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """For Ray's files; a test's own folder has too long a name for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="private-") as folder:
        yield Path(folder)


def test_a_private_ray_waits_for_no_port_that_another_ray_has(
    everstep: Everstep, ray_folder: Path
) -> None:
    """Also the Ray of a killed driver: its agent stays for a minute."""
    if importlib.util.find_spec("aiohttp_cors") is None:
        unable("metrics", "Ray's agent listens only with ray[default]; pip install '.[cluster]'")
    everstep.environment["RAY_TMPDIR"] = str(ray_folder)
    with socket.socket() as other:
        try:
            other.bind(("", _USUAL_PORT))
            other.listen()
        except OSError:
            pass  # another Ray on this machine has it already
        done = everstep.run("train", *SHORT)
    assert done.returncode == 0, done.stderr
    (log,) = ray_folder.glob("ray/session_*_*/logs/dashboard_agent.log")
    text = log.read_text()
    (port,) = _LISTENS.findall(text)
    assert int(port) != _USUAL_PORT
    assert "Failed to bind" not in text
