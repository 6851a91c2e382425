"""On which port an actor listens when only some are allowed."""

import socket
from collections.abc import Iterator

import pytest

from actors.addresses import listeners
from actors.endpoint import Endpoint
from actors.errors import LinkError
from tests.linked import BOUND, KEY, exchange
from tests.toys import hello

LOOPBACK = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.create_server((LOOPBACK, 0)) as other:
        yield other.getsockname()[1]


def test_a_port_that_another_has_is_passed_over(taken: int) -> None:
    last = min(taken + 50, 65535)
    (listener,) = listeners(KEY, LOOPBACK, local=False, ports=(taken, last))
    with listener:
        assert taken < listener.getsockname()[1] <= last


def test_where_no_port_is_left_one_line_names_range_host_and_what_to_do(taken: int) -> None:
    with pytest.raises(LinkError) as caught:
        listeners(KEY, LOOPBACK, local=True, ports=(taken, taken))
    assert str(caught.value) == (
        f"link: no port of {taken}-{taken} is free on 127.0.0.1; end what listens there, or set"
        " cluster.link_ports to more or other ports"
    )


def test_a_port_whose_last_connections_have_not_faded_is_used_again() -> None:
    """Who closes first keeps the port in TIME_WAIT for a minute."""
    with socket.create_server((LOOPBACK, 0)) as earlier:
        port = earlier.getsockname()[1]
        with socket.create_connection((LOOPBACK, port)) as caller:
            earlier.accept()[0].close()
            assert caller.recv(1) == b""
    (listener,) = listeners(KEY, LOOPBACK, local=False, ports=(port, port))
    with listener:
        assert listener.getsockname()[1] == port


def test_actors_on_an_allowed_port_find_each_other(taken: int) -> None:
    ports = (taken, min(taken + 50, 65535))
    server = Endpoint(KEY, LOOPBACK, BOUND, 10.0, ports=ports)
    worker = Endpoint(KEY, None, BOUND, 10.0)
    try:
        assert taken < server.address[1] <= ports[1]
        worker.connect("server", server.address, hello("worker-0"))
        exchange(server, worker, until=lambda inboxes: bool(inboxes[0]))
    finally:
        worker.close("the test is over", flush_s=0.0)
        server.close("the test is over", flush_s=0.0)
