"""What an experiment trains: the plan's `config` with its `set` laid over it.

Whatever is wrong with that is told of the plan and of the part of it where it stands: the
configuration's own messages know neither.
"""

from pathlib import Path

from trainer.config import Config, load_config
from trainer.errors import ConfigError
from trainer.faults.plan import Plan


def trained_config(plan: Plan, path: Path) -> Config:
    """The configuration that the plan in the file `path` asks for.

    Raises:
        ConfigError: a line for each problem: plan, part, key, what is allowed.
    """
    where = f"plan {path}"
    try:
        return load_config(plan.config, [*plan.overrides], f"{where}: set")
    except ConfigError as error:
        lines = str(error).splitlines()
    of_file = _problems(plan.config) if plan.config else []
    raise ConfigError("\n".join(_told(line, where, plan, line in of_file) for line in lines))


def _problems(config: Path) -> list[str]:
    """What is wrong with the file alone: the rest comes from what is laid over it."""
    try:
        load_config(config)
    except ConfigError as error:
        return str(error).splitlines()
    return []


def _told(line: str, where: str, plan: Plan, is_of_file: bool) -> str:
    if line.startswith(f"{where}: "):
        return line
    if line.startswith("... ") or line.startswith(f"config {plan.config}: "):
        return f"{where}: {line}"
    part = f"config {plan.config}" if is_of_file else "set"
    return f"{where}: {part}: {line.removeprefix('config ')}"
