"""The configuration: defaults, YAML there and back, and the wording of each refusal."""

import pickle
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from actors.addresses import ANY_PORT
from actors.placement import Needs
from trainer.config import Config, load_config
from trainer.data_config import CsvSource, DigitsSource, IdxSource, NpzSource
from trainer.errors import ConfigError
from trainer.job import build_crew


@pytest.fixture
def load(tmp_path):
    """A function that loads the configuration that a YAML text describes."""

    def _load(text, *overrides):
        path = tmp_path / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(path, list(overrides))

    return _load


def test_defaults_are_a_small_training_on_the_digits():
    config = load_config()
    assert config == Config()
    assert config.data == DigitsSource(
        scaling="minmax", statistics="table", classes=None, test_fraction=0.2, split_seed=0
    )
    assert config.network.sizes == (64, 30, 10)
    assert (config.training.batch_size, config.training.shards) == (32, 8)
    assert (config.cluster.kind, config.cluster.workers) == ("ray", 2)
    kept = config.checkpoints
    assert (kept.time_share, kept.every_s, kept.keep) == (0.02, 1.0, 3)
    worker, server = config.supervision.worker, config.supervision.server
    assert (worker.max_restarts, worker.period_s) == (5, 60.0)
    assert (server.max_restarts, server.period_s) == (3, 60.0)


def test_an_empty_file_gives_the_defaults(load):
    assert load("") == load("# nothing\n") == Config()


def test_an_empty_section_gives_its_defaults(load):
    assert load("data:\ntraining:\ncluster:\n") == Config()
    assert load("training:\n", "training.epochs=3").training.epochs == 3


def test_yaml_writes_every_default_and_reads_back_as_the_same_configuration(load):
    written = yaml.safe_load(Config().as_yaml())
    assert list(written) == SECTIONS.split(", ")
    assert written["training"] == Config().training.model_dump()
    assert written["network"]["sizes"] == [64, 30, 10]
    assert load(Config().as_yaml()) == Config()


def test_a_configuration_can_not_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Config().training.epochs = 3


def test_a_configuration_and_its_error_survive_pickling():
    config = Config(training={"epochs": 3})
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(ConfigError) as caught:
        Config(training={"epochs": 0})
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy)) == (ConfigError, str(caught.value))


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("{source: idx, train_images: i, train_labels: l}", IdxSource),
        ("{source: npz, path: a.npz, test_features: u, test_labels: v}", NpzSource),
        ("{source: csv, train: a.csv, label: kind}", CsvSource),
        ("{scaling: standard}", DigitsSource),
    ],
)
def test_the_source_decides_which_keys_there_are(load, source, kind):
    config = load(f"data: {source}")
    assert type(config.data) is kind
    assert load(config.as_yaml()) == config


def test_overrides_are_laid_over_the_file_key_by_key_and_read_as_yaml(load):
    config = load(
        "training: {epochs: 5, seed: 7}",
        "training.epochs=9",
        " network.sizes = [64, 10]",
        "cluster.address=null",
        "training.learning_rate=1e-3",  # text to YAML 1.1, which wants a point
        "training.epochs=10",  # the last one wins
    )
    assert (config.training.epochs, config.training.seed) == (10, 7)
    assert (config.network.sizes, config.cluster.address) == ((64, 10), None)
    assert config.training.learning_rate == 0.001


def test_workers_are_a_number_or_a_range_and_are_written_as_they_were_given(load):
    number, bounds = (load("", f"cluster.workers={text}") for text in ("3", "{min: 2, max: 4}"))
    assert (number.cluster.min_workers, number.cluster.max_workers) == (3, 3)
    assert (bounds.cluster.min_workers, bounds.cluster.max_workers) == (2, 4)
    assert yaml.safe_load(number.as_yaml())["cluster"]["workers"] == 3
    assert yaml.safe_load(bounds.as_yaml())["cluster"]["workers"] == {"min": 2, "max": 4}
    assert load(bounds.as_yaml()) == bounds


def test_what_each_worker_asks_of_a_node_and_the_ports_reach_the_cluster(load):
    config = load(
        "cluster: {worker_cpus: 2, worker_resources: {GPU: 0.5}}", "cluster.link_ports=20000-20100"
    )
    assert build_crew(config).needs == Needs(2.0, (("GPU", 0.5),))
    assert config.cluster.ports == (20000, 20100)
    assert (build_crew(load("")).needs, load("").cluster.ports) == (Needs(), ANY_PORT)


def test_an_override_reaches_as_deep_as_the_configuration(load):
    config = load(
        "supervision: {server: {max_restarts: 1}}",
        "supervision.worker.max_restarts=9",
        "supervision.server.period_s=5",
        "cluster.workers.max=4",
    )
    assert (config.supervision.worker.max_restarts, config.supervision.worker.period_s) == (9, 60)
    assert (config.supervision.server.max_restarts, config.supervision.server.period_s) == (1, 5)
    assert (config.cluster.min_workers, config.cluster.max_workers) == (1, 4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "must be section.key=value, like training.epochs=10"),
        ("training=5", "must be section.key=value"),
        ("training.=5", "must be section.key=value"),
        (".epochs=5", "must be section.key=value"),
        ("", "must be section.key=value"),
        ("network.sizes=[64, 10", "line 1: expected ',' or ']'"),
        ("cluster.kind={a: 1, a: 2}", "line 1: the key 'a' stands twice"),
        ("training.seed=2024-13-45", "line 1: month must be in 1..12"),  # a date, to YAML
    ],
)
def test_a_malformed_override_is_refused(override, message):
    with pytest.raises(ConfigError, match=f"^--set {override.replace('[', '.')}: .*{message}"):
        load_config(None, [override])


SECTIONS = "data, network, training, cluster, supervision, checkpoints"
TRAINING_KEYS = "epochs, batch_size, shards, learning_rate, local_steps, dtype, seed"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainig: {}", r"config trainig: unknown key; did you mean training\?"),
        ("zzz: {}", f"config zzz: unknown key; allowed: {SECTIONS}"),
        ("training: {epoch: 3}", r"config training.epoch: unknown key; did you mean epochs\?"),
        ("training: {zzz: 3}", f"config training.zzz: unknown key; allowed: {TRAINING_KEYS}"),
        ("training: {csv: 3}", f"config training.csv: unknown key; allowed: {TRAINING_KEYS}"),
        ("cluster: {digits: 3}", "config cluster.digits: unknown key; allowed: kind, workers"),
        ("data: {npz: 3}", "config data.npz: unknown key; allowed: source, scaling"),
        ("zzz:", f"config zzz: unknown key; allowed: {SECTIONS}"),
        ("data: {spilt_seed: 3}", r"config data.spilt_seed: unknown key; did you mean split_seed"),
        ("data: {label: y}", "config data.label: unknown key; allowed: source, scaling, statistic"),
        ("network: {loss: hinge}", "config network.loss: 'hinge' is not allowed; must be one of"),
        ("network: {output: 3}", "output: 3 is not allowed; must be one of sigmoid, softmax, id"),
        ("network: {sizes: [64]}", r"config network.sizes: \[64\] is not allowed; .*at least 2"),
        ("network: {sizes: 64}", "config network.sizes: 64 is not allowed"),
        ("training: {learning_rate: -1}", "learning_rate: -1 is not allowed; .*number above 0$"),
        ("training: {learning_rate: 0}", "learning_rate: 0 is not allowed; .*number above 0$"),
        ("training: {learning_rate: .nan}", "learning_rate: nan is not allowed; .*finite number"),
        ("training: {learning_rate: .inf}", "learning_rate: inf is not allowed; .*finite number"),
        ("training: {epochs: 1.5}", "config training.epochs: 1.5 is not allowed; must be a whole"),
        ("training: {seed: -1}", "config training.seed: -1 is not allowed"),
        (
            "training: 5",
            f"config training: 5 is not allowed; must be a mapping of {TRAINING_KEYS}$",
        ),
        (
            "training: {shards: 16385, batch_size: 16385}",
            "config training.shards: 16385 is not allowed; .*from 1 to 16384$",
        ),
        ("data: {test_fraction: 1}", "data.test_fraction: 1 is not allowed; .*and below 1$"),
        (
            "training: {batch_size: 30}",
            "training.batch_size: 30 is not divisible by the 8 shards; set it to 32, or change",
        ),
        (
            "cluster: {workers: 12}",
            "^config cluster.workers: 12 workers but only 8 shards, 4 would idle;"
            " set cluster.workers <= 8 or training.shards >= 12$",
        ),
        (  # the key that is named first is the one that was set
            "training: {shards: 1}",
            "^config training.shards: 2 workers but only 1 shard, 1 would idle;"
            " set cluster.workers <= 1 or training.shards >= 2$",
        ),
        (
            "network: {loss: cross_entropy, output: identity}",
            "config network.loss: cross_entropy does not go with network.output identity;"
            " set network.output to sigmoid or softmax",
        ),
        ("data: {source: xml}", "data.source: 'xml' is not allowed; allowed: digits, idx, npz, cs"),
        ("data: {source: [1]}", "config data.source: .* is not allowed; allowed: digits, idx, npz"),
        ("data: {source: }", "config data.source: null is not allowed; allowed: digits, idx, npz"),
        ("data: digits", "config data: 'digits' is not allowed; must be a mapping"),
        ("data: 5", "config data: 5 is not allowed; must be a mapping, like `data: {}`"),
        (
            "data: {source: idx}",
            "^config data.train_images: missing; set it to a path\n"
            "config data.train_labels: missing; set it to a path$",
        ),
        (
            "data: {source: csv}",
            "^config data.train: missing; set it to a path\n"
            r"config data.label: missing; set it to text \(in quotes\)$",
        ),
        (
            "data: {source: npz, path: a, test_features: u}",
            "config data.test_labels: missing, while data.test_features is given",
        ),
        (
            "data: {source: idx, train_images: a, train_labels: b, test_labels: c}",
            "config data.test_images: missing, while data.test_labels is given",
        ),
        (
            "data: {source: csv, label: y, train: s3://b/a.csv}",
            "^config data.train: 's3://b/a.csv' is a URL, and data is read from a path only$",
        ),
        ("data: {classes: [a, b, a]}", "config data.classes: 'a' stands twice$"),
        (
            "cluster: {workers: 0}",
            "^config cluster.workers: 0 is not allowed; must be a whole number ",
        ),
        ("cluster: {workers: two}", "^config cluster.workers: 'two' is not allowed; must be a who"),
        (
            "cluster: {workers: {min: 1}}",
            "^config cluster.workers.max: missing; set it to a whole number of at least 1,"
            " like `{min: 1, max: 8}`$",
        ),
        ("cluster: {workers: {min: 0, max: 2}}", "^config cluster.workers.min: 0 is not allowed"),
        (
            "cluster: {workers: {min: 3, max: 2}}",
            "^config cluster.workers: min 3 is more than max 2; set min <= 2$",
        ),
        (
            "cluster: {workers: {max: 2, maximum: 2}}",
            r"^config cluster.workers.maximum: unknown key; did you mean max\?$",
        ),
        (
            "cluster: {workers: {min: 1, max: 12}}",
            "^config cluster.workers: 12 workers but only 8 shards, 4 would idle;",
        ),
        (
            "cluster: {worker_cpus: 0}",
            "^config cluster.worker_cpus: 0 is not allowed; must be a num",
        ),
        (
            "cluster: {worker_resources: [GPU]}",
            "worker_resources: .*; must be a mapping, like `work",
        ),
        (
            "cluster: {worker_resources: {GPU: many}}",
            "^config cluster.worker_resources.GPU: 'many' is not allowed; must be a number of at ",
        ),
        (
            "cluster: {worker_resources: {GPU: true}}",
            "^config cluster.worker_resources.GPU: true is not allowed; must be a number of at l",
        ),
        (
            "cluster: {worker_resources: {GPU: 1.5}}",
            "^config cluster.worker_resources: 'GPU' 1.5 is not allowed; Ray wants it below 1 or w",
        ),
        (
            "cluster: {worker_resources: {CPU: 1}}",
            "^config cluster.worker_resources: 'CPU' is not allowed; cluster.worker_cpus says how",
        ),
        (
            "cluster: {worker_resources: {'fast disk': 1}}",
            "^config cluster.worker_resources: 'fast disk' is not allowed; a name begins with a l",
        ),
        ("cluster: {worker_resources: {1: 1}}", "^config cluster.worker_resources.1: 1 is not al"),
        (
            "cluster: {link_ports: 20100-20000}",
            "^config cluster.link_ports: '20100-20000' is not allowed; must be the first and the"
            " last of at least 2 ports from 1 to 65535, like 20000-20100$",
        ),
        ("cluster: {link_ports: 20000-70000}", "^config cluster.link_ports: '20000-70000' is not"),
        (
            "cluster: {link_ports: 20000}",
            "^config cluster.link_ports: 20000 is not allowed; must be the first and the last of at"
            " least 2 ports from 1 to 65535, like 20000-20100$",
        ),
        (
            "cluster: {link_ports: [1, 2]}",
            r"^config cluster.link_ports: \[1, 2\] is not allowed; m",
        ),
        ("supervision: {worker: {restarts: 2}}", r"worker.restarts: unknown key; did you mean max"),
        ("supervision: {worker: {max_restarts: -1}}", "supervision.worker.max_restarts: -1 is not"),
        ("supervision: {server: {period_s: 0}}", "config supervision.server.period_s: 0 is not"),
        ("checkpoints: {time_share: 0.6}", "time_share: 0.6 is not allowed; .*at most 0.5$"),
        ("checkpoints: {every_epochs: 10}", "config checkpoints.every_epochs: unknown key; "),
    ],
)
def test_a_wrong_value_is_refused_with_its_key_and_what_is_allowed(load, text, message):
    with pytest.raises(ConfigError, match=message):
        load(text)


def test_an_override_does_not_hide_a_wrong_section(load):
    with pytest.raises(ConfigError, match="config data: 'digits' is not allowed"):
        load("data: digits", "data.scaling=none")


@pytest.mark.parametrize("key", ["sizes.1", "sizes.0"])
def test_one_wrong_size_is_one_line(key):
    sizes = (64, 0) if key == "sizes.1" else (0, 10)
    with pytest.raises(ConfigError) as caught:
        Config(network={"sizes": sizes})
    assert str(caught.value).startswith(f"config network.{key}: 0 is not allowed")
    assert "\n" not in str(caught.value)


def test_each_of_several_problems_has_its_line():
    with pytest.raises(ConfigError) as caught:
        Config(training={"epochs": 0, "seeds": 1}, network={"loss": "hinge"})
    keys = [line.split(":")[0] for line in str(caught.value).splitlines()]
    assert keys == ["config network.loss", "config training.epochs", "config training.seeds"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("training: {epochs: 1}\ntraining: {}", "line 2: the key 'training' stands twice"),
        ("training:\n  epochs: 1\n  epochs: 2", "line 3: the key 'epochs' stands twice"),
        ("training:\n  epochs: [1", "line 2: "),
        ("a: b: c", "line 1: mapping values are not allowed here"),
        ("{[1]: 2}", "line 1: found unhashable key"),
        ("a:\n  {b: 1}: 2", "line 2: found unhashable key"),
        ("training:\n  seed: 2024-13-45", "line 2: month must be in 1..12"),
        ("a: !!python/name:os.system", "line 1: could not determine a constructor"),
        ("- training", "must be a mapping of sections, like `training: ...`"),
        ("5: {}", "must be a mapping of sections"),
        (b"a: \xff\xfe", "is not UTF-8 text"),
        ("a: \0", "is not YAML"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_name_and_line(
    load, tmp_path, content, message
):
    with pytest.raises(ConfigError, match=f"^config {tmp_path}/config.yaml: .*{message}"):
        load(content)


def test_a_file_that_can_not_be_opened_is_named(tmp_path):
    with pytest.raises(ConfigError, match=f"config {tmp_path}/nowhere: No such file"):
        load_config(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=f"config {tmp_path}: Is a directory"):
        load_config(tmp_path)


positive = st.floats(0, exclude_min=True, allow_infinity=False)
paths = st.builds(Path, st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
class_lists = st.none() | st.lists(st.integers() | st.text(), unique_by=str, max_size=4)
common = {
    "scaling": st.sampled_from(["minmax", "standard", "none"]),
    "statistics": st.sampled_from(["feature", "table"]),
    "classes": class_lists,
    "test_fraction": st.floats(0, 1, exclude_min=True, exclude_max=True),
    "split_seed": st.integers(0),
}
kinds = {
    "digits": {},
    "idx": {"train_images": paths, "train_labels": paths},
    "npz": {"path": paths, "features": st.text(), "labels": st.text()},
    "csv": {"train": paths, "test": st.none() | paths, "label": st.text()},
}
sources = st.sampled_from(list(kinds)).flatmap(
    lambda kind: st.fixed_dictionaries({"source": st.just(kind), **kinds[kind]}, optional=common)
)
networks = st.fixed_dictionaries(
    {"sizes": st.lists(st.integers(1, 1_000_000), min_size=2, max_size=5)},
    optional={
        "activation": st.sampled_from(["sigmoid", "tanh", "relu"]),
        "output": st.sampled_from(["sigmoid", "softmax"]),
        "loss": st.sampled_from(["quadratic", "mean_squared", "cross_entropy"]),
        "initial_weights": st.sampled_from(["scaled", "gaussian"]),
    },
)


@st.composite
def trainings_and_clusters(draw):
    """Sections that fit together: whole micro-batches, no more workers than shards."""
    shards = draw(st.integers(1, 1000))
    training = {"shards": shards, "batch_size": shards * draw(st.integers(1, 100))}
    free = {"learning_rate": positive, "seed": st.integers(0), "epochs": st.integers(1, 10**9)}
    heads = st.from_regex(r"([a-z0-9._-]{1,9}|\[::[1-9a-f]\]):[1-9][0-9]{0,3}", fullmatch=True)
    addresses = st.none() | st.sampled_from(["auto", "local"]) | heads
    most = draw(st.integers(1, shards))
    least = st.integers(1, most).map(lambda count: {"min": count, "max": most})
    cluster = {"workers": draw(st.just(most) | least), "address": draw(addresses)}
    return training | draw(st.fixed_dictionaries({}, optional=free)), cluster


@given(sources, networks, trainings_and_clusters())
def test_any_valid_configuration_survives_yaml(tmp_path_factory, source, network, both):
    config = Config(data=source, network=network, training=both[0], cluster=both[1])
    path = tmp_path_factory.getbasetemp() / "survives.yaml"
    path.write_text(config.as_yaml(), encoding="utf-8")
    assert load_config(path) == config
