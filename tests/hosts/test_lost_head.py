"""The head of the cluster is lost: no Ray can go on there, the training can elsewhere."""

import json
import shlex
from typing import Any

import pytest

from tests.command import DEADLINE_S, Everstep, wait_for
from tests.hosts.network import Network
from tests.hosts.nodes import RayNodes
from tests.hosts.store import store_on_a_host
from tests.hosts.training import LONG, Run, on_host, settings, steps_to_epochs, undisturbed
from tests.stores import BUCKET

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
    nodes.run_anew_on({other: 1, last: 1})
    on_host(everstep, nodes, other)
    run.resume(command.partition("go on with: ")[2].replace("HOST:PORT", nodes.address))


def test_a_run_in_a_store_outlives_the_head_with_the_command_on_it(
    network: Network, nodes: RayNodes, everstep: Everstep
) -> None:
    """Nobody is left to say a word: what to do, `everstep status` says from another host."""
    head, other, last = network.hosts[:3]
    url = f"s3://{BUCKET}/run"

    def status() -> dict[str, Any]:
        told: dict[str, Any] = json.loads(everstep.run("status", url, "--json").stdout or "{}")
        return told

    with store_on_a_host(network) as environment:
        everstep.environment |= environment
        sets = (*settings(LONG), "--set=cluster.workers=2")
        process = everstep.start("train", *sets, "--address", nodes.address, "--out", url)
        wait_for(lambda: status().get("checkpoint"), process)
        nodes.kill(head)
        process.communicate(timeout=DEADLINE_S)
        nodes.run_anew_on({other: 1, last: 1})
        on_host(everstep, nodes, other)
        told = everstep.run("status", url).stdout.splitlines()
        assert told[0].startswith("state     died")
        program, *arguments = shlex.split(told[-1].removeprefix("go on with: "))
        assert (program, arguments) == ("everstep", ["resume", url])
        everstep.environment["RAY_ADDRESS"] = nodes.address  # as a job's says
        (kept,) = (line for line in told if line.startswith("kept "))
        epochs = steps_to_epochs(int(kept.partition("step-")[2].removesuffix(".safetensors")))
        done = everstep.run(*arguments, f"--set=training.epochs={epochs}")
        assert done.returncode == 0, done.stderr
        result = status()
        assert (result["state"], result["digest"]) == ("finished", undisturbed(epochs))
        assert result["deaths"] == 1  # the driver's
