"""What is kept of what was heard, for result.json."""

import dataclasses
from typing import Any

from actors.cluster import Heard
from actors.orders import Died, Joined, Unlike, Unplaced
from trainer.chronicle import Chronicle
from trainer.reports import Event, Report

UNLIKE = Unlike("worker-1", "10.0.0.2", "10.0.0.1", ("BLAS: A here, B there",))
KEPT: dict[str, Any] = {
    "host": "10.0.0.2",
    "other_host": "10.0.0.1",
    "differences": ["BLAS: A here, B there"],
}


def timeless(reports: list[Report]) -> list[Event]:
    """Events, whatever the time of day."""
    return [dataclasses.replace(r, unix_s=0.0) for r in reports if isinstance(r, Event)]


def test_hosts_that_round_otherwise_are_kept_and_told_as_events() -> None:
    told: list[Report] = []
    chronicle = Chronicle(None, [told.append], began_s=10.0, step=7)
    chronicle.note(Heard(12.0, UNLIKE))
    assert timeless(told) == [Event(2.0, 7, "unlike", "worker-1", KEPT)]
    assert chronicle.unlike_hosts == [KEPT]


def test_those_of_the_processes_before_a_resume_are_kept_too() -> None:
    earlier = dataclasses.asdict(Event(2.0, 7, "unlike", "worker-1", {}))
    del earlier["details"]
    chronicle = Chronicle(None, [], 10.0, 7, earlier=[{**earlier, **KEPT}])
    assert chronicle.unlike_hosts == [KEPT]


def test_workers_without_a_place_are_one_event() -> None:
    told: list[Report] = []
    chronicle = Chronicle(None, [told.append], began_s=10.0, step=0)
    chronicle.note(Heard(15.0, Unplaced(("worker-1", "worker-2"), "full")))
    details = {"workers": ["worker-1", "worker-2"], "reason": "full"}
    assert timeless(told) == [Event(5.0, 0, "unplaced", "worker-1", details)]


def test_the_nodes_of_all_processes_of_a_run_are_kept() -> None:
    earlier = [{"at_s": 1.0, "event": "joined", "worker": "server", "host": "10.0.0.9"}]
    chronicle = Chronicle(None, [], 10.0, 7, earlier=earlier)
    chronicle.note(Heard(11.0, Joined("server", "10.0.0.1", 1)))
    chronicle.note(Heard(11.0, Joined("worker-0", "10.0.0.2", 2)))
    chronicle.note(Heard(12.0, Died("worker-0", "killed")))
    roster = chronicle.roster
    assert roster.nodes_used == ["10.0.0.9", "10.0.0.1", "10.0.0.2"]
    assert (roster.workers, roster.most_workers) == ([], 1)
    assert roster.nodes == {"10.0.0.1": ["server"]}
