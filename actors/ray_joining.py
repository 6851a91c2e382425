"""How this process comes to a Ray, and how others come to a process of it."""

import atexit
import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

import ray
from ray._private import parameter, services
from ray._raylet import Config, GcsClient  # type: ignore[attr-defined]

from actors.errors import ClusterError, ClusterLostError
from actors.objectives import Shard
from actors.processes import Links, send_signal
from actors.ray_address import AUTO, PRIVATE, chosen, probe, told
from actors.ray_places import private_resources
from actors.ray_token import (
    about_token,
    refuse_no_token,
    show_what_lies_here,
    silent_stderr,
    token_of_its_own,
)
from actors.side_thread import SideThread
from actors.supervisor import Crew

_PROBE_S: Final = 5.0
_A_LITTLE: Final = 0.001  # of a node: enough to run there


def join(address: str | None, crew: Crew) -> bool:
    """Join or start Ray; whether it is a private one.

    Raises:
        ClusterLostError: no cluster is there. ClusterError: it takes nobody in, or none can start.
    """
    address = chosen(address)
    private = address == PRIVATE
    what = "start a private Ray" if private else f"join the Ray cluster at {address}"
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if private:
        asked = math.ceil(crew.min_workers * crew.needs.cpus)
        options["num_cpus"] = max(asked, os.cpu_count() or 1)
        options["resources"] = private_resources(crew.needs, crew.max_workers)
        options["include_dashboard"] = False
    try:
        if private:
            with token_of_its_own(), _agent_at_any_port():
                ray.init(address=address, **options)
        else:
            if address == AUTO and show_what_lies_here():
                Config.initialize("")  # reads the environment anew
            address = services.canonicalize_bootstrap_address_or_die(address)
            if what.endswith(AUTO):
                what = f"{what} ({address})"
            probe(address, _PROBE_S)
            _show_token(address)
            ray.init(address=address, **options)
    except ray.exceptions.AuthenticationError as error:
        raise ClusterError(f"can not {what}: {about_token(str(error))}") from error
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        kind = ClusterError if private else ClusterLostError
        raise kind(f"can not {what}: {told(cause_of(error))}") from error
    return private


@contextmanager
def _agent_at_any_port() -> Iterator[None]:
    """For a Ray that is started meanwhile: the agent of its dashboard takes a port that is free.

    `ray.init` has no option for it, and the usual port may be another Ray's on this machine, also
    for the minute that the agent of a killed driver's Ray stays: the new one would try for 3 s,
    and who starts it would wait.
    """
    usual = parameter.RayParams
    parameter.RayParams = partial(usual, dashboard_agent_listen_port=None)  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        parameter.RayParams = usual  # type: ignore[misc]


def _show_token(address: str) -> None:
    """Raise at once what Ray itself raises after twenty tries, with a line of its log for each."""
    refuse_no_token()
    with silent_stderr(), suppress(ray.exceptions.RpcError):  # which may pass: the head is young
        GcsClient(address=address)


def leave(patience_s: float) -> None:
    """Leave Ray, or end the private one; one that does not answer in time is left as it is."""
    leaving = SideThread("everstep-leave")
    left = leaving.call(ray.shutdown)
    if leaving.end(patience_s):
        left.result()
    else:
        atexit.unregister(ray.shutdown)  # the end of this process would wait for it again


def loopback() -> str:
    """A private Ray is on this machine alone: nobody else can even knock."""
    return "127.0.0.1"


def node_host() -> str:
    """This node's own address, under which the other nodes know it.

    Not what this machine finds for itself: it may have several, and the cluster uses one.
    """
    node_id = ray.get_runtime_context().get_node_id()
    return next(
        str(node["NodeManagerAddress"]) for node in ray.nodes() if node["NodeID"] == node_id
    )


def signal_on(host: str, process_id: int, number: int, patience_s: float) -> bool:
    """Send a signal to a process of that node. False: there is none.

    Raises:
        ray.exceptions.RayError: the node is gone, or full.
    """
    send = ray.remote(send_signal).options(num_cpus=0, resources={f"node:{host}": _A_LITTLE})
    sending = send.remote(process_id, number)
    try:
        sent: bool = ray.get(sending, timeout=patience_s)
    except ray.exceptions.RayError:
        ray.cancel(sending)
        raise
    return sent


def create(
    options: dict[str, Any], links: Links, name: str, actor_class: type, *arguments: Any
) -> Any:
    """Start an actor's process; returns at once."""
    return ray.remote(actor_class).options(**options).remote(links, name, *arguments)


def fetch(shards: Sequence["ray.ObjectRef[Shard]"], number: int) -> Shard:
    """A shard, in the worker's process: its arrays stay in shared memory, nothing is copied."""
    shard: Shard = ray.get(shards[number])
    return shard


def cause_of(error: BaseException) -> str:
    """The one line that says it; above it stands Ray's own traceback."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else repr(error)
