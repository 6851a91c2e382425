"""Hostile input on a link: refused, counted, bounded in memory, and training goes on."""

import base64
import gc
import socket
import stat
import subprocess
import sys
import threading
import tracemalloc
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray

from actors.addresses import Address, local_name
from actors.endpoint import Endpoint
from actors.handshake import new_key
from actors.messages import Assign, Dx, EpochDone, Hello, Refused, RunEpoch, Stop
from actors.orders import Died, Down, DriverMessage, Failed, Joined, Message, Ready
from actors.ray_cluster import RayCluster
from actors.supervisor import Crew
from actors.wire import encode
from tests.linked import BOUND, KEY, Clock, exchange, linked
from tests.strangers import (
    ABSURD,
    DX_TAG,
    GARBAGE,
    Door,
    header,
    local_socket,
    port,
    prove_wrongly,
    proven,
    reach,
    recorded,
    say,
    say_proven,
)
from tests.toys import Failing, hello, toy_job, undisturbed

DX = Dx(0, 0, 1, 3, 1.0, np.ones(33, "f4"))

Find = Callable[[Endpoint], Door]
through_each_door = pytest.mark.parametrize(
    ("endpoint", "door"),
    [(True, port), (True, local_socket), (False, port)],
    indirect=["endpoint"],
    ids=["the port", "the local socket", "the port alone"],
)


@contextmanager
def attacked(attack: Callable[..., object], *arguments: object) -> Iterator[threading.Thread]:
    """The attack goes on in a thread while the block runs."""
    thread = threading.Thread(target=attack, args=arguments)
    thread.start()
    yield thread
    thread.join()


def until_over(server: Endpoint, attack: Callable[..., object], *arguments: object) -> None:
    """Let the server live until it has hung up on the attacker; it must take nothing from it."""
    with attacked(attack, *arguments) as thread:
        while thread.is_alive():
            assert server.receive(0.01) == []
    while server._strangers:
        assert server.receive(0.01) == []


def counted(server: Endpoint, clock: Clock) -> Refused:
    """What is told of the refused at the next check of the times."""
    clock.now_s += 0.5
    (refused,) = server.receive(0.0)
    assert isinstance(refused, Refused)
    return refused


def goes_on(server: Endpoint, worker: Endpoint) -> None:
    """The link that was there is there."""
    worker.send("server", Assign((3,)))
    (at_server, _) = exchange(server, worker, until=lambda inboxes: bool(inboxes[0]))
    assert at_server == [Assign((3,))]
    assert server.names() == ["worker-0"]


NO_PROTOCOL = "link: the peer does not speak Everstep's protocol; refused"
NO_KEY = "link: the peer does not hold this run's key; refused"


@through_each_door
@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ("a web browser", NO_PROTOCOL),
        ("a frame before the proof", NO_PROTOCOL),
        ("zeros", NO_PROTOCOL),
        ("no key", NO_KEY),
        ("a flood", NO_KEY),
    ],
)
def test_a_stranger_is_refused_counted_and_told_nothing(
    who: str, reason: str, endpoint: Callable[..., Endpoint], door: Find, clock: Clock
) -> None:
    server, worker = linked(endpoint)
    heard: list[bytes] = []
    until_over(server, lambda: heard.append(say(door(server), GARBAGE[who])))
    assert b"EVST" not in heard[0]  # no frame for a stranger
    assert counted(server, clock) == Refused(1, reason)
    goes_on(server, worker)


def test_another_run_s_key_is_refused_on_both_sides_and_counted(
    endpoint: Callable[..., Endpoint], clock: Clock
) -> None:
    server, stranger = endpoint(), endpoint(key=new_key())
    stranger.connect("server", server.address, hello("worker-0"))
    at_server, at_stranger = exchange(server, stranger, until=lambda inboxes: bool(inboxes[1]))
    assert at_server == []
    (down,) = at_stranger
    assert isinstance(down, Down)
    assert down.name == "server"
    assert counted(server, clock) == Refused(1, NO_KEY)
    assert server.names() == []


@through_each_door
def test_a_worker_s_recorded_conversation_played_again_is_refused_and_counted(
    endpoint: Callable[..., Endpoint], door: Find, clock: Clock
) -> None:
    conversation = recorded(endpoint, DX)
    assert DX.gradient.tobytes() in conversation
    server, worker = linked(endpoint)
    until_over(server, say, door(server), conversation)
    assert counted(server, clock) == Refused(1, NO_KEY)  # each challenge is fresh
    goes_on(server, worker)


@through_each_door
def test_a_recording_can_not_take_the_place_of_a_worker_that_is_linked(
    endpoint: Callable[..., Endpoint],
    door: Find,
) -> None:
    conversation = recorded(endpoint, DX)  # it says Hello as worker-0, too
    server, worker = linked(endpoint)
    until_over(server, say, door(server), conversation)
    server.send("worker-0", Stop())
    (_, at_worker) = exchange(server, worker, until=lambda inboxes: bool(inboxes[1]))
    assert at_worker == [Stop()]


@through_each_door
@pytest.mark.parametrize("what", ABSURD)
def test_an_absurd_length_of_who_holds_the_key_is_refused_before_it_costs_memory(
    what: str, endpoint: Callable[..., Endpoint], door: Find, clock: Clock
) -> None:
    server, worker = linked(endpoint)
    tracemalloc.start()
    try:
        until_over(server, say_proven, door(server), KEY, ABSURD[what])
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1 << 20
    refused = counted(server, clock)
    assert refused.count == 1
    assert refused.reason.startswith("wire: ")
    assert "allowed" in refused.reason
    goes_on(server, worker)


@through_each_door
def test_an_absurd_length_after_the_hello_ends_that_link_and_no_other(
    endpoint: Callable[..., Endpoint],
    door: Find,
) -> None:
    server, worker = linked(endpoint)
    words = b"".join(encode(hello("worker-1"))) + header(DX_TAG, 61, BOUND + 1)
    with attacked(say_proven, door(server), KEY, words):
        (at_server,) = exchange(server, until=lambda inboxes: len(inboxes[0]) == 2)
    reason = f"wire: arrays of {BOUND + 1} bytes, allowed {BOUND}"
    assert at_server == [hello("worker-1"), Down("worker-1", reason)]
    goes_on(server, worker)


@through_each_door
@pytest.mark.parametrize("end", [10, 30, -1])
def test_a_first_frame_that_stops_halfway_is_closed_after_a_while_and_counted(
    end: int, endpoint: Callable[..., Endpoint], door: Find, clock: Clock
) -> None:
    server, worker = linked(endpoint)
    frame = b"".join(encode(hello("worker-1")))

    def stop_halfway() -> None:
        opened.append(proven(door(server), KEY))
        opened[0].sendall(frame[:end])

    opened: list[socket.socket] = []
    with attacked(stop_halfway) as thread:
        while thread.is_alive():
            assert server.receive(0.01) == []
    with opened[0]:
        clock.now_s += 9.0
        assert server.receive(0.0) == []  # it may still come
        assert len(server._strangers) == 1
        clock.now_s += 1.5
        assert server.receive(0.0) == []
    assert counted(server, clock) == Refused(1, "did not prove who it is for 10 s")
    goes_on(server, worker)


@through_each_door
def test_a_later_frame_that_stops_halfway_holds_up_nobody_else(
    endpoint: Callable[..., Endpoint],
    door: Find,
) -> None:
    server, worker = linked(endpoint)
    frames = b"".join([*encode(hello("worker-1")), *encode(DX)])

    def stop_halfway() -> None:
        opened.append(proven(door(server), KEY))
        opened[0].sendall(frames[:-1])

    opened: list[socket.socket] = []
    with attacked(stop_halfway):
        (at_server,) = exchange(server, until=lambda inboxes: bool(inboxes[0]))
    assert at_server == [hello("worker-1")]
    worker.send("server", Stop())
    (at_server, _) = exchange(server, worker, until=lambda inboxes: bool(inboxes[0]))
    assert at_server == [Stop()]
    opened[0].close()
    (at_server,) = exchange(server, until=lambda inboxes: bool(inboxes[0]))
    assert at_server == [Down("worker-1", "connection closed without a word")]


@through_each_door
def test_of_a_thousand_connections_that_say_nothing_a_few_are_kept_and_not_for_long(
    endpoint: Callable[..., Endpoint], door: Find, clock: Clock
) -> None:
    server, worker = linked(endpoint)
    gc.collect()
    files = psutil.Process().num_fds()
    refused = 0
    found = door(server)
    with ExitStack() as opened:
        for _ in range(1000):
            opened.enter_context(reach(found))
            server.receive(0.01)
        assert len(server._strangers) == 64
        assert psutil.Process().num_fds() == files + 1000 + 64
        refused += counted(server, clock).count
        assert refused == 1000 - 64
        goes_on(server, worker)
        clock.now_s += 10.5
        server.receive(0.0)
        assert not server._strangers
        refused += counted(server, clock).count
    assert refused == 1000
    goes_on(server, worker)


@through_each_door
def test_the_oldest_silent_connection_goes_first_so_that_an_actor_finds_room(
    endpoint: Callable[..., Endpoint],
    door: Find,
) -> None:
    server = endpoint()
    late = endpoint()
    found = door(server)
    with ExitStack() as opened:
        for _ in range(200):
            opened.enter_context(reach(found))
            server.receive(0.01)
        late.connect("server", server.address, hello("worker-1"))
        (at_server, _) = exchange(server, late, until=lambda inboxes: bool(inboxes[0]))
        assert at_server == [hello("worker-1")]


def test_a_proven_peer_whose_first_word_is_no_hello_is_refused_and_counted(
    endpoint: Callable[..., Endpoint], clock: Clock
) -> None:
    server, worker = endpoint(), endpoint()
    worker.connect("server", server.address, Assign((1,)))  # type: ignore[arg-type]
    at_server, at_worker = exchange(server, worker, until=lambda inboxes: bool(inboxes[1]))
    assert at_server == []
    assert isinstance(at_worker[0], Down)
    reason = "link: the first message is Assign, not Hello"
    assert counted(server, clock) == Refused(1, reason)


@through_each_door
def test_a_flood_from_a_stranger_is_not_kept(endpoint: Callable[..., Endpoint], door: Find) -> None:
    server, worker = linked(endpoint)
    flood = GARBAGE["a flood"]  # 16 MiB
    tracemalloc.start()
    try:
        until_over(server, say, door(server), flood)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1 << 20
    goes_on(server, worker)


@pytest.mark.parametrize("endpoint", [True], indirect=True, ids=["the local socket"])
def test_open_files_that_a_stranger_sends_along_are_not_kept(
    endpoint: Callable[..., Endpoint], clock: Clock
) -> None:
    server, worker = linked(endpoint)
    door = local_socket(server)

    def lend() -> None:
        with reach(door) as connection, Path("/dev/null").open() as file:
            files = array("i", [file.fileno()] * 60)
            with suppress(ConnectionError):
                connection.sendmsg(
                    [GARBAGE["zeros"]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)]
                )
                connection.recv(1 << 16)

    gc.collect()
    files = psutil.Process().num_fds()
    until_over(server, lend)
    assert psutil.Process().num_fds() == files
    assert counted(server, clock) == Refused(1, NO_PROTOCOL)
    goes_on(server, worker)


# --- A real cluster


def heard_until(cluster: RayCluster, kind: type[Message]) -> list[DriverMessage]:
    messages: list[DriverMessage] = []
    while not messages or not isinstance(messages[-1], kind | Failed):
        heard = cluster.receive(60.0)
        assert heard is not None
        messages.append(heard.message)
    return messages


@pytest.mark.usefixtures("ray_session")
def test_a_training_under_attack_goes_on_to_the_same_bytes() -> None:
    """Everything above, through the server's and the driver's doors, while steps are done."""
    job = toy_job(4)
    steps_per_epoch, epoch = 100, 0
    cluster = RayCluster(job, Crew(2, 2, link_timeout_s=2.0))
    conversation: list[bytes] = []

    def attack(address: Address) -> None:
        key = cluster._links.key
        for door in (address, local_name(key, address)):
            for words in (*GARBAGE.values(), *conversation):
                say(door, words)
            prove_wrongly(door)
            for words in ABSURD.values():
                say_proven(door, key, words)
            halfway = opened.enter_context(proven(door, key))
            halfway.sendall(b"".join(encode(hello("worker-1")))[:-1])
        for _ in range(1000):
            opened.enter_context(socket.create_connection(address, timeout=30.0))

    connections = 2 * (2 * (len(GARBAGE) + 1 + 1 + len(ABSURD) + 1) + 1000)
    messages: list[DriverMessage] = []
    with ExitStack() as opened, cluster:
        messages += heard_until(cluster, Ready)
        server = cluster._mailbox._coordinator._server
        assert isinstance(server, Hello)
        server_address = (server.host, server.port)
        endpoint = cluster._links.endpoint
        conversation.append(recorded(lambda: endpoint("127.0.0.1"), DX))
        process = psutil.Process(server.process_id)
        cluster.run_epoch(RunEpoch(0, steps_per_epoch))
        messages += heard_until(cluster, EpochDone)
        before_bytes = process.memory_info().rss
        with attacked(attack, server_address), attacked(attack, cluster._mailbox.address):
            while refused_in(messages) < connections:
                epoch += 1
                cluster.run_epoch(RunEpoch(epoch, (epoch + 1) * steps_per_epoch))
                messages += heard_until(cluster, EpochDone)
                assert not isinstance(messages[-1], Failed)
        grown_bytes = process.memory_info().rss - before_bytes
    assert refused_in(messages) == connections
    assert grown_bytes < 1 << 25  # one flood alone was 16 MiB, the connections were a thousand
    assert len([m for m in messages if isinstance(m, Joined)]) == 3
    assert [m for m in messages if isinstance(m, Died)] == []
    done = messages[-1]
    assert isinstance(done, EpochDone)
    assert done.step == (epoch + 1) * steps_per_epoch
    expected = undisturbed(job, done.step)
    assert done.parameters.tobytes() == expected.parameters.tobytes()
    assert done.optimizer_state.tobytes() == expected.optimizer_state.tobytes()


def refused_in(messages: list[DriverMessage]) -> int:
    return sum(message.count for message in messages if isinstance(message, Refused))


# --- The key


def traces_of(key: bytes) -> list[bytes]:
    """How the key would look where it is written down."""
    return [key, key.hex().encode(), repr(key)[2:-1].encode(), base64.b64encode(key)]


def places_with(key: bytes, session: Path) -> list[str]:
    """Argument lists and environments of Ray's and our processes; files that others may read."""
    found = []
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        for what in ("cmdline", "environ"):
            with suppress(OSError):  # it has just ended
                if holds(Path(f"/proc/{process.pid}/{what}").read_bytes(), key):
                    found.append(f"{what} of {process.pid}")
    for root in (session, Path("/dev/shm")):
        for path in root.rglob("*"):
            with suppress(OSError):
                mode = path.stat().st_mode
                if stat.S_ISREG(mode) and mode & 0o044 and holds(path.read_bytes(), key):
                    found.append(str(path))
    return found


def holds(written: bytes, key: bytes) -> bool:
    return any(trace in written for trace in traces_of(key))


@pytest.mark.usefixtures("ray_session")
def test_the_key_is_in_no_log_no_argument_list_and_no_file_that_others_may_read() -> None:
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    job = toy_job(4)
    failing = replace(job, shards=[*job.shards[:3], Failing(job.shards[3], 5)])  # it logs much
    with RayCluster(failing, Crew(2, 2)) as cluster:
        key = cluster._links.key
        cluster.run_epoch(RunEpoch(0, 60))
        messages = heard_until(cluster, Died)
        assert places_with(key, session) == []
        # The search itself does find what is there.
        written = session / "logs" / "everstep-test.log"
        written.write_text(f"the key is {key!r}")
        program = [sys.executable, "-c", "input()", key.hex()]
        with subprocess.Popen(program, stdin=subprocess.PIPE) as process:
            found = places_with(key, session)
            process.communicate(b"\n")
        written.unlink()
    assert "the disk ate the rows" in str(messages[-1])
    assert found == [f"cmdline of {process.pid}", str(written)]
