"""Who is there and where, from what happened."""

from trainer.roster import Member, Roster


def joined(worker: str, host: str, process_id: int) -> dict[str, object]:
    return {"event": "joined", "worker": worker, "host": host, "process_id": process_id}


FIRST = [
    joined("worker-10", "10.0.0.2", 12),
    joined("worker-9", "10.0.0.1", 11),
    joined("server", "10.0.0.2", 10),
    {"event": "assigned", "worker": "worker-9", "shards": [0, 1]},
]


def read(*events: dict[str, object]) -> Roster:
    roster = Roster()
    for event in events:
        roster.read(event)
    return roster


def test_the_living_are_told_with_node_process_and_shards_the_server_first() -> None:
    roster = read(*FIRST)
    assert roster.members() == [
        Member("server", "10.0.0.2", 10, None),
        Member("worker-9", "10.0.0.1", 11, (0, 1)),
        Member("worker-10", "10.0.0.2", 12, None),
    ]
    assert roster.nodes == {"10.0.0.2": ["server", "worker-10"], "10.0.0.1": ["worker-9"]}
    assert sorted(roster.workers) == ["worker-10", "worker-9"]


def test_who_died_is_there_no_more_and_who_is_to_come_is_awaited() -> None:
    roster = read(
        *FIRST,
        {"event": "died", "worker": "worker-10", "reason": "killed"},
        {"event": "restarting", "worker": "worker-10.2", "replaces": "worker-10"},
        {"event": "unplaced", "worker": "worker-11", "workers": ["worker-11", "worker-12"]},
        {"event": "missing", "worker": "worker-13", "workers": ["worker-13"], "reason": "late"},
        {"event": "assigned", "worker": "worker-10", "shards": [3]},  # late, for nobody
    )
    assert [*roster.living] == ["worker-9", "server"]
    assert roster.most_workers == 2
    assert roster.awaited == {
        "worker-10.2": "is started",
        "worker-11": "no node has room for it",
        "worker-12": "no node has room for it",
        "worker-13": "did not start in time, may join later",
    }
    roster.read(joined("worker-11", "10.0.0.3", 13))
    roster.read({"event": "died", "worker": "worker-10.2", "reason": "could not be started"})
    assert [*roster.awaited] == ["worker-12", "worker-13"]
    assert roster.nodes_used == ["10.0.0.2", "10.0.0.1", "10.0.0.3"]


def test_a_driver_takes_its_actors_along_and_the_next_one_knows_their_nodes() -> None:
    for event in ("resumed", "ended"):
        roster = read(*FIRST, {"event": event, "worker": "driver"})
        assert roster.members() == []
        assert roster.nodes_used == ["10.0.0.2", "10.0.0.1"]
    again = Roster(earlier_nodes=["10.0.0.2", "10.0.0.1", "10.0.0.2"])
    again.joined("server", "10.0.0.4", 1)
    assert again.nodes_used == ["10.0.0.2", "10.0.0.1", "10.0.0.4"]
    assert again.most_workers == 0
