"""Which node is chosen for an actor, and what is said of a cluster that has too little."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.placement import Needs, Node, node_for_server, node_for_worker, shortage

ONE = Needs()


def node(name: str, cpus: float, free: float | None = None, **others: float) -> Node:
    has = {"CPU": cpus, **others}
    return Node(
        name, f"10.0.0.{ord(name) - 96}", has, {**has, "CPU": cpus if free is None else free}
    )


def dealt(nodes: list[Node], needs: Needs, count: int) -> tuple[str | None, Counter[str]]:
    """The server's node, and how many workers each one has, as long as there is room."""
    server, on = node_for_server(nodes, needs, {}), Counter[str]()
    for _ in range(count):
        # What is free is as it was: Ray tells of it late.
        chosen = node_for_worker(nodes, needs, on, server.node_id if server else None)
        if chosen is not None:
            on[chosen.node_id] += 1
    return server.node_id if server else None, on


def test_the_server_is_apart_from_the_workers_where_there_are_nodes_enough() -> None:
    server, on = dealt([node("a", 4), node("b", 4), node("c", 4)], ONE, 2)
    assert server not in on
    assert sorted(on.values()) == [1, 1]


def test_four_workers_on_three_nodes_leave_the_server_s_node_with_one() -> None:
    server, on = dealt([node("a", 4), node("b", 4), node("c", 4)], ONE, 4)
    assert sorted(on.values()) == [1, 1, 2]
    assert server is not None
    assert on[server] == 1


def test_the_server_goes_where_there_is_no_room_for_workers() -> None:
    server, on = dealt([node("a", 2), node("b", 0), node("c", 2)], ONE, 4)
    assert (server, on) == ("b", {"a": 2, "c": 2})


def test_one_node_takes_all_that_it_has_room_for() -> None:
    assert dealt([node("a", 2)], ONE, 3) == ("a", {"a": 2})


def test_a_new_server_goes_where_there_are_the_fewest_workers() -> None:
    chosen = node_for_server([node("a", 1), node("b", 8)], ONE, {"a": 1})
    assert chosen is not None
    assert chosen.node_id == "b"


def test_a_node_that_others_fill_is_passed_over() -> None:
    nodes = [node("a", 4, free=0.5), node("b", 1)]
    chosen = node_for_worker(nodes, ONE, {}, None)
    assert chosen is not None
    assert chosen.node_id == "b"


def test_a_worker_goes_only_where_all_that_it_asks_for_is() -> None:
    needs = Needs(2, (("GPU", 0.5),))
    nodes = [node("a", 8), node("b", 4, GPU=1.0), node("c", 1, GPU=1.0)]
    assert dealt(nodes, needs, 3)[1] == {"b": 2}


def test_without_a_node_nothing_is_chosen() -> None:
    assert dealt([], ONE, 1) == (None, {})


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.integers(1, 20))
def test_workers_are_as_even_as_the_room_allows(cpus: list[int], count: int) -> None:
    nodes = [node(chr(97 + i), n) for i, n in enumerate(cpus)]
    _, on = dealt(nodes, ONE, count)
    assert on.total() == min(count, sum(cpus))
    most = max(on.values(), default=0)
    for i, room in enumerate(cpus):
        assert on[chr(97 + i)] >= min(room, most - 1)


def test_a_tenth_of_a_cpu_is_there_ten_times() -> None:
    """0.3 // 0.1 is 2 in floating point."""
    assert node("a", 0.3).places(Needs(0.1)) == 3


@pytest.mark.parametrize(
    ("count", "needs", "nodes", "said"),
    [
        (4, ONE, [node("b", 1, 0), node("a", 2, 0.5)],
         "4 workers ask for 1 CPU each; 10.0.0.1 has 2 CPU, 0.5 free; 10.0.0.2 has 1 CPU, 0 free"),
        (1, Needs(2, (("GPU", 1),)), [node("a", 2)],
         "1 worker asks for 2 CPU and 1 GPU; 10.0.0.1 has 2 CPU, 2 free and 0 GPU, 0 free"),
        (1, ONE, [], "1 worker asks for 1 CPU; the cluster has no node"),
    ],
)  # fmt: skip
def test_a_shortage_is_told_with_what_is_asked_and_what_each_node_has(
    count: int, needs: Needs, nodes: list[Node], said: str
) -> None:
    assert shortage(count, needs, nodes) == said


def test_of_many_nodes_some_are_named() -> None:
    said = shortage(30, ONE, [node(chr(97 + i), 1, 0) for i in range(20)])
    assert said.count(" has ") == 8
    assert said.endswith("; and 12 nodes more")
