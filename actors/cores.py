"""What a core is, and the one of an actor that is to be started in this process."""

import math
from typing import Protocol

from actors.cluster import Job
from actors.messages import SERVER, Hello
from actors.names import slot_of
from actors.orders import Envelope, Message, Start
from actors.parameter_server import ParameterServer
from actors.worker import Worker


class Core(Protocol):
    """A functional core: a message in, messages out, no I/O."""

    def handle(self, message: Message) -> list[Envelope]: ...


def make_core(
    job: Job, start: Start, hello: Hello, link_timeout_s: float = math.inf
) -> ParameterServer | Worker:
    """What `start` orders; `hello` is what it will say; the limit is `Worker`'s."""
    shard_count = len(job.shards)
    if slot_of(start.name) == SERVER:
        state = start.state or job.state
        return ParameterServer(start.name, job.optimizer, shard_count, state, start.seen_step)
    fetch = job.shards.__getitem__
    return Worker(hello, job.objective, shard_count, fetch, link_timeout_s)


class Hanging:
    """The core of a process that hangs before its first word."""

    def handle(self, message: Message) -> list[Envelope]:  # noqa: ARG002
        """Not even an answer."""
        return []
