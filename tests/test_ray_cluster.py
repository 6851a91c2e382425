"""What the coordinator's orders come to on Ray, where a process or its host may be gone."""

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pkgutil import resolve_name
from threading import Event
from typing import Any

import pytest
import ray
from ray.util.placement_group import placement_group_table

from actors.cluster import Heard, Job
from actors.messages import SERVER, EpochDone, RunEpoch
from actors.orders import Died, Down, DriverMessage, Failed, Joined, Missing, Ready, Restarting
from actors.placement import Needs, Node
from actors.ray_cluster import RayCluster
from actors.ray_places import Places
from actors.supervisor import Crew, Intensity, Supervision
from tests.toys import toy_job, undisturbed

pytestmark = pytest.mark.usefixtures("ray_session")


def give_up(cluster: RayCluster, name: str) -> None:
    """The coordinator takes it for dead while its link stands, as it does with the silent."""
    cluster._mailbox.tell(Down(name, "no word from its host"))


def until(cluster: RayCluster, messages: list[DriverMessage], *kinds: type) -> None:
    """Go on until something of each kind was heard."""
    while missing := [k for k in kinds if not any(isinstance(m, k) for m in messages)]:
        heard = cluster.receive(60.0)
        assert heard is not None, (missing, messages)
        messages.append(heard.message)
        assert not isinstance(heard.message, Failed), heard.message.reason


def ends_undisturbed(messages: list[DriverMessage], job: Job, step: int) -> None:
    (done,) = [message for message in messages if isinstance(message, EpochDone)]
    assert done.step == step
    assert done.parameters.tobytes() == undisturbed(job, step).parameters.tobytes()


def test_a_worker_that_can_not_be_killed_because_its_host_is_gone_fails_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray then waits in vain for the host; once its timeout ended the coordinator."""
    job = toy_job(4)
    asked: list[str] = []
    tried = Event()

    def unreachable_process(*_: object) -> None:
        asked.append("signal")
        raise ray.exceptions.GetTimeoutError("no node has the resource")

    def unreachable_actor(*_: object) -> None:
        asked.append("actor")
        tried.set()
        raise ray.exceptions.GetTimeoutError("no node has the resource")

    messages: list[DriverMessage] = []
    with RayCluster(job, Crew(2, 2)) as cluster:
        until(cluster, messages, Ready)
        with monkeypatch.context() as patch:
            patch.setattr("actors.ray_cluster.send_signal", unreachable_process)
            patch.setattr("actors.ray_cluster.ray.kill", unreachable_actor)
            give_up(cluster, "worker-1")
            assert tried.wait(60.0)
        cluster.run_epoch(RunEpoch(0, 20))
        until(cluster, messages, EpochDone, Died, Restarting)
    assert asked == ["signal", "actor"]
    assert [message.name for message in messages if isinstance(message, Died)] == ["worker-1"]
    ends_undisturbed(messages, job, 20)


def test_an_order_that_takes_ray_long_holds_up_neither_training_nor_the_coordinator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = toy_job(4)
    began, free = Event(), Event()
    plain_kill = ray.kill

    def slow_kill(actor: Any) -> None:
        began.set()
        assert free.wait(60.0)
        plain_kill(actor)

    messages: list[DriverMessage] = []
    with RayCluster(job, Crew(2, 2)) as cluster:
        until(cluster, messages, Ready)
        monkeypatch.setattr("actors.ray_cluster.ray.kill", slow_kill)
        try:
            give_up(cluster, "worker-1")
            assert began.wait(60.0)
            cluster.run_epoch(RunEpoch(0, 20))
            until(cluster, messages, Died, Restarting, EpochDone)  # the other does it all
            before = {message.name for message in messages if isinstance(message, Joined)}
        finally:
            free.set()
        while "worker-1.2" not in before:
            until(cluster, joined := [], Joined)
            before |= {message.name for message in joined if isinstance(message, Joined)}
    assert [message.name for message in messages if isinstance(message, Died)] == ["worker-1"]
    ends_undisturbed(messages, job, 20)


def test_an_actor_that_can_not_even_be_created_is_told_as_a_death_with_its_cause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever Ray raises: an order that vanished would be waited for until the start times out."""

    def refuse(*_: object) -> None:
        raise TypeError("no pickle of a lock")

    monkeypatch.setattr("actors.ray_cluster.create", refuse)
    crew = Crew(1, 1, Supervision(Intensity(1, 60.0), Intensity(1, 60.0)))
    with RayCluster(toy_job(4), crew) as cluster:
        facts = []
        while not facts or not isinstance(facts[-1], Failed):
            heard = cluster.receive(60.0)
            assert heard is not None
            facts.append(heard.message)
    reason = "could not be started: no pickle of a lock"
    assert {message.reason for message in facts if isinstance(message, Died)} == {reason}
    assert facts[-1].reason.endswith(f"the last cause: {reason}")


@pytest.mark.parametrize(
    "overdue", [Missing(("worker-1",), "late"), Failed("late", is_overdue=True)]
)
@pytest.mark.parametrize(
    ("free", "why"), [(1.0, "its start hangs"), (0.0, "there is no place, or its start hangs")]
)
def test_who_does_not_start_where_there_is_room_is_said_to_hang(
    free: float, why: str, overdue: Missing | Failed, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [Node("a", "10.0.0.1", {"CPU": 4.0}, {"CPU": free})]
    monkeypatch.setattr("actors.ray_places.nodes_there", lambda: there)
    cluster = RayCluster(toy_job(4), Crew(2, 3))
    cluster._places = Places(Needs(), 3, private=False)
    assert cluster._explained(Heard(1.0, overdue)).message == replace(
        overdue,
        reason=f"late; 3 workers ask for 1 CPU each; 10.0.0.1 has 4 CPU, {free:g} free: {why};"
        " see cluster.start_timeout_s",
    )


def test_a_full_private_ray_is_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [Node("a", "10.0.0.1", {"CPU": 2.0}, {})]
    monkeypatch.setattr("actors.ray_places.nodes_there", lambda: there)
    places = Places(Needs(), 3, private=True)
    assert places.unplaced([SERVER, "worker-2"]) == ("worker-2",)
    assert places.shortage() == "3 workers ask for 1 CPU each; this machine has 2 CPU, 0 free"


def test_a_private_ray_that_has_room_for_all_is_slow_and_not_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is free while Ray starts those very workers, or has not cleared away a dead one."""
    there = [Node("a", "10.0.0.1", {"CPU": 2.0}, {})]
    monkeypatch.setattr("actors.ray_places.nodes_there", lambda: there)
    assert Places(Needs(), 2, private=True).unplaced(["worker-0", "worker-1"]) == ()


def test_who_died_with_a_node_goes_to_one_that_answers_at_the_first_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray has noticed nothing yet, and another node was lost together with that one."""
    names = ("a", "b", "c")
    nodes = [Node(name, f"10.0.0.{name}", {"CPU": 1.0}, {"CPU": 1.0}) for name in names]
    told = [
        {"NodeID": node.node_id, "NodeManagerAddress": node.host, "NodeManagerPort": 1}
        | {"Alive": True}
        for node in nodes
    ]
    asked: list[Mapping[str, tuple[str, int]]] = []

    def who_answers(doors: Mapping[str, tuple[str, int]], patience_s: float) -> set[str]:
        asked.append(doors)
        return {"c"} & doors.keys()

    monkeypatch.setattr("ray.nodes", lambda: told)
    monkeypatch.setattr("actors.ray_places.nodes_there", lambda: nodes)
    monkeypatch.setattr("actors.ray_places._ids_going", set)
    monkeypatch.setattr("actors.ray_places.who_answers", who_answers)
    places = Places(Needs(), 1, private=False)
    assert places._answering(None) == nodes  # nobody died: nobody is asked
    assert asked == [{}]
    assert [node.node_id for node in places._answering("a")] == ["c"]
    assert [node.node_id for node in places._answering(None)] == ["c"]  # they are silent still
    assert asked[2].keys() == {*names}


def test_each_worker_is_given_what_it_asks_for_by_ray_s_own_names() -> None:
    needs = Needs(2.0, (("GPU", 0.5), ("memory", 1e9), ("fast_disk", 1.0)))
    places = Places(needs, 1, private=True)
    resources = {"resources": {"fast_disk": 1.0}}
    wanted = {"num_cpus": 2.0, "num_gpus": 0.5, "memory": 1e9, **resources}
    assert places.options("worker-0") == wanted
    assert places.options("server.2") == {"num_cpus": 0}


def test_nothing_stays_reserved_after_the_end() -> None:
    with RayCluster(toy_job(4), Crew(2, 2)) as cluster:
        until(cluster, [], Ready)
        groups = [group.id.hex() for group in cluster._places._groups.values()]
    assert len(groups) == 3
    table = placement_group_table()
    assert {table.get(group, {}).get("state", "REMOVED") for group in groups} == {"REMOVED"}


def test_a_signal_reaches_a_living_process_and_no_other() -> None:
    with RayCluster(toy_job(4), Crew(1, 1)) as cluster:
        until(cluster, messages := [], Ready)
        joined = {message.name: message for message in messages if isinstance(message, Joined)}
        assert cluster.signal("worker-0", 0)  # signal 0 only asks whether it is there
        assert not cluster.signal("worker-9", signal.SIGKILL)
        os.kill(joined["worker-0"].process_id, signal.SIGKILL)
        while not isinstance((heard := cluster.receive(60.0)) and heard.message, Died):
            assert heard is not None
        assert not cluster.signal("worker-0", signal.SIGKILL)


@pytest.mark.parametrize(
    ("holder", "call"),
    [("actors.ray_cluster.ray", "kill"), ("actors.ray_cluster.Places", "release")],
)
def test_whoever_leaves_does_not_wait_for_a_ray_that_never_answers(
    holder: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request to a lost head does not return."""
    asked, free = Event(), Event()
    owner = resolve_name(holder)
    plain = getattr(owner, call)

    def hang(*arguments: Any) -> None:
        asked.set()
        assert free.wait(60.0)
        plain(*arguments)

    try:
        with RayCluster(toy_job(4), Crew(1, 1)) as cluster:
            monkeypatch.setattr("actors.ray_cluster._PATIENCE_S", 0.1)
            monkeypatch.setattr(owner, call, hang)
        assert asked.wait(60.0)
    finally:
        free.set()
        assert cluster._orders.end(60.0)  # the last order was carried out after all


def test_who_did_not_start_is_told_without_the_room_where_ray_never_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = Event()
    monkeypatch.setattr("actors.ray_cluster._PATIENCE_S", 0.1)
    cluster = RayCluster(toy_job(4), Crew(2, 3))
    cluster._places = Places(Needs(), 3, private=False)
    monkeypatch.setattr(cluster._places, "why_missing", lambda: free.wait(60.0))
    heard = Heard(1.0, Failed("late", is_overdue=True))
    assert cluster._explained(heard) == heard
    free.set()
