"""The canonical tree: whoever sums what, in whatever order, the bytes are the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.assignment import deal
from actors.errors import ProtocolError
from actors.reduction import Node, Partial, Reduction, Tree, combine

SIZE = 5


def leaf(shard: int) -> Partial:
    """Values of very different magnitude, so that another association gives other bits."""
    generator = np.random.default_rng(shard)
    values = generator.normal(size=SIZE) * 10.0 ** generator.integers(-6, 7, SIZE)
    return Partial(shard + 1, float(generator.normal() * 10 ** (shard % 7)), values.astype("f4"))


def tree_sum(tree: Tree, node: Node) -> Partial:
    """The definition, written down recursively."""
    children = tree.children(node)
    if children is None:
        return leaf(node.start)
    left, right = (tree_sum(tree, child) for child in children)
    return combine(left, right, out=np.empty(SIZE, "f4"))


def reduced(tree: Tree, nodes: list[Node]) -> Partial | None:
    """What a server has after these arrivals."""
    reduction = Reduction(tree, lambda: np.empty(SIZE, "f4"))
    for node in nodes:
        reduction.offer(node, tree_sum(tree, node))
    return reduction.total


def same(one: Partial | None, other: Partial) -> bool:
    return (
        one is not None
        and one.sample_count == other.sample_count
        and one.loss_sum.hex() == other.loss_sum.hex()
        and one.gradient.tobytes() == other.gradient.tobytes()
    )


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[int, list[Node]]:
    """Shards cut among workers in any way, in any order, with any duplicates.

    Each worker sends the nodes that cover its shards; some shards are held by two workers,
    as after a reassignment, so that wider and narrower nodes of one region both arrive.
    """
    shard_count = draw(st.integers(1, 20))
    tree = Tree(shard_count)
    owners = draw(st.lists(st.integers(0, 4), min_size=shard_count, max_size=shard_count))
    nodes = [
        node
        for owner in set(owners)
        for node in tree.cover(s for s in range(shard_count) if owners[s] == owner)
    ]
    again = draw(st.sets(st.integers(0, shard_count - 1)))
    extra = draw(st.lists(st.sampled_from([*nodes, *tree.cover(again)]), max_size=8))
    return shard_count, draw(st.permutations(nodes + extra))


@given(arrivals())
def test_any_cut_any_order_and_any_duplicates_give_the_same_bytes(
    case: tuple[int, list[Node]],
) -> None:
    shard_count, nodes = case
    tree = Tree(shard_count)
    assert same(reduced(tree, nodes), tree_sum(tree, tree.root))


@given(arrivals())
def test_every_sample_counts_exactly_once(case: tuple[int, list[Node]]) -> None:
    shard_count, nodes = case
    total = reduced(Tree(shard_count), nodes)
    assert total is not None
    assert total.sample_count == sum(range(1, shard_count + 1))  # shard i has i + 1 samples


@given(arrivals(), st.data())
def test_nothing_is_complete_while_a_shard_is_missing(
    case: tuple[int, list[Node]], data: st.DataObject
) -> None:
    shard_count, nodes = case
    missing = data.draw(st.integers(0, shard_count - 1))
    without = [node for node in nodes if not node.start <= missing < node.stop]
    assert reduced(Tree(shard_count), without) is None


@given(st.integers(1, 70), st.data())
def test_a_cover_has_exactly_its_leaves_and_no_two_siblings(
    shard_count: int, data: st.DataObject
) -> None:
    tree = Tree(shard_count)
    leaves = data.draw(st.sets(st.integers(0, shard_count - 1)))
    cover = tree.cover(leaves)
    assert [shard for node in cover for shard in range(*node)] == sorted(leaves)
    parents = [tree.parent(node) for node in cover if node != tree.root]
    assert len(set(parents)) == len(parents)  # two siblings would be their parent


@given(st.integers(1, 40), st.integers(1, 12))
def test_dealing_gives_every_shard_to_one_worker_in_equal_shares(
    shard_count: int, worker_count: int
) -> None:
    shares = deal(shard_count, [f"worker-{i}" for i in range(worker_count)])
    assert [shard for share in shares.values() for shard in share] == list(range(shard_count))
    sizes = [len(share) for share in shares.values()]
    assert max(sizes) - min(sizes) <= 1


def test_two_workers_with_half_of_eight_shards_each_send_one_message() -> None:
    tree = Tree(8)
    assert [tree.cover(share) for share in deal(8, ["a", "b"]).values()] == [[(0, 4)], [(4, 8)]]


def test_the_tree_over_seven_shards_is_the_documented_one() -> None:
    # By hand: the left child of n > 1 leaves has the largest power of two below n.
    tree = Tree(7)
    assert tree.children(tree.root) == ((0, 4), (4, 7))
    assert tree.children(Node(4, 7)) == ((4, 6), (6, 7))
    assert tree.children(Node(6, 7)) is None


def test_an_order_of_its_own_would_give_other_bits() -> None:
    """The values above do tell associations apart; else the properties would prove nothing."""
    tree = Tree(8)
    from_left = leaf(0)
    for shard in range(1, 8):
        from_left = combine(from_left, leaf(shard), out=np.empty(SIZE, "f4"))
    assert not same(from_left, tree_sum(tree, tree.root))


def test_offering_never_writes_into_what_was_offered() -> None:
    tree = Tree(4)
    offered = {shard: leaf(shard) for shard in range(4)}
    reduction = Reduction(tree, lambda: np.empty(SIZE, "f4"))
    for shard, partial in offered.items():
        assert reduction.offer(Node(shard, shard + 1), partial)
    assert all(same(partial, leaf(shard)) for shard, partial in offered.items())


def test_a_node_of_another_tree_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"no node 1\.\.2 in a tree of 4 shards"):
        Reduction(Tree(4), lambda: np.empty(SIZE, "f4")).offer(Node(1, 3), leaf(1))
