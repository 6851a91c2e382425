"""A configuration's text: a YAML file, and `section.key=value` from the command line."""

from pathlib import Path
from typing import Any

import yaml

from trainer.errors import ConfigError


class _UniqueKeys(yaml.SafeLoader):
    """A safe loader that refuses a key that stands twice, instead of taking the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                line = key_node.start_mark.line + 1
                raise ConfigError(f"line {line}: the key {key_node.value!r} stands twice")
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The sections of a configuration file.

    Raises:
        ConfigError: there is no such file, or it is no YAML mapping.
    """
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigError(f"config {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"config {path}: is not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"config {path}: {_yaml_problem(error)}") from None
    except ConfigError as error:
        raise ConfigError(f"config {path}: {error}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise ConfigError(f"config {path}: must be a mapping of sections, like `training: ...`")
    return loaded


def apply_override(sections: dict[str, Any], override: str) -> None:
    """Lay one `section.key=value` over `sections`, in place; the value is read as YAML.

    Raises:
        ConfigError: it does not have that form.
    """
    name, equals, text = override.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and section and key):
        raise ConfigError(f"--set {override}: must be section.key=value, like training.epochs=10")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: {_yaml_problem(error)}") from None
    inner = sections.get(section)
    sections[section] = {**(inner if isinstance(inner, dict) else {}), key: value}


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "is not YAML"
    return f"line {mark.line + 1}: {problem}" if mark else str(problem)
