"""Links over loopback: what arrives, what is refused, and what one peer can do to another."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from actors.endpoint import Endpoint
from actors.handshake import new_key
from actors.messages import Assign, EpochDone, Stop, Weights
from actors.orders import Down, Message
from actors.wire import encode
from tests.toys import hello

KEY = new_key()
BOUND = 1 << 24


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def endpoint(clock: Clock) -> Iterator[Callable[..., Endpoint]]:
    """Makes endpoints on loopback, and closes them."""
    with ExitStack() as opened:

        def make(key: bytes = KEY, bound: int = BOUND) -> Endpoint:
            made = Endpoint(key, "127.0.0.1", bound, link_timeout_s=10.0, clock=clock)
            opened.callback(made.close, "the test is over", flush_s=0.0)
            return made

        yield make


def exchange(
    *endpoints: Endpoint, until: Callable[[list[list[Message]]], bool]
) -> list[list[Message]]:
    """Let the endpoints receive in turn until the condition holds, or the test's time is up."""
    received: list[list[Message]] = [[] for _ in endpoints]
    while not until(received):
        for inbox, one in zip(received, endpoints, strict=True):
            inbox.extend(one.receive(0.01))
    return received


def linked(endpoint: Callable[..., Endpoint]) -> tuple[Endpoint, Endpoint]:
    """A server and a worker that is linked to it."""
    server, worker = endpoint(), endpoint()
    worker.connect("server", server.address, hello("worker-0"))
    exchange(server, worker, until=lambda inboxes: bool(inboxes[0]))
    return server, worker


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


def test_a_peer_with_another_key_is_refused_on_both_sides(
    endpoint: Callable[..., Endpoint],
) -> None:
    server, worker = endpoint(), endpoint(key=new_key())
    worker.connect("server", server.address, hello("worker-0"))
    at_server, at_worker = exchange(server, worker, until=lambda inboxes: bool(inboxes[1]))
    assert at_server == []
    (down,) = at_worker
    assert isinstance(down, Down)
    assert down.name == "server"
    assert server.names() == []


def until_hung_up(stranger: socket.socket, server: Endpoint) -> bytes:
    """What a stranger hears until the server closes, which must take nothing from it."""
    stranger.setblocking(False)
    heard = b""
    while True:
        assert server.receive(0.01) == []
        try:
            part = stranger.recv(4096)
        except BlockingIOError:
            continue
        except ConnectionResetError:
            return heard
        if not part:
            return heard
        heard += part


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\nHost: everstep\r\n\r\n" + b" " * 64,
        b"".join(encode(hello("worker-9"))) * 3,  # a frame before the proof
        bytes(4096),
        b"EVERSTEP" + bytes(32) + bytes(32),  # the right words, a wrong proof
    ],
)
def test_a_stranger_is_refused_and_the_others_go_on(
    words: bytes, endpoint: Callable[..., Endpoint]
) -> None:
    server, worker = linked(endpoint)
    with socket.create_connection(server.address) as stranger:
        stranger.sendall(words)
        heard = until_hung_up(stranger, server)
    assert b"EVST" not in heard  # no frame for a stranger
    worker.send("server", Assign((3,)))
    (at_server, _) = exchange(server, worker, until=lambda inboxes: bool(inboxes[0]))
    assert at_server == [Assign((3,))]


def test_a_stranger_can_not_play_a_recorded_proof_again(endpoint: Callable[..., Endpoint]) -> None:
    from actors.handshake import Handshake

    spoken: list[bytes] = []
    heard: list[bytes] = []
    connector = Handshake(KEY, "connector", spoken.append)
    acceptor = Handshake(KEY, "acceptor", heard.append)
    feed(connector, heard[0])
    feed(acceptor, spoken[0])
    feed(acceptor, spoken[1])
    assert acceptor.done  # this conversation was good; now its words come again
    server = endpoint()
    with socket.create_connection(server.address) as stranger:
        stranger.sendall(b"".join(spoken) + b"".join(encode(hello("worker-9"))))
        until_hung_up(stranger, server)
    assert server.names() == []


def feed(handshake: object, spoken: bytes) -> None:
    from actors.handshake import Handshake

    assert isinstance(handshake, Handshake)
    while spoken:
        count = min(len(spoken), len(handshake.view))
        handshake.view[:count], spoken = spoken[:count], spoken[count:]
        handshake.advance(count)


def test_silent_strangers_are_closed_after_a_while_and_are_never_many(
    endpoint: Callable[..., Endpoint], clock: Clock
) -> None:
    server, _worker = linked(endpoint)
    with ExitStack() as opened:
        for _ in range(200):
            opened.enter_context(socket.create_connection(server.address))
            server.receive(0.01)
        assert len(server._strangers) == 64
        clock.now_s += 11
        exchange(server, until=lambda _: not server._strangers)
    assert server.names() == ["worker-0"]


def test_a_proven_peer_whose_first_word_is_no_hello_is_refused(
    endpoint: Callable[..., Endpoint],
) -> None:
    server, worker = endpoint(), endpoint()
    worker.connect("server", server.address, Assign((1,)))  # type: ignore[arg-type]
    at_server, at_worker = exchange(server, worker, until=lambda inboxes: bool(inboxes[1]))
    assert at_server == []
    assert isinstance(at_worker[0], Down)


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

        def sendmsg(self, pieces: object) -> int:
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

    class Exhausted:
        def accept(self) -> None:
            refused.append(1)
            raise OSError(24, "Too many open files")

        def __getattr__(self, name: str) -> object:
            return getattr(listener, name)

    listener, server._listener = server._listener, Exhausted()  # type: ignore[assignment]
    assert listener is not None
    late = endpoint()
    late.connect("server", listener.getsockname(), hello("worker-1"))
    for _ in range(10):
        server.receive(0.01)
    assert len(refused) == 1
    server._listener = listener
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
