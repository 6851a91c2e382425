"""The cluster that a command trains in: what --address, RAY_ADDRESS and the run directory say.

It is written into the run directory, wherever it was said, so that `everstep resume` finds it
again; there --address counts before RAY_ADDRESS, and that before what was written. A wrong one is
refused before anything starts. What `cluster.address` may be is checked with the rest of the
configuration, in `running_config.py`; what an address is, is said in `actors/ray_address.py`.
"""

from actors.errors import ClusterError, ClusterLostError
from actors.ray_address import PRIVATE, chosen, is_ray_loaded, problem_of, said_here
from trainer.config import Config
from trainer.config_errors import shown
from trainer.errors import ConfigError


def check_option(address: str | None) -> None:
    """`--address`, if it was given.

    Raises:
        ConfigError: no cluster has such an address.
    """
    if address is not None and (problem := problem_of(address)):
        raise ConfigError(f"--address {shown(address)}: {problem}")


def settled(config: Config) -> Config:
    """With RAY_ADDRESS in the address's place, where it decides.

    Raises:
        ConfigError: no cluster has such an address.
    """
    if config.cluster.kind != "ray" or is_ray_loaded():
        return config
    try:
        address = chosen(config.cluster.address)
    except ClusterError as error:
        raise ConfigError(f"{error}") from None
    if address in (PRIVATE, config.cluster.address):
        return config
    return config.with_changes(cluster={"address": address})


def remembered(address: str | None) -> str | None:
    """Of a run that goes on: its address, unless RAY_ADDRESS names the cluster that is meant now.

    A cluster may be gone, and who has an environment in another one wants that.
    """
    return address if address == PRIVATE or said_here() is None else None


def options_to_go_on(config: Config, error: BaseException) -> list[str]:
    """Where a training that ended with that error goes on, if `everstep resume` has to be told."""
    address = config.cluster.address
    if config.cluster.kind != "ray" or address in (None, PRIVATE):
        return []
    if isinstance(error, ClusterLostError):
        return ["--address", "HOST:PORT"]  # of another, that nobody knows here
    return ["--address", address] if said_here() not in (None, address) else []
