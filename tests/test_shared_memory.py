"""Arrays that are lent to a peer of the same host: mapped, given back, and never in its way."""

import fcntl
import gc
import mmap
import multiprocessing
import os
import signal
import socket
from array import array as c_array
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import pytest

from actors.endpoint import Endpoint
from actors.errors import LendingError, WireError
from actors.lending import MOST_DESCRIPTORS, MOST_LENT, Borrower
from actors.messages import Dx, Pong, Returned, RunEpoch, Stop, Vector, Weights
from actors.orders import Down, Message
from actors.parameter_server import ParameterServer
from actors.processes import _handle, without_old_weights
from actors.shared_memory import MOST_SLOTS, SHARED_FROM_BYTES, SharedPool, map_slot
from tests.linked import BOUND, KEY, exchange, linked
from tests.toys import hello, lent_job

COUNT = SHARED_FROM_BYTES // 4  # float32: the smallest array that is shared

pytestmark = pytest.mark.parametrize("endpoint", [True], ids=["shared memory"], indirect=True)


def place(endpoint: Endpoint, array: Vector) -> int:
    """Which slot it lies in; their numbers are never used again."""
    slot = endpoint.pool.slot_of(array)
    assert slot is not None
    return slot.number


def leased(endpoint: Endpoint, value: float) -> Vector:
    array = endpoint.pool.take(COUNT, "f4")
    array[:] = value
    return array


def weights_in(messages: list[Message]) -> list[Weights]:
    return [message for message in messages if isinstance(message, Weights)]


def exchange_weights(server: Endpoint, worker: Endpoint, count: int = 1) -> list[Weights]:
    """What the worker gets, once it has so many."""
    inboxes = exchange(server, worker, until=lambda inboxes: len(weights_in(inboxes[1])) >= count)
    return weights_in(inboxes[1])


def bytes_sent(link_of: Endpoint, name: str) -> list[int]:
    """From now on, how many bytes each send to `name` takes."""
    link, sizes = link_of._named[name], []

    class Counting:
        def __getattr__(self, attribute: str) -> object:
            return getattr(connection, attribute)

        def sendmsg(self, pieces: list[bytes], ancillary: list[object]) -> int:
            sizes.append(sum(map(len, pieces)))
            return connection.sendmsg(pieces, ancillary)  # type: ignore[arg-type]

    connection, link.connection = link.connection, Counting()  # type: ignore[assignment]
    return sizes


def test_a_lease_arrives_without_its_bytes_and_can_not_be_written_there(
    endpoint: Callable[..., Endpoint],
) -> None:
    server, worker = linked(endpoint)
    sizes = bytes_sent(server, "worker-0")
    array = leased(server, 1.5)
    server.send("worker-0", Weights(1, array))
    (weights,) = exchange_weights(server, worker)
    assert weights.parameters.tobytes() == array.tobytes()
    assert sum(sizes) < 100
    assert not weights.parameters.flags.writeable
    array[0] = 7.0  # the same memory, seen from both ends
    assert weights.parameters[0] == 7.0


def test_what_is_no_lease_or_small_is_sent_as_bytes(endpoint: Callable[..., Endpoint]) -> None:
    server, worker = linked(endpoint)
    small = server.pool.take(COUNT - 1, "f4")
    small[:] = 2.0
    for array in (np.ones(COUNT, "f4"), leased(server, 1.0)[: COUNT // 2], small):
        sizes = bytes_sent(server, "worker-0")
        server.send("worker-0", Weights(1, array))
        (weights,) = exchange_weights(server, worker)
        assert weights.parameters.tobytes() == array.tobytes()
        assert sum(sizes) > array.nbytes
        assert weights.parameters.flags.writeable


def test_memory_serves_again_only_when_both_ends_look_at_it_no_more(
    endpoint: Callable[..., Endpoint],
) -> None:
    server, worker = linked(endpoint)
    array = leased(server, 1.0)
    first = place(server, array)
    server.send("worker-0", Weights(1, array))
    del array
    (weights,) = exchange_weights(server, worker)
    view = weights.parameters[3:]
    del weights
    assert place(server, leased(server, 2.0)) != first
    worker.send("server", Stop())
    exchange(server, worker, until=lambda inboxes: inboxes[0] == [Stop()])
    assert place(server, leased(server, 2.0)) != first  # the view still looks at it
    assert view[0] == 1.0
    del view
    worker.send("server", Stop())  # what goes back goes along
    exchange(server, worker, until=lambda inboxes: inboxes[0] == [Stop()])
    again = [leased(server, 3.0), leased(server, 3.0)]
    assert first in [place(server, one) for one in again]


def test_a_peer_that_has_nothing_to_say_gives_back_all_the_same(
    endpoint: Callable[..., Endpoint],
    clock: Callable[[], float],
) -> None:
    server, worker = linked(endpoint)
    array = leased(server, 1.0)
    first = place(server, array)
    server.send("worker-0", Weights(1, array))
    del array
    exchange_weights(server, worker)
    lender = server._named["worker-0"]._lender
    clock.now_s += 1.0  # type: ignore[attr-defined]
    exchange(server, worker, until=lambda _: not lender._lent)
    assert place(server, leased(server, 2.0)) == first


def test_a_peer_that_does_not_read_is_lent_a_few_arrays_and_no_more(
    endpoint: Callable[..., Endpoint],
) -> None:
    server, stopped = linked(endpoint)
    for step in range(50):
        server.send("worker-0", Weights(step, leased(server, step)))
    link = server._named["worker-0"]
    assert len(link._lender._lent) == MOST_LENT
    assert len(server.pool._slots) <= MOST_LENT + 12  # what the kernel's buffer takes, and one
    heard = exchange_weights(server, stopped, 5)
    last = heard[-1]
    while last.step != 49:
        (*_, last) = exchange_weights(server, stopped)
    assert {*last.parameters} == {49.0}
    assert all({*weights.parameters} == {float(weights.step)} for weights in heard)


def test_after_the_end_of_a_link_what_was_lent_on_it_is_never_written_again(
    endpoint: Callable[..., Endpoint],
) -> None:
    # The worker lives and only the link is broken: it still computes with these weights.
    server, worker = linked(endpoint)
    array = leased(server, 1.0)
    first = place(server, array)
    server.send("worker-0", Weights(1, array))
    (weights,) = exchange_weights(server, worker)
    server.close_link("worker-0", "cut")
    del array
    gc.collect()
    for value in range(5):
        assert place(server, leased(server, value)) != first
    exchange(worker, until=lambda inboxes: any(isinstance(m, Down) for m in inboxes[0]))
    assert {*weights.parameters} == {1.0}


def test_the_same_array_can_be_lent_to_several_and_twice_to_one(
    endpoint: Callable[..., Endpoint],
) -> None:
    server, worker = linked(endpoint)
    other = endpoint()
    other.connect("server", server.address, hello("worker-1"))
    exchange(server, other, until=lambda inboxes: bool(inboxes[0]))
    array = leased(server, 1.0)
    first = place(server, array)
    for name in ("worker-0", "worker-0", "worker-1"):
        server.send(name, Weights(1, array))
    del array
    twice, once = exchange_weights(server, worker, 2), exchange_weights(server, other)
    server.receive(0.0)
    del twice[0]
    for one in (worker, other):
        one.send("server", Stop())
    exchange(server, worker, until=lambda inboxes: len(inboxes[0]) == 2)
    assert place(server, leased(server, 2.0)) != first
    assert {*twice[0].parameters} == {*once[0].parameters} == {1.0}
    twice.clear()
    once.clear()
    for one in (worker, other):
        one.send("server", Stop())
    exchange(server, worker, until=lambda inboxes: len(inboxes[0]) == 2)
    again = [leased(server, 3.0), leased(server, 3.0)]
    assert first in [place(server, one) for one in again]


def test_who_returns_what_was_not_lent_is_down(endpoint: Callable[..., Endpoint]) -> None:
    server, worker = linked(endpoint)
    worker.send("server", Returned(7))
    (at_server, _) = exchange(server, worker, until=lambda inboxes: bool(inboxes[0]))
    assert at_server == [Down("worker-0", "wire: slot 7 comes back, and was not lent")]


def test_a_slot_that_never_came_or_is_too_small_ends_the_link(
    endpoint: Callable[..., Endpoint],
) -> None:
    borrower = Borrower()
    with pytest.raises(WireError, match="slot 3, which never came"):
        borrower.borrow(3, COUNT, np.dtype("<f4"))
    slot = SharedPool()
    lease = slot.take(COUNT, "f4")
    owner = slot.slot_of(lease)
    assert owner is not None
    descriptor = c_array("i", [os.dup(owner.descriptor)]).tobytes()
    borrower.received([(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor)])
    with pytest.raises(WireError, match=f"{4 * COUNT + 4} bytes in lent memory of {4 * COUNT}"):
        borrower.borrow(3, COUNT + 1, np.dtype("<f4"))
    borrower.close()


def test_memory_that_could_shrink_under_its_reader_is_not_mapped(
    endpoint: Callable[..., Endpoint],
) -> None:
    for make in (os.memfd_create, lambda name: os.open("/dev/null", os.O_RDONLY)):
        with pytest.raises(WireError, match=r"could shrink|can not be mapped"):
            map_slot(make("everstep-test"))
    owner = SharedPool()
    lease = owner.take(COUNT, "f4")
    slot = owner.slot_of(lease)
    assert slot is not None
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(slot.descriptor, 1)
    with pytest.raises(OSError, match="not permitted"):
        fcntl.fcntl(slot.descriptor, fcntl.F_ADD_SEALS, 0)


def test_without_shared_memory_left_leases_are_ordinary(
    endpoint: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    server, worker = linked(endpoint)
    server.send("worker-0", Weights(1, leased(server, 1.0)))
    (weights,) = exchange_weights(server, worker)
    assert {*weights.parameters} == {1.0}


def test_last_words_are_heard_behind_a_descriptor_although_the_next_send_fails(
    endpoint: Callable[..., Endpoint],
) -> None:
    # The kernel stops reading behind bytes that a descriptor came along with.
    server, worker = linked(endpoint)
    worker.send("server", Weights(1, leased(worker, 1.0)))
    worker.send("server", Pong("worker-0"))
    worker.close("ValueError: the disk ate the rows")
    server.send("worker-0", Stop())
    (heard,) = exchange(server, until=lambda inboxes: bool(downs(inboxes[0])))
    assert [type(message) for message in heard] == [Weights, Pong, Down]
    assert heard[-1] == Down("worker-0", "ValueError: the disk ate the rows")


@pytest.mark.parametrize("who", ["server", "worker"])
def test_who_can_not_map_what_is_lent_goes_on_over_tcp(
    who: str, endpoint: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, worker = linked(endpoint)
    borrower = server if who == "server" else worker

    def refuse(descriptor: int) -> memoryview:
        os.close(descriptor)
        raise LendingError("wire: the memory that a peer lends can not be mapped: too many files")

    monkeypatch.setattr("actors.lending.map_slot", refuse)
    if who == "server":
        worker.send("server", Weights(1, leased(worker, 1.0)))
    else:
        server.send("worker-0", Weights(1, leased(server, 1.0)))
    inboxes = exchange(server, worker, until=lambda inboxes: all(map(downs, inboxes)))
    (down,) = downs(inboxes[0 if borrower is server else 1])
    assert "can not be mapped" in down.reason
    worker.connect("server", server.address, hello("worker-0"))
    exchange(server, worker, until=lambda inboxes: bool(inboxes[0]))
    server.send("worker-0", Weights(2, leased(server, 2.0)))
    (weights,) = exchange_weights(server, worker)
    assert {*weights.parameters} == {2.0}
    assert worker._named["server"].connection.family == socket.AF_INET


def downs(inbox: list[Message]) -> list[Down]:
    return [message for message in inbox if isinstance(message, Down)]


def test_descriptors_that_belong_to_no_array_are_not_collected(
    endpoint: Callable[..., Endpoint],
) -> None:
    borrower = Borrower()
    files = psutil.Process().num_fds()
    come = c_array("i", [os.open("/dev/null", os.O_RDONLY) for _ in range(MOST_DESCRIPTORS + 1)])
    with pytest.raises(WireError, match=f"more than {MOST_DESCRIPTORS} descriptors"):
        borrower.received([(socket.SOL_SOCKET, socket.SCM_RIGHTS, come.tobytes())])
    borrower.close()
    assert psutil.Process().num_fds() == files


def test_without_shared_memory_no_file_is_opened_and_what_is_received_is_one_s_own(
    endpoint: Callable[..., Endpoint],
) -> None:
    with ExitStack() as opened:
        one, other = (Endpoint(KEY, "127.0.0.1", BOUND, 10.0, share_memory=False) for _ in range(2))
        for each in (one, other):
            opened.callback(each.close, "the test is over", flush_s=0.0)
        other.connect("server", one.address, hello("worker-0"))
        exchange(one, other, until=lambda inboxes: bool(inboxes[0]))
        files = psutil.Process().num_fds()
        lease = one.pool.take(COUNT, "f4")
        one.send("worker-0", Weights(1, lease))
        (weights,) = exchange_weights(one, other)
        assert weights.parameters.flags.writeable
        assert psutil.Process().num_fds() == files


def test_a_pool_has_so_many_slots_and_then_ordinary_memory(
    endpoint: Callable[..., Endpoint],
) -> None:
    pool = SharedPool()
    leases = [pool.take(COUNT, "f4") for _ in range(MOST_SLOTS + 3)]
    lying = [pool.slot_of(lease) for lease in leases]
    assert [slot is None for slot in lying] == [False] * MOST_SLOTS + [True] * 3


def test_whoever_borrows_can_not_write(endpoint: Callable[..., Endpoint]) -> None:
    pool = SharedPool()
    lease = pool.take(COUNT, "f4")
    lease[:] = 1.0
    slot = pool.slot_of(lease)
    assert slot is not None
    with pytest.raises(PermissionError):
        mmap.mmap(slot.descriptor, 4 * COUNT)
    with pytest.raises(PermissionError):
        os.pwrite(slot.descriptor, b"1234", 0)
    lease[:] = 2.0  # the owner does
    assert {*np.frombuffer(map_slot(os.dup(slot.descriptor)), "f4")} == {2.0}


def test_the_local_name_tells_nothing_and_is_gone_with_its_process(
    endpoint: Callable[..., Endpoint],
) -> None:
    server = endpoint()
    names = [line for line in Path("/proc/net/unix").read_text().split("\n") if "everstep-" in line]
    host, port = server.address
    assert all(KEY.hex() not in line for line in names)
    with (
        socket.socket(socket.AF_UNIX) as stranger,
        pytest.raises(ConnectionRefusedError),  # a guess that needs no key
    ):
        stranger.connect(f"\0everstep-{host}:{port}")


def lend_and_wait(key: bytes, port: int) -> None:
    """A process that holds shared memory on both sides, until it is killed."""
    worker = Endpoint(key, None, BOUND, 10.0)
    worker.connect("server", ("127.0.0.1", port), hello("worker-0"))
    while True:
        for message in worker.receive(0.05):
            if isinstance(message, Weights):
                mine = worker.pool.take(COUNT, "f4")
                mine[:] = message.parameters
                worker.send("server", Weights(message.step, mine))


def shared_files() -> set[str]:
    return set(os.listdir("/dev/shm"))  # noqa: PTH208 - names are enough


def test_kill_9_leaves_nothing_in_dev_shm_and_what_it_lent_stays_readable(
    endpoint: Callable[..., Endpoint],
) -> None:
    before = shared_files()
    server = Endpoint(KEY, "127.0.0.1", BOUND, 10.0)
    process = multiprocessing.get_context("spawn").Process(
        target=lend_and_wait, args=(KEY, server.address[1])
    )
    process.start()
    try:
        heard: list[Message] = []
        while not heard:
            heard += server.receive(0.05)
        server.send("worker-0", Weights(1, leased(server, 4.0)))
        while not weights_in(heard):
            heard += server.receive(0.05)
        assert server._named["worker-0"]._borrower._mapped  # it was lent, not sent
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        while not isinstance(heard[-1], Down):
            heard += server.receive(0.05)
        process.join()
        assert shared_files() == before
        assert {*weights_in(heard)[0].parameters} == {4.0}
        maps = Path("/proc/self/maps").read_text()
        assert "memfd:everstep" in maps  # both ends' memory, without a name in any directory
    finally:
        process.kill()
        process.join()
        server.close("the test is over", flush_s=0.0)


def test_a_slot_s_memory_is_the_kernel_s_again_when_its_pool_is_gone(
    endpoint: Callable[..., Endpoint],
) -> None:
    pool = SharedPool()
    lease = pool.take(COUNT, "f4")
    slot = pool.slot_of(lease)
    assert slot is not None
    descriptor, mapping = slot.descriptor, slot.mapping
    assert isinstance(mapping, mmap.mmap)
    del lease, slot, pool, mapping
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_the_last_gradient_goes_back_before_the_next_weights_come(
    endpoint: Callable[..., Endpoint],
) -> None:
    """Else a worker needs memory for one more gradient than it computes."""
    job = lent_job(1)
    server, worker = linked(endpoint)
    core = ParameterServer("server", job.optimizer, 1, job.state, pool=server.pool)
    core.handle(hello("worker-0"))
    core.handle(RunEpoch(0, 100))
    for step in range(3):
        gradient = worker.pool.take(job.state.parameters.size, "f4")
        gradient[:] = 1.0
        worker.send("server", Dx(step, 0, 1, 1, 1.0, gradient))
        del gradient
        while not weights_in(worker.receive(0.0)):
            _handle(core, server, without_old_weights(server.receive(0.05)), 0.0)
        assert not worker._named["server"]._lender._lent
    assert len(worker.pool._slots) == 1
