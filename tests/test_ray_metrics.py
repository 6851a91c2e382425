"""What Prometheus gets of a training on a cluster, asked as Prometheus asks.

Ray offers it where `ray[default]` is installed: `pip install '.[test,cluster]'`. Elsewhere
these tests are skipped, unless `EVERSTEP_REQUIRED=metrics`: so `.ci/run` says.
"""

import importlib.util
import os
import re
import signal
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple

import psutil
import pytest

from tests.ability import unable
from tests.command import DEADLINE_S, Everstep, events_of, result_of, two_workers, wait_for
from tests.ray_head import Head, free_port, ray_head

_EPOCHS = 300
_STEPS = 44  # of an epoch
_ROWS = 32  # of a step
_SAMPLE = re.compile(r"^ray_(everstep_\w+)\{(.*)\} (\S+)$", re.MULTILINE)


class Watched(NamedTuple):
    """A cluster, and where its numbers are."""

    head: Head
    port: int


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    if any(importlib.util.find_spec(name) is None for name in ("opencensus", "prometheus_client")):
        unable("metrics", "Ray offers them only with ray[default]; pip install '.[cluster]'")
    port = free_port()
    interval = {"RAY_metrics_report_interval_ms": "1000"}  # of each process to Ray's agent
    with ray_head(f"--metrics-export-port={port}", **interval) as head:
        yield Watched(head, port)


def numbers(port: int, run: str) -> dict[str, float]:
    """Everstep's numbers of that run, by name; of histograms the sums and counts."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except (OSError, HTTPException):
        return {}  # the agent is not there yet
    finally:
        connection.close()
    samples = [match for match in _SAMPLE.findall(text) if f'run="{run}"' in match[1]]
    return {name: float(value) for name, tags, value in samples if 'le="' not in tags}


def test_prometheus_gets_the_very_numbers_of_a_disturbed_training(
    watched: Watched, everstep: Everstep
) -> None:
    everstep.environment |= watched.head.environment
    process = everstep.start(
        *("train", "--set", f"training.epochs={_EPOCHS}"),
        *("--address", watched.head.address, "--out", "seen"),
    )
    run = everstep.directory / "seen"
    joined = wait_for(lambda: two_workers(run), process)

    def told() -> dict[str, float]:
        return numbers(watched.port, "seen")

    wait_for(lambda: told().get("everstep_workers") == 2, process)
    assert told()["everstep_nodes"] == 1
    wait_for(lambda: told().get("everstep_step", 0) > 0, process)
    os.kill(joined[1]["process_id"], signal.SIGKILL)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, errors
    assert [e["worker"] for e in events_of(run) if e["event"] == "died"] == [joined[1]["worker"]]
    until_s = time.monotonic() + DEADLINE_S
    while (last := told()).get("everstep_steps_total") != _EPOCHS * _STEPS:
        assert time.monotonic() < until_s, last
        psutil.wait_procs([psutil.Process()], timeout=0.2)
    result = result_of(run)
    assert last["everstep_samples_total"] == _EPOCHS * _STEPS * _ROWS == result["samples_applied"]
    assert last["everstep_deaths_total"] == result["deaths"] == 1
    assert last["everstep_restarts_total"] == result["restarts"] == 1
    assert last["everstep_stall_seconds_total"] == pytest.approx(sum(result["stalls_s"]))
    # A few a second, and one at the end of each epoch.
    assert last["everstep_step_seconds_count"] >= _EPOCHS
    assert last["everstep_step_seconds_sum"] > 0


def test_what_has_not_happened_is_zero_and_not_unknown_also_after_a_short_training(
    watched: Watched, everstep: Everstep
) -> None:
    """Of a counter that begins at 1, Prometheus would see no increase."""
    everstep.environment |= watched.head.environment
    done = everstep.run(
        *("train", "--set", "training.epochs=1"),
        *("--address", watched.head.address, "--out", "short"),
    )
    assert done.returncode == 0, done.stderr
    until_s = time.monotonic() + DEADLINE_S
    while "everstep_steps_total" not in (last := numbers(watched.port, "short")):
        assert time.monotonic() < until_s
        psutil.wait_procs([psutil.Process()], timeout=0.2)
    counters = {name: value for name, value in last.items() if name.endswith("_total")}
    assert counters == {
        "everstep_steps_total": _STEPS,
        "everstep_samples_total": _STEPS * _ROWS,
        "everstep_stall_seconds_total": 0,
        "everstep_deaths_total": 0,
        "everstep_restarts_total": 0,
    }
