"""Messages to bytes and back; bytes of any kind to a message or one error."""

import tracemalloc
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from actors.buffers import ArrayPool
from actors.decoder import Decoder, decode
from actors.errors import WireError
from actors.messages import Dx, Exit, RemoteMessage, Snapshot, Stop, Vector, Weights
from actors.orders import Down, Ended, Kill, Message, Start, Tick
from actors.wire import FIELDS_BOUND_BYTES, encode

BOUND = 1 << 12

VECTORS = npst.arrays(st.sampled_from(["<f4", "<f8"]), st.integers(0, 40))
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(),
    str: st.text(max_size=50),
    tuple[int, ...]: st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20).map(tuple),
    Vector: VECTORS,
}


def any_of(message_type: type[RemoteMessage]) -> st.SearchStrategy[RemoteMessage]:
    hints = get_type_hints(message_type)
    return st.builds(
        message_type, **{field.name: VALUES[hints[field.name]] for field in fields(message_type)}
    )


MESSAGES = st.one_of([any_of(message_type) for message_type in get_args(RemoteMessage)])


def frame_of(message: Message) -> bytes:
    return b"".join(encode(message))


def object_of(message_type: type[RemoteMessage]) -> RemoteMessage:
    samples = {int: 7, float: 0.5, str: "é", tuple[int, ...]: (1, 2), Vector: np.ones(3, "f4")}
    hints = get_type_hints(message_type)
    return message_type(
        **{field.name: samples[hints[field.name]] for field in fields(message_type)}
    )


@given(MESSAGES)
def test_every_message_survives_the_round_trip_to_the_byte(message: RemoteMessage) -> None:
    received = decode(frame_of(message), BOUND)
    assert type(received) is type(message)
    # Bytes, not ==: NaN, signed zeros and the element type count too.
    assert frame_of(received) == frame_of(message)


@pytest.mark.parametrize("message_type", get_args(RemoteMessage))
def test_every_field_of_a_received_message_has_the_type_it_is_declared_with(
    message_type: type[RemoteMessage],
) -> None:
    message = object_of(message_type)
    received = decode(frame_of(message), BOUND)
    for field in fields(message):
        value = getattr(message, field.name)
        assert type(getattr(received, field.name)) is type(value)
        assert np.array_equal(getattr(received, field.name), value)


def test_every_message_travels_or_is_refused_by_name() -> None:
    local = set(get_args(Message)) - set(get_args(RemoteMessage))
    assert {Tick, Down, Ended, Start, Kill} < local
    for message_type in local:
        blank = object.__new__(message_type)
        with pytest.raises(WireError, match=f"a {message_type.__name__} never travels"):
            encode(blank)


@given(MESSAGES, st.data())
def test_a_decoder_takes_bytes_in_any_portions(message: RemoteMessage, data: st.DataObject) -> None:
    rest = frame_of(message) * 2
    decoder, received = Decoder(BOUND, ArrayPool()), []
    while rest:
        count = data.draw(st.integers(1, min(len(rest), len(decoder.view))))
        decoder.view[:count], rest = rest[:count], rest[count:]
        received += decoder.advance(count)
    assert [frame_of(whole) for whole in received] == [frame_of(message)] * 2


@st.composite
def damaged_frames(draw: st.DrawFn) -> bytes:
    """A real frame with some bytes changed, cut off or added."""
    frame = bytearray(frame_of(draw(MESSAGES)))
    for at in draw(st.lists(st.integers(0, len(frame) - 1), max_size=4)):
        frame[at] = draw(st.integers(0, 255))
    end = draw(st.integers(0, len(frame)))
    return bytes(frame[:end]) + draw(st.binary(max_size=4))


@settings(max_examples=500)
@given(st.binary(max_size=200) | damaged_frames())
def test_any_bytes_are_a_message_or_the_one_error(frame: bytes) -> None:
    outcome = decoded_or_refused(frame)
    if isinstance(outcome, WireError):
        assert str(outcome).startswith("wire: ")
        assert "\n" not in str(outcome)
    else:
        assert frame_of(outcome) == frame


def decoded_or_refused(frame: bytes) -> RemoteMessage | WireError:
    """Any other error passes through and fails the test."""
    try:
        return decode(frame, BOUND)
    except WireError as error:
        return error


@pytest.mark.parametrize(
    ("at", "value", "line"),
    [
        (0, b"HTTP", "does not begin a frame"),
        (4, b"\x09", "frame version 9, this side speaks 4; install the same Everstep"),
        (5, b"\xee", "no message has tag 238"),
        (8, (2**32 - 1).to_bytes(4, "little"), "fields of 4294967295 bytes, allowed 262144"),
        (12, (2**63).to_bytes(8, "little"), "arrays of 9223372036854775808 bytes, allowed 4096"),
        (12, (8).to_bytes(8, "little"), "arrays of 12 bytes in a frame that holds 8"),
        (20, b"", "the frame stops after 20 bytes, more are due"),
    ],
)
def test_a_bad_header_says_what_is_wrong(at: int, value: bytes, line: str) -> None:
    frame = bytearray(frame_of(Weights(1, np.ones(3, "f4"))))
    frame[at : at + len(value)] = value
    with pytest.raises(WireError, match=line):
        decode(bytes(frame) if value else bytes(frame[:at]), BOUND)


def test_no_tag_is_used_for_two_messages_and_all_that_travel_have_one() -> None:
    tags = [frame_of(object_of(kind))[5] for kind in get_args(RemoteMessage)]
    assert len(set(tags)) == len(tags) == len(get_args(RemoteMessage))


def test_a_snapshot_s_two_arrays_may_take_the_bound_together_and_not_a_byte_more() -> None:
    state = Snapshot(1, 2, 3, 0.5, np.ones(5, "f8"), np.zeros(10, "f8"))  # 120 bytes
    received = decode(frame_of(state), 120)
    assert frame_of(received) == frame_of(state)
    with pytest.raises(WireError, match="arrays of 120 bytes, allowed 119"):
        decode(frame_of(state), 119)


def test_fields_beyond_the_bound_are_refused_before_they_are_sent() -> None:
    with pytest.raises(WireError, match=f"a frame holds at most {FIELDS_BOUND_BYTES}"):
        encode(Exit("x" * FIELDS_BOUND_BYTES))


def test_a_header_that_announces_the_whole_bound_allocates_no_more_than_that() -> None:
    bound = 1 << 24
    blank = Dx(1, 0, 1, 1, 0.0, np.empty(bound // 4, "f4"))
    frame = frame_of(blank)
    del blank
    liar = bytearray(frame[:200])  # announces 16 MiB of array, and stops
    liar[12:20] = (2**40).to_bytes(8, "little")
    tracemalloc.start()
    try:
        with pytest.raises(WireError, match="allowed"):
            decode(bytes(liar), bound)
        refused = tracemalloc.get_traced_memory()[1]
        with pytest.raises(WireError, match="more are due"):
            decode(frame[:200], bound)
        announced = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    slack = 1 << 16
    assert refused < slack
    assert announced < bound + slack


def test_no_piece_of_a_frame_is_empty() -> None:
    """An empty piece is "sent" again and again: writing it never moves the queue on."""
    pieces = encode(Weights(1, np.empty(0, "f4"))) + encode(Stop())
    assert all(len(piece) > 0 for piece in pieces)


def test_a_large_array_is_received_into_the_memory_where_it_stays() -> None:
    decoder = Decoder(1 << 20, ArrayPool())
    frame = frame_of(Weights(3, np.arange(100_000, dtype="f8")))
    views: list[memoryview] = []
    received: list[RemoteMessage] = []
    while not received:
        views.append(decoder.view)
        count = min(len(views[-1]), len(frame))
        views[-1][:count], frame = frame[:count], frame[count:]
        received += decoder.advance(count)
    (weights,) = received
    assert isinstance(weights, Weights)
    last = np.frombuffer(views[-1], "u1")
    assert np.shares_memory(last, weights.parameters)
    assert weights.parameters.tobytes() == np.arange(100_000, dtype="f8").tobytes()


def test_small_frames_that_come_together_are_taken_with_one_receive() -> None:
    decoder = Decoder(BOUND, ArrayPool())
    messages = [Weights(3, np.ones(5, "f4")), Stop(), Weights(4, np.zeros(2, "f8"))]
    together = b"".join(frame_of(message) for message in messages)
    decoder.view[: len(together)] = together
    received = [*decoder.advance(len(together))]
    assert [frame_of(message) for message in received] == [frame_of(m) for m in messages]


def test_an_array_in_a_slot_is_named_and_not_sent() -> None:
    lent, array = [], np.ones(1000, "f8")

    def lend(given: Vector) -> int:
        lent.append(given)
        return 7

    def borrow(slot: int, count: int, dtype: np.dtype[Any]) -> Vector:
        assert (slot, count, dtype) == (7, 1000, np.dtype("<f8"))
        return array

    frame = b"".join(encode(Weights(3, array), lend))
    assert lent[0] is array
    assert len(frame) < 100
    decoder = Decoder(array.nbytes, ArrayPool(), borrow)
    decoder.view[: len(frame)] = frame
    (weights,) = decoder.advance(len(frame))
    assert isinstance(weights, Weights)
    assert weights.parameters is array


def test_lent_arrays_count_against_the_bound_as_sent_ones_do() -> None:
    def borrow(slot: int, count: int, dtype: np.dtype[Any]) -> Vector:
        raise AssertionError("it is not looked at")

    frame = b"".join(encode(Weights(3, np.ones(1000, "f8")), lambda _: 7))
    decoder = Decoder(7999, ArrayPool(), borrow)
    decoder.view[: len(frame)] = frame
    with pytest.raises(WireError, match="arrays of 8000 bytes, allowed 7999"):
        [*decoder.advance(len(frame))]


def test_a_slot_on_a_link_that_lends_none_is_refused() -> None:
    frame = b"".join(encode(Weights(3, np.ones(3)), lambda _: 7))
    with pytest.raises(WireError, match="an array lies in slot 7, but this link lends none"):
        decode(frame, BOUND)
