"""Links over loopback: what arrives, and what one peer can do to another."""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest

from actors.endpoint import Endpoint
from actors.links import RTO_MAX_MS
from actors.messages import Assign, EpochDone, Stop, Weights
from actors.orders import Down
from tests.ability import unable
from tests.linked import Clock, exchange, linked
from tests.toys import hello


def test_the_first_message_is_the_hello_and_answers_find_their_way_by_name(
    endpoint: Callable[..., Endpoint],
) -> None:
    server, worker = endpoint(), endpoint()
    worker.connect("server", server.address, hello("worker-0"))
    (at_server, _) = exchange(server, worker, until=lambda inboxes: bool(inboxes[0]))
    assert at_server == [hello("worker-0")]
    server.send("worker-0", Assign((1, 2)))
    (_, at_worker) = exchange(server, worker, until=lambda inboxes: bool(inboxes[1]))
    assert at_worker == [Assign((1, 2))]


def test_after_a_cut_cable_the_kernel_tries_again_each_second(
    endpoint: Callable[..., Endpoint],
) -> None:
    """And not after twice as long each time: an epoch's end would wait for that."""
    with socket.socket() as connection, suppress(OSError):
        usual_ms = connection.getsockopt(socket.IPPROTO_TCP, RTO_MAX_MS)
        for one in linked(endpoint):
            (link,) = one._named.values()
            if link.connection.family != socket.AF_UNIX:
                assert link.connection.getsockopt(socket.IPPROTO_TCP, RTO_MAX_MS) == 1000 < usual_ms
        return
    unable("retries", "before Linux 6.15 no program can say how often the kernel tries again")


def test_messages_to_nobody_vanish_as_in_erlang(endpoint: Callable[..., Endpoint]) -> None:
    lonely = endpoint()
    lonely.send("worker-0", Stop())
    assert lonely.receive(0.0) == []


def test_arrays_larger_than_any_kernel_buffer_arrive_both_ways_at_once(
    endpoint: Callable[..., Endpoint],
) -> None:
    server, worker = linked(endpoint)
    values = np.random.default_rng(0).normal(size=1 << 20)
    server.send("worker-0", Weights(1, values))
    worker.send("server", Weights(2, values[::-1].copy()))
    inboxes = exchange(server, worker, until=all)
    (at_server,), (at_worker,) = inboxes
    assert isinstance(at_server, Weights)
    assert isinstance(at_worker, Weights)
    assert at_worker.parameters.tobytes() == values.tobytes()
    assert at_server.parameters.tobytes() == values[::-1].tobytes()


def test_a_message_with_an_empty_vector_arrives_and_so_does_what_follows(
    endpoint: Callable[..., Endpoint],
) -> None:
    # An empty piece in the queue once kept the sender in an endless loop.
    server, worker = linked(endpoint)
    done = EpochDone(0, 1, 2, 3.0, np.ones(4, "f4"), np.empty(0, "f4"))
    server.send("worker-0", done)
    server.send("worker-0", Stop())
    (_, at_worker) = exchange(server, worker, until=lambda inboxes: len(inboxes[1]) == 2)
    assert isinstance(at_worker[0], EpochDone)
    assert at_worker[0].optimizer_state.size == 0
    assert at_worker[1] == Stop()


def test_the_end_of_a_process_is_a_down_at_its_peers(endpoint: Callable[..., Endpoint]) -> None:
    server, worker = linked(endpoint)
    # What the kernel does for a killed process: the socket closes without a word.
    for key in list(worker._selector.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    (inbox,) = exchange(server, until=lambda inboxes: bool(inboxes[0]))
    assert inbox == [Down("worker-0", "connection closed without a word")]


def test_an_actor_that_leaves_says_why(endpoint: Callable[..., Endpoint]) -> None:
    server, worker = linked(endpoint)
    worker.close("ValueError: the disk ate the rows")
    (inbox,) = exchange(server, until=lambda inboxes: bool(inboxes[0]))
    assert inbox == [Down("worker-0", "ValueError: the disk ate the rows")]


def test_last_words_are_heard_although_the_close_becomes_a_reset(
    endpoint: Callable[..., Endpoint],
) -> None:
    # The kernel resets a connection that is closed with something unread in it.
    server, worker = linked(endpoint)
    server.send("worker-0", Assign((1,)))
    worker.close("ValueError: the disk ate the rows")
    (inbox,) = exchange(server, until=lambda inboxes: bool(inboxes[0]))
    assert inbox == [Down("worker-0", "ValueError: the disk ate the rows")]


def test_nobody_listening_is_a_down(endpoint: Callable[..., Endpoint]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    worker = endpoint()
    worker.connect("server", address, hello("worker-0"))
    (down,) = worker.receive(0.0)
    assert isinstance(down, Down)
    assert down.name == "server"
    assert f"can not connect to 127.0.0.1:{address[1]}" in down.reason


def test_who_hangs_up_before_the_hello_is_a_down(
    endpoint: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A server that ends with a call in its backlog; the first send fails at once.
    worker = endpoint()
    called, caller = socket.socketpair()
    called.close()
    monkeypatch.setattr("actors.endpoint.call", lambda *_: caller)
    worker.connect("server", ("127.0.0.1", 1), hello("worker-0"))
    (down,) = worker.receive(0.0)
    assert isinstance(down, Down)
    assert down.name == "server"
    assert worker.names() == []


def test_an_array_beyond_the_bound_ends_the_link(endpoint: Callable[..., Endpoint]) -> None:
    server, worker = endpoint(bound=100), endpoint()
    worker.connect("server", server.address, hello("worker-0"))
    worker.send("server", Weights(1, np.ones(26, "f4")))
    (at_server, _) = exchange(server, worker, until=lambda inboxes: len(inboxes[0]) == 2)
    assert at_server[1] == Down("worker-0", "wire: arrays of 104 bytes, allowed 100")


def test_a_peer_that_accepts_nothing_fills_its_own_queue_and_is_down_after_the_timeout(
    endpoint: Callable[..., Endpoint], clock: Clock
) -> None:
    server, _stopped = linked(endpoint)
    lively = endpoint()
    lively.connect("server", server.address, hello("worker-1"))
    exchange(server, lively, until=lambda inboxes: bool(inboxes[0]))
    weights = Weights(1, np.ones(1 << 21, "f4"))
    for _ in range(4):  # 32 MiB: more than the kernel takes for a peer that does not read
        server.send("worker-0", weights)
    server.send("worker-1", Assign((1,)))
    (_, at_lively) = exchange(server, lively, until=lambda inboxes: bool(inboxes[1]))
    assert at_lively == [Assign((1,))]
    clock.now_s += 9
    assert server.receive(0.0) == []
    clock.now_s += 2
    (inbox,) = exchange(server, until=lambda inboxes: bool(inboxes[0]))
    assert inbox == [Down("worker-0", "accepted nothing for 10 s")]
    assert server.names() == ["worker-1"]


def test_a_peer_that_accepts_slowly_is_not_down(
    endpoint: Callable[..., Endpoint], clock: Clock
) -> None:
    # Its queue does not run empty for longer than the timeout, but it takes something.
    server, slow = linked(endpoint)
    link = slow._named["server"]
    server.send("worker-0", Weights(1, np.ones(1 << 21, "f4")))  # 8 MiB, sent as bytes
    received: list[object] = []
    while not received:
        clock.now_s += 1.0
        assert server.receive(0.0) == []  # it is not given up
        view = link._decoder.view
        count, _ = link._read_into(view[: 1 << 18])
        received += link._decoder.advance(count)
    assert clock.now_s > 100.0 + 20.0  # twice the timeout
    assert server.names() == ["worker-0"]


@pytest.mark.parametrize("takes", [True, False])
def test_who_leaves_waits_for_a_peer_as_long_as_it_takes_something(
    takes: bool, endpoint: Callable[..., Endpoint], clock: Clock
) -> None:
    server, slow = linked(endpoint)
    link = slow._named["server"]
    received: list[object] = []

    def looked_at() -> float:
        clock.now_s += 0.05 if takes else 0.5  # who takes nothing has a second
        if takes and not received:
            take_some()
        return clock.now_s

    def take_some() -> None:
        view = link._decoder.view
        with suppress(BlockingIOError):
            count, _ = link._read_into(view[: 1 << 16])
            received.extend(link._decoder.advance(count))

    server.send("worker-0", Weights(1, np.ones(1 << 21, "f4")))  # 8 MiB, sent as bytes
    server._clock = looked_at
    began_s = clock.now_s
    server.close("left in order")
    assert (clock.now_s - began_s > 2.0) == takes
    while takes and not received:  # the rest lies at this end
        take_some()


def test_for_a_stopped_peer_only_the_newest_weights_wait_whatever_the_number_of_steps(
    endpoint: Callable[..., Endpoint],
) -> None:
    server, stopped = linked(endpoint)
    for step in range(50):  # 8 MiB each; all together 400 MiB
        server.send("worker-0", Weights(step, np.full(1 << 21, step, "f4")))
        if step % 10 == 0:
            server.send("worker-0", Assign((step,)))
    link = server._named["worker-0"]
    queued = [*link._outgoing, *(m for m in link._held if isinstance(m, Weights))]
    assert len(queued) == 2  # the one that is cut into bytes, and the newest
    # When it goes on, it gets what was begun, all that is not weights, and the newest weights.
    (_, heard) = exchange(server, stopped, until=lambda inboxes: len(inboxes[1]) == 7)
    assert [m.shards for m in heard if isinstance(m, Assign)] == [
        (step,) for step in range(0, 50, 10)
    ]
    weights = [m for m in heard if isinstance(m, Weights)]
    assert [m.step for m in weights] == [0, 49]
    assert {*weights[1].parameters} == {49.0}
    assert stopped.receive(0.0) == []


def test_the_same_name_again_replaces_the_older_link(endpoint: Callable[..., Endpoint]) -> None:
    server, older = linked(endpoint)
    younger = endpoint()
    younger.connect("server", server.address, hello("worker-0"))
    (at_server, _) = exchange(server, younger, until=lambda inboxes: len(inboxes[0]) == 2)
    assert at_server == [Down("worker-0", "the same name linked again"), hello("worker-0")]
    server.send("worker-0", Assign((5,)))
    (_, at_younger) = exchange(server, younger, until=lambda inboxes: bool(inboxes[1]))
    assert at_younger == [Assign((5,))]
    (at_older,) = exchange(older, until=lambda inboxes: bool(inboxes[0]))
    assert isinstance(at_older[0], Down)


def test_a_connection_that_is_reset_before_it_is_accepted_is_nobody(
    endpoint: Callable[..., Endpoint],
) -> None:
    # A port scanner's or a load balancer's check; once its reset ended the actor.
    server, worker = linked(endpoint)
    for _ in range(20):
        with socket.create_connection(server.address) as scanner:
            at_once = struct.pack("ii", 1, 0)
            scanner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        assert server.receive(0.01) == []
    worker.send("server", Stop())
    (at_server, _) = exchange(server, worker, until=lambda inboxes: bool(inboxes[0]))
    assert at_server == [Stop()]
    assert not server._strangers


def test_whoever_leaves_at_once_still_says_hello_and_why(
    endpoint: Callable[..., Endpoint],
) -> None:
    server, worker = endpoint(), endpoint()
    worker.connect("server", server.address, hello("worker-0"))
    leaving = threading.Thread(target=worker.close, args=("no route to the server",))
    leaving.start()  # it must wait for the proof, which the server gives only if it receives
    (at_server,) = exchange(server, until=lambda inboxes: len(inboxes[0]) == 2)
    leaving.join()
    assert at_server == [hello("worker-0"), Down("worker-0", "no route to the server")]


def test_a_frame_that_was_cut_by_a_failed_send_is_followed_by_nothing(
    endpoint: Callable[..., Endpoint],
) -> None:
    server, worker = linked(endpoint)
    link = worker._named["server"]
    worker.send("server", Weights(1, np.ones(1 << 21, "f4")))  # more than the kernel takes
    assert link.pending

    class Broken:
        """The connection, with a send that fails as it does when the kernel has no memory."""

        def __getattr__(self, name: str) -> object:
            return getattr(connection, name)

        def sendmsg(self, pieces: object, ancillary: object) -> int:
            raise OSError(105, "No buffer space available")

    connection, link.connection = link.connection, Broken()  # type: ignore[assignment]
    worker.send("server", Stop())
    assert worker.receive(0.0) == [Down("server", "connection broken: No buffer space available")]
    worker.send("server", Stop())
    (at_server,) = exchange(server, until=lambda inboxes: bool(inboxes[0]))
    assert at_server == [Down("worker-0", "connection closed without a word")]


def test_without_a_file_descriptor_left_nobody_is_accepted_and_nothing_spins(
    endpoint: Callable[..., Endpoint], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, worker = linked(endpoint)
    refused: list[int] = []

    def accept(listener: socket.socket) -> None:
        refused.append(1)
        raise OSError(24, "Too many open files")

    late = endpoint()
    late.connect("server", server.address, hello("worker-1"))
    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "accept", accept)
        for _ in range(10):
            server.receive(0.01)
    assert len(refused) == 1
    clock.now_s += 1
    (at_server, _) = exchange(server, late, until=lambda inboxes: bool(inboxes[0]))
    assert at_server == [hello("worker-1")]
    assert worker.receive(0.0) == []


def test_another_thread_can_post(endpoint: Callable[..., Endpoint]) -> None:
    server, worker = linked(endpoint)
    thread = threading.Thread(target=server.posts.put, args=("worker-0", Stop()))
    thread.start()
    thread.join()
    (_, at_worker) = exchange(server, worker, until=lambda inboxes: bool(inboxes[1]))
    assert at_worker == [Stop()]
