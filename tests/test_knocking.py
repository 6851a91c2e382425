"""Of many doors, those at which somebody answers."""

import socket
from collections.abc import Iterator

import pytest

from actors.knocking import who_answers

Door = tuple[str, int]


def closed_door() -> Door:
    """Nobody listens there any more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
    return host, port


@pytest.fixture
def open_door() -> Iterator[Door]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()


@pytest.fixture
def silent_door() -> Iterator[Door]:
    """Nobody takes what waits there, and no more may wait: a further one hears nothing."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as server,
        socket.create_connection(server.getsockname()),
    ):
        yield server.getsockname()


def test_who_answers_is_named_and_who_refuses_or_is_silent_is_not(
    open_door: Door, silent_door: Door
) -> None:
    doors = {"open": open_door, "closed": closed_door(), "silent": silent_door}
    assert who_answers(doors, 0.3) == {"open"}


def test_many_are_asked_at_once(open_door: Door, silent_door: Door) -> None:
    """One after the other, the silent ones would take longer than the patience for all."""
    doors = {f"silent-{i}": silent_door for i in range(20)} | {"open": open_door}
    assert who_answers(doors, 0.3) == {"open"}


def test_without_patience_or_doors_nobody_answers(open_door: Door) -> None:
    assert who_answers({"open": open_door}, 0.0) == set()
    assert who_answers({}, 1.0) == set()


def test_an_address_that_leads_nowhere_is_no_error() -> None:
    assert who_answers({"nowhere": ("255.255.255.255", 1), "v6": ("::1", 1)}, 0.3) == set()
