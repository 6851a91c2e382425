"""The life of an actor: receive, handle, send, until it is told to stop or is left alone.

The same loop runs the server and the workers; which core it runs is all the difference.
"""

import time
import traceback
from collections.abc import Callable, Collection
from typing import Final, Protocol

from actors.endpoint import Endpoint
from actors.messages import Down, Envelope, Message, Stop, Tick

_WAIT_S: Final = 0.25
_REASON_CHARACTERS: Final = 4000


class Core(Protocol):
    """A functional core: a message in, messages out, no I/O."""

    def handle(self, message: Message) -> list[Envelope]: ...


def run_actor(
    core: Core,
    endpoint: Endpoint,
    linked: Collection[str],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run the core until `Stop`, or until one of `linked` is down: then the actor leaves too.

    An exception ends the actor; its peers get it as the reason, with its traceback.
    """
    reason = "left in order"
    try:
        while True:
            messages = endpoint.receive(_WAIT_S)
            _handle(core, endpoint, Tick(clock()))
            for message in messages:
                if isinstance(message, Stop):
                    return
                if isinstance(message, Down) and message.name in linked:
                    reason = f"left, because {message.name} is down: {message.reason}"
                    return
                _handle(core, endpoint, message)
    except BaseException:
        reason = traceback.format_exc()[-_REASON_CHARACTERS:].strip()
        raise
    finally:
        endpoint.close(reason)


def _handle(core: Core, endpoint: Endpoint, message: Message) -> None:
    for address, reply in core.handle(message):
        endpoint.send(address, reply)
