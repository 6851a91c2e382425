"""A configuration's text: a YAML file, and `section.key=value` from the command line."""

from typing import Any

import yaml

from trainer.errors import ConfigError
from trainer.storage.place import Place


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a key that stands twice, and names each problem's line."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):  # the parent class refuses other keys
                if key.value in seen:
                    raise _problem(f"the key {key.value!r} stands twice", key)
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # a date that is none, a number of too many digits
            raise _problem(str(error), node) from None


def read_yaml(path: Place) -> dict[str, Any]:
    """The sections of a configuration file.

    Raises:
        ConfigError: there is no such file, or it is no YAML mapping.
    """
    loaded = read_mapping(path, f"config {path}", "sections, like `training: ...`")
    # A section without a key, `training:`, is null to YAML.
    return {name: {} if section is None else section for name, section in loaded.items()}


def read_mapping(path: Place, where: str, of: str) -> dict[str, Any]:
    """A YAML file that holds a mapping; `where` and `of` stand in the messages.

    Raises:
        ConfigError: there is no such file, or it is no YAML mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: is not UTF-8 text; give a YAML file") from None
    except ValueError:  # a zero byte in the name
        raise ConfigError(f"{where}: is no file's name") from None
    loaded = _parse(text, where)
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise ConfigError(f"{where}: must be a mapping of {of}")
    return loaded


def apply_override(sections: dict[str, Any], override: str, where: str = "--set") -> None:
    """Lay one `section.key=value` over `sections`, in place; the value is read as YAML.

    Raises:
        ConfigError: it does not have that form; `where` it stands begins the message.
    """
    path, value = split_override(override, where)
    section, keys = path[0], path[1:]
    inner = sections.setdefault(section, {})
    if isinstance(inner, dict):  # anything else is refused by `Config`
        sections[section] = _laid_over(inner, keys, value)


def split_override(override: str, where: str = "--set") -> tuple[list[str], Any]:
    """The path of a `section.key=value`, and its value.

    Raises:
        ConfigError: it does not have that form.
    """
    name, equals, text = override.partition("=")
    path = name.strip().split(".")
    if not equals or len(path) < 2 or not all(path):  # noqa: PLR2004 - section and key
        raise ConfigError(f"{where} {override}: must be section.key=value, like training.epochs=10")
    return path, _parse(text, f"{where} {override}")


def _laid_over(inner: Any, keys: list[str], value: Any) -> Any:
    """A copy of nested mappings with one value changed."""
    if not keys:
        return value
    known = inner if isinstance(inner, dict) else {}
    return {**known, keys[0]: _laid_over(known.get(keys[0]), keys[1:], value)}


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: {_describe(error)}") from None
    except RecursionError:
        raise ConfigError(f"{where}: is nested too deeply") from None


def _problem(text: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, text, node.start_mark)


def _describe(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "is not YAML"
    return f"line {mark.line + 1}: {problem}" if mark else str(problem)
