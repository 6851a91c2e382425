"""Which Ray cluster is meant, and which addresses no cluster has; nothing of Ray is imported."""

import socket
import subprocess
import sys

import pytest

from actors.errors import ClusterError, ClusterLostError
from actors.ray_address import chosen, probe, problem_of, told
from tests.ability import unable
from tests.command import LOCAL, SHORT, Everstep
from trainer import Config, train
from trainer.cluster_address import options_to_go_on, remembered
from trainer.errors import ConfigError

ALLOWED = "auto on a node of the cluster, or local for a private Ray"
PORT = "the port must be a number from 1 to 65535, like"
WRONG = [
    ("", f"is not allowed; give HOST:PORT of the cluster's head, {ALLOWED}"),
    ("nonsense", f"is not allowed; give HOST:PORT of the cluster's head, {ALLOWED}"),
    ("a b:6379", f"is not allowed; give HOST:PORT of the cluster's head, {ALLOWED}"),
    ("[::1]", f"is not allowed; give HOST:PORT of the cluster's head, {ALLOWED}"),
    ("host:notaport", f"is not allowed; {PORT} host:6379"),
    ("host:", f"is not allowed; {PORT} host:6379"),
    ("host:99999", f"is not allowed; {PORT} host:6379"),
    ("host:0", f"is not allowed; {PORT} host:6379"),
    ("host:٦٣٧٩", f"is not allowed; {PORT} host:6379"),
    ("[host]:6379", "is not allowed; 'host' in the brackets is no IPv6 address"),
    ("fd00::7:6379:1", "is not allowed; an IPv6 address stands in brackets, like [fd00::7:6379]:1"),
    ("::1", "is not allowed; an IPv6 address stands in brackets, like [::1]:6379"),
    (
        "ray://head:10001",
        "is an address for Ray's client, and not for training; run the command on",
    ),
    ("http://head:8265", "is an address for a browser or `ray job`, and not for training; run the"),
]
LEGAL = ["auto", "local", "10.0.0.7:6379", "ray-head_0.cluster:1", "[::1]:65535", "[fe80::1%e0]:7"]


@pytest.mark.parametrize(("address", "problem"), WRONG)
def test_what_no_cluster_can_have_as_its_address_is_told_with_what_to_give_instead(
    address: str, problem: str
) -> None:
    told = problem_of(address)
    assert told is not None
    assert told.startswith(problem)
    assert "\n" not in told
    with pytest.raises(ConfigError, match=r"^config cluster\.address: ") as caught:
        Config(cluster={"address": address})
    assert str(caught.value) == f"config cluster.address: {address!r} {told}"


@pytest.mark.parametrize("address", LEGAL)
def test_what_a_cluster_may_have_as_its_address_is_taken_as_it_is(address: str) -> None:
    assert problem_of(address) is None
    assert Config(cluster={"address": address}).cluster.address == address


@pytest.mark.parametrize(
    ("given", "variable", "counts"),
    [
        (None, None, "local"),
        (None, "", "local"),
        (None, "head:1", "head:1"),
        (None, "auto", "auto"),
        ("auto", None, "auto"),
        ("auto", "head:1", "head:1"),  # as Ray has it
        ("local", "head:1", "local"),
        ("other:2", "head:1", "other:2"),
        ("other:2", "nonsense", "other:2"),
    ],
)
def test_ray_address_stands_in_for_none_and_for_auto(
    given: str | None, variable: str | None, counts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert chosen(given) == counts


@pytest.mark.parametrize("given", [None, "auto"])
def test_a_wrong_ray_address_is_named_as_that(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:x")
    with pytest.raises(ClusterError, match=rf"^RAY_ADDRESS 'head:x': is not allowed; {PORT} head"):
        chosen(given)


@pytest.mark.parametrize(
    ("was", "variable", "counts"),
    [
        (None, None, "local"),
        (None, "head:1", "head:1"),
        ("lost:2", None, "lost:2"),
        ("lost:2", "", "lost:2"),
        ("lost:2", "head:1", "head:1"),
        ("auto", "auto", "auto"),
        ("local", "head:1", "local"),
    ],
)
def test_where_a_run_goes_on_ray_address_counts_before_the_cluster_that_it_was_in(
    was: str | None, variable: str | None, counts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert chosen(remembered(was)) == counts


@pytest.mark.parametrize(
    ("address", "variable", "options"),
    [
        (None, None, []),
        ("local", "head:1", []),
        ("head:1", None, []),
        ("head:1", "head:1", []),
        ("head:1", "other:2", ["--address", "head:1"]),
    ],
)
def test_the_command_to_go_on_names_a_cluster_that_would_not_be_found_without(
    address: str | None, variable: str | None, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    config = Config(cluster={"address": address})
    assert options_to_go_on(config, KeyboardInterrupt()) == options
    lost = options_to_go_on(config, ClusterLostError("the head is lost"))
    is_private = address in (None, "local")
    assert lost == ([] if is_private else ["--address", "HOST:PORT"])
    in_one = config.with_changes(cluster={"kind": "local"})
    assert options_to_go_on(in_one, KeyboardInterrupt()) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_head_that_listens_is_found_whatever_its_kind_of_address(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError:
        unable("IPv6", "this machine has none")
    port = listener.getsockname()[1]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with listener:
        probe(address, 5.0)
    with pytest.raises(OSError, match="refused"):
        probe(address, 5.0)
    probe("auto", 5.0)


def test_where_no_ray_runs_it_is_said_what_can_be_done() -> None:
    none = "Could not find any running Ray instance. Please specify the one to connect to"
    assert told(none) == (
        "no Ray runs on this machine; start one there, or give HOST:PORT of another's head"
    )
    assert told("Failed to connect to GCS.") == "Failed to connect to GCS."


@pytest.mark.parametrize("command", ["train", "resume", "experiment"])
@pytest.mark.parametrize("way", ["--address", "RAY_ADDRESS"])
def test_a_wrong_address_is_one_line_and_status_2_before_anything_is_there(
    command: str, way: str, everstep: Everstep
) -> None:
    here = everstep.directory
    (here / "plan.yaml").write_text("faults: [{kill: worker-1, at_step: 5}]")
    arguments = {"train": [], "resume": ["run"], "experiment": ["plan.yaml"]}[command]
    if command == "resume":
        train(Config(training={"epochs": 1}, cluster={"kind": "local"}), here / "run")
        arguments += ["--set", "training.epochs=2", "--set", "cluster.kind=ray"]
    before = sorted(here.rglob("*"))
    if way == "RAY_ADDRESS":
        everstep.environment["RAY_ADDRESS"] = "ray://head:10001"
    elif command == "experiment":  # which has no such option
        (here / "plan.yaml").write_text(
            "set: ['cluster.address=ray://head:10001']\nfaults: [{kill: server, at_s: 1}]"
        )
    else:
        arguments += ["--address", "ray://head:10001"]
    done = everstep.run(command, *arguments)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    where = way if command != "experiment" or way == "RAY_ADDRESS" else "cluster.address"
    assert where in line
    assert "ray://head:10001" in line
    assert line.endswith(
        " run the command on a node of the cluster with --address auto or --address HOST:PORT of"
        " the head, or hand it to `ray job submit`; --address local is a private Ray"
    )
    assert sorted(here.rglob("*")) == before


def test_an_empty_address_is_refused_and_not_overlooked(everstep: Everstep) -> None:
    done = everstep.run("train", "--address", "")
    assert done.returncode == 2
    assert done.stderr.startswith("everstep: --address '': is not allowed; give HOST:PORT of the")


def test_a_run_in_one_process_does_not_look_at_ray_address(everstep: Everstep) -> None:
    everstep.environment["RAY_ADDRESS"] = "nonsense"
    done = everstep.run("train", *LOCAL, *SHORT)
    assert done.returncode == 0, done.stderr


def test_an_address_is_looked_at_without_ray() -> None:
    program = "import sys, trainer.driver, trainer.cluster_address; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"False\n"
