"""The cluster's address as --address or RAY_ADDRESS gives it: refused before anything starts.

What `cluster.address` may be is checked with the rest of the configuration, in
`running_config.py`; what an address is, is said in `actors/ray_address.py`.
"""

from actors.errors import ClusterError
from actors.ray_address import chosen, is_ray_loaded, problem_of
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


def check_environment(config: Config) -> None:
    """RAY_ADDRESS, where it decides.

    Raises:
        ConfigError: no cluster has such an address.
    """
    if config.cluster.kind != "ray" or is_ray_loaded():
        return
    try:
        chosen(config.cluster.address)
    except ClusterError as error:
        raise ConfigError(f"{error}") from None
