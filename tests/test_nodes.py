"""Where the actors are on several nodes, and what happens when the server's node is lost."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import HEAD, LATER, ONE_PLACE

_DEADLINE_S = 120


@pytest.fixture(scope="module")
def told() -> dict[str, dict[str, Any]]:
    """What the program says, by its first word."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.nodes"],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "RAY_DISABLE_IMPORT_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["what"]: line for line in lines}


def test_every_node_has_a_worker_before_one_has_two(told: dict[str, Any]) -> None:
    hosts = told["first"]["hosts"]
    workers = Counter(host for name, host in hosts.items() if name != "server")
    assert workers == {HEAD: 2, **dict.fromkeys(ONE_PLACE, 1)}
    assert hosts["server"] in ONE_PLACE  # where there is the least room for workers


def test_server_and_driver_listen_on_the_ports_that_are_allowed(told: dict[str, Any]) -> None:
    assert [len(ports) for ports in told["first"]["ports"]] == [1, 1]


def test_the_server_of_a_lost_node_comes_back_on_another_one(told: dict[str, Any]) -> None:
    lost, hosts = told["lost"]["host"], told["lost"]["hosts"]
    assert hosts["server.2"] != lost


def test_a_worker_of_a_lost_node_waits_for_another_node_and_the_line_says_what_there_is(
    told: dict[str, Any],
) -> None:
    lost, before = told["lost"]["host"], told["first"]["hosts"]
    (name,) = [n for n, host in before.items() if host == lost and n != "server"]
    (unplaced,) = [fact for fact in told["done"]["told"] if fact["kind"] == "Unplaced"]
    assert unplaced["names"] == [f"{name}.2"]
    (left,) = {*ONE_PLACE} - {lost}
    assert unplaced["reason"] == (
        f"4 workers ask for 1 CPU each; {HEAD} has 2 CPU, 0 free; {left} has 1 CPU, 0 free;"
        " each joins when there is room"
    )
    assert told["later"]["hosts"][f"{name}.2"] == LATER


def test_a_node_with_other_kernels_is_named_once_with_what_differs(told: dict[str, Any]) -> None:
    (unlike,) = [fact for fact in told["done"]["told"] if fact["kind"] == "Unlike"]
    assert unlike["host"] == LATER
    (difference,) = unlike["differences"]
    assert difference.startswith("BLAS: ")


def test_the_end_is_the_undisturbed_one_s(told: dict[str, Any]) -> None:
    assert told["done"]["same"]
