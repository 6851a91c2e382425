"""Numbers and names in sentences."""

from hypothesis import given
from hypothesis import strategies as st

from trainer.words import counted, listed


def test_one_of_it_is_singular() -> None:
    assert [counted(n, "node") for n in (0, 1, 2, 1000)] == [
        "0 nodes",
        "1 node",
        "2 nodes",
        "1,000 nodes",
    ]


def test_as_many_names_are_listed_as_there_is_room_for() -> None:
    assert listed([], 9) == ""
    assert listed(["a", "b", "c"], 7) == "a, b, c"
    assert listed(["aaa", "bbb", "ccc"], 15) == "aaa, bbb, ccc"
    assert listed(["aaaa", "bbbb", "cccc"], 15) == "aaaa and 2 more"
    assert listed(["a" * 20, "b"], 5) == f"{'a' * 20} and 1 more"


@given(st.lists(st.sampled_from(["10.0.0.1", "a", "node-17"]), min_size=1), st.integers(20, 99))
def test_a_list_is_never_longer_than_there_is_room_for(names: list[str], width: int) -> None:
    text = listed(names, width)
    assert len(text) <= width
    shown = text.split(" and ")[0].split(", ")
    assert shown == names[: len(shown)]
    assert (len(shown) == len(names)) == (" more" not in text)
