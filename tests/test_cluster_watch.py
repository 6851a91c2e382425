"""Whether the head answers, and which nodes go: told in time, and by name."""

import socket
import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from actors.cluster_watch import ClusterWatch


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.failed: SimpleQueue[str] = SimpleQueue()
        self.cleared: SimpleQueue[str] = SimpleQueue()

    def fail(self, reason: str) -> None:
        self.failed.put(reason)

    def clear(self, host: str) -> None:
        self.cleared.put(host)


@pytest.fixture
def head() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def address_of(head: socket.socket) -> str:
    return f"127.0.0.1:{head.getsockname()[1]}"


def test_a_head_that_answers_no_more_is_lost_after_the_limit(head: socket.socket) -> None:
    listener, address = Listener(), address_of(head)
    with ClusterWatch(address, 0.1, list, listener) as watch:
        head.accept()[0].close()  # it was called
        assert listener.failed.empty()
        assert not watch.head_is_lost
        head.close()
        reason = listener.failed.get(timeout=30.0)
        assert watch.head_is_lost
    assert reason == (
        f"the head of the Ray cluster at {address} is lost: no answer for 0.1 s"
        " (Connection refused); the training can go on in another cluster"
    )


def test_the_node_that_is_drained_is_told_by_its_address(head: socket.socket) -> None:
    listener = Listener()
    with ClusterWatch(address_of(head), 10.0, lambda: ["10.0.0.2"], listener):
        assert listener.cleared.get(timeout=30.0) == "10.0.0.2"


def test_an_error_of_ray_is_not_the_end_of_the_watch(head: socket.socket) -> None:
    listener, asked = Listener(), threading.Event()

    def going() -> list[str]:
        if not asked.is_set():
            asked.set()
            raise RuntimeError("the cluster is busy")
        return ["10.0.0.1"]

    with ClusterWatch(address_of(head), 10.0, going, listener):
        assert listener.cleared.get(timeout=30.0) == "10.0.0.1"
    assert asked.is_set()


def test_a_ray_that_never_answers_hides_no_lost_head(head: socket.socket) -> None:
    """A head that dies between the call to it and the question to Ray: Ray waits for it."""
    listener, asked, free = Listener(), threading.Event(), threading.Event()

    def going() -> list[str]:
        asked.set()
        assert free.wait(60.0)
        return []

    try:
        with ClusterWatch(address_of(head), 0.1, going, listener):
            assert asked.wait(30.0)
            head.close()
            assert "is lost" in listener.failed.get(timeout=30.0)
            assert not free.is_set()
    finally:
        free.set()
