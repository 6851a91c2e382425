"""Whatever a plan or a configuration says, each problem is one line of ours: what, where, how."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import load_config
from trainer.errors import ConfigError
from trainer.faults.plan import load_plan

LIKE_FAULT = "{kill: worker-1, at_step: 100}"
FAULT_KEYS = "kill, pause, slow, at_step, at_s, for_s, factor, host"
RANDOM_KEYS = "per_minute, seed, targets, kinds, for_s"
NAMES = "worker-N, server, node, driver"
A_LIST = f"must be a list, like `faults: [{LIKE_FAULT}]`"
A_FAULT = f"must be a mapping of {FAULT_KEYS}, like `{LIKE_FAULT}`"
SOME_RANDOM = f"must be a mapping of {RANDOM_KEYS}, like `random: {{per_minute: 6}}`"


def refused(load: Callable[[Path], object], content: str | bytes, path: Path) -> list[str]:
    """The lines with which that file is refused."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        # A wrong type, where a list, a mapping, a number or a name is wanted.
        ("faults: {kill: worker-1}", f"faults: {{'kill': 'worker-1'}} is not allowed; {A_LIST}"),
        ("faults: 5", f"faults: 5 is not allowed; {A_LIST}"),
        ("faults: kill", f"faults: 'kill' is not allowed; {A_LIST}"),
        ("faults: [kill]", f"fault 1: 'kill' is not allowed; {A_FAULT}"),
        ("faults: [null]", f"fault 1: null is not allowed; {A_FAULT}"),
        ("faults: &a [*a]", f"fault 1: [[[[...]]]] is not allowed; {A_FAULT}"),
        ("random: 5", f"random: 5 is not allowed; {SOME_RANDOM}"),
        ("random: [worker]", f"random: ['worker'] is not allowed; {SOME_RANDOM}"),
        (
            "random: {per_minute: 1, targets: worker}",
            "random.targets: 'worker' is not allowed; must be a list, like"
            " `targets: [worker, server]`",
        ),
        (
            "random: {per_minute: 1, kinds: kill}",
            "random.kinds: 'kill' is not allowed; must be a list, like `kinds: [kill]`",
        ),
        (
            "random: {per_minute: fast}",
            "random.per_minute: 'fast' is not allowed; must be a number above 0 and at most 6000",
        ),
        (
            "set: training.epochs=3",
            "set: 'training.epochs=3' is not allowed; must be a list, like"
            " `set: [training.epochs=100]`",
        ),
        ("set: [5]", "set.0: 5 is not allowed; must be text (in quotes)"),
        ("config: [a]", "config: ['a'] is not allowed; must be a path"),
        (
            "faults: [{kill: [worker-1, worker-2], at_step: 1}]",
            f"fault 1.kill: ['worker-1', 'worker-2'] is not allowed; allowed: {NAMES}",
        ),
        ("faults: [{kill: 5, at_step: 1}]", f"fault 1.kill: 5 is not allowed; allowed: {NAMES}"),
        (
            "faults: [{kill: node, host: 10, at_s: 1}]",
            "fault 1.host: 10 is not allowed; must be text (in quotes)",
        ),
        # A string or something else for a number.
        (
            "faults: [{kill: server, at_step: five}]",
            "fault 1.at_step: 'five' is not allowed; must be a whole number of at least 0",
        ),
        (
            "faults: [{kill: server, at_step: yes}]",
            "fault 1.at_step: true is not allowed; must be a whole number of at least 0",
        ),
        (
            "faults: [{kill: server, at_step: 1.5}]",
            "fault 1.at_step: 1.5 is not allowed; must be a whole number of at least 0",
        ),
        (
            "faults: [{kill: server, at_s: 2024-01-01}]",
            "fault 1.at_s: 2024-01-01 is not allowed; must be a number of at least 0 and at most"
            " 1000000",
        ),
        # Out of bounds.
        (
            "faults: [{kill: server, at_step: -1}]",
            "fault 1.at_step: -1 is not allowed; must be a whole number of at least 0",
        ),
        (
            "faults: [{kill: server, at_s: .nan}]",
            "fault 1.at_s: nan is not allowed; must be a number of at least 0 and at most 1000000",
        ),
        (
            "faults: [{pause: server, at_s: 1, for_s: 0}]",
            "fault 1.for_s: 0 is not allowed; must be a number above 0 and at most 86400",
        ),
        # Keys.
        ("fautls: []", "fautls: unknown key; did you mean faults?"),
        ("faults: [{kil: server, at_s: 1}]", "fault 1.kil: unknown key; did you mean kill?"),
        (
            "faults: [{5: server, at_step: 1}]",
            f"fault 1.5: unknown key; allowed: {FAULT_KEYS}",
        ),
        ('"a\\nb": 1', r"'a\nb': unknown key; allowed: config, set, faults, random"),
        ("5: 6", "must be a mapping of keys, like `faults: ...`"),
        ("faults: []\nfaults: []", "line 2: the key 'faults' stands twice"),
        (
            "faults: [{kill: server, kill: node, at_s: 1}]",
            "line 1: the key 'kill' stands twice",
        ),
        # No plan at all.
        ("- kill", "must be a mapping of keys, like `faults: ...`"),
        ("kill", "must be a mapping of keys, like `faults: ...`"),
        ("a: b: c", "line 1: mapping values are not allowed here"),
        (b"\x00\x01\x02", "is not YAML"),
        (b"\x89PNG\xff\xfe", "is not UTF-8 text; give a YAML file"),
        ("[" * 5000, "is nested too deeply"),
        (
            'config: "a\\0b"',
            r"config: 'a\x00b' is not allowed; no file's name has a zero byte in it",
        ),
    ],
)
def test_a_wrong_plan_is_one_line_that_says_what_where_and_what_is_allowed(
    text: str | bytes, line: str, tmp_path: Path
) -> None:
    path = tmp_path / "plan.yaml"
    assert refused(load_plan, text, path) == [f"plan {path}: {line}"]


@pytest.mark.parametrize("load", [load_plan, load_config])
def test_a_file_that_can_not_be_read_is_one_line(
    load: Callable[[Path], object], tmp_path: Path
) -> None:
    for path, problem in (
        (tmp_path, "Is a directory"),
        (tmp_path / "absent.yaml", "No such file or directory"),
        (tmp_path / "a\0b", "is no file's name"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert re.fullmatch(rf"(plan|config) .*: {problem}", str(caught.value))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("data: {classes: [[1]]}", "data.classes.0: [1] is not allowed; must be a whole number or"),
        ("data: {classes: [cat, no]}", "data.classes: ['cat', false] is not allowed; must be a "),
        ("data: {source: csv, train: 5, label: y}", "data.train: 5 is not allowed; must be a path"),
        ("training: {epochs: yes}", "training.epochs: true is not allowed; must be a whole number"),
        ("training: {5: 1}", "training.5: unknown key; allowed: epochs, batch_size, shards"),
        ("training: {epochs: 1000000001}", "training.epochs: 1000000001 is not allowed; must be a"),
        ("network: {sizes: [64, x, 10]}", "network.sizes.1: 'x' is not allowed; must be a whole n"),
        ("network: {sizes: {a: 1}}", "network.sizes: {'a': 1} is not allowed; must be a list, lik"),
        ("cluster: {workers: []}", "cluster.workers: [] is not allowed; must be a whole number of"),
        ("supervision: {worker: 5}", "supervision.worker: 5 is not allowed; must be a mapping of "),
        ("self: 1", "self: unknown key; allowed: data, network, training, cluster, supervision"),
    ],
)
def test_a_wrong_configuration_is_one_line_too(text: str, line: str, tmp_path: Path) -> None:
    (told,) = refused(load_config, text, tmp_path / "config.yaml")
    assert told.startswith(f"config {line}")


def test_of_very_many_problems_ten_are_told(tmp_path: Path) -> None:
    lines = refused(load_config, f"network: {{sizes: [{'x, ' * 30}]}}", tmp_path / "config.yaml")
    assert len(lines) == 11
    assert lines[-1] == "... and 20 more problems"


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    (line,) = refused(load_config, f"training: {{epochs: {'x' * 5000}}}", tmp_path / "config.yaml")
    assert len(line) < 200


# Each key that there is, and what YAML may hold.
KEYS = {
    load_plan: [
        ("config",), ("set",), ("faults",), ("random",),
        *(("random", key) for key in RANDOM_KEYS.split(", ")),
        *(("faults", 0, key) for key in FAULT_KEYS.split(", ")),
    ],
    load_config: [
        (section, *keys)
        for section, written in yaml.safe_load(
            (Path(__file__).parent.parent / "examples" / "digits.yaml").read_text()
        ).items()
        for keys in [(), *((key,) for key in written)]
    ] + [("supervision", "worker", "period_s"), ("cluster", "workers", "max")],
}  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.dates() | st.datetimes() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)  # fmt: skip
THEIRS = re.compile(r"Input|should|valid|pydantic|Error|expected|parse|<class|datetime\.")


def nested(keys: tuple[Any, ...], value: Any) -> Any:
    for key in reversed(keys):
        value = [value] if key == 0 else {key: value}
    return value


@pytest.mark.parametrize("load", [load_plan, load_config])
@given(st.data())
def test_no_value_of_any_key_brings_out_the_words_of_a_library(
    load: Callable[[Path], object],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    keys = data.draw(st.sampled_from(KEYS[load]))
    value = data.draw(VALUES)
    path = tmp_path_factory.getbasetemp() / "file.yaml"
    path.write_text(yaml.dump(nested(keys, value)), encoding="utf-8")
    try:
        load(path)
    except ConfigError as error:
        for line in str(error).splitlines():
            words = re.sub(r"'(\\.|[^'])*'|\"(\\.|[^\"])*\"", "", line)  # without what was given
            assert not THEIRS.search(words), line
            assert re.match(r"(plan|config) |\.\.\. and", line), line
