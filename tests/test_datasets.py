"""A training's data: scaling, classes, the held-out rows, and what does not fit.

Every expected number is computed here with plain NumPy on the rows that were written.
"""

from pathlib import Path

import numpy as np
import pytest

from trainer.config import Config
from trainer.datasets import load_dataset, load_tables
from trainer.errors import DataError

# A column that varies, one that varies more, a constant one.
TRAIN = np.array([[1.0, 10, 0.1], [2, 30, 0.1], [5, 20, 0.1]])
TEST = np.array([[100.0, -50, 0.2], [3, 20, 0.1]])


@pytest.fixture
def config(tmp_path):
    """A function from arrays to the configuration of a network that fits TRAIN, TEST."""

    def _config(arrays=None, data=None, sizes=(3, 2), batch_size=1, shards=1, dtype="float64"):
        given = {"x": TRAIN, "y": [0, 1, 1], "u": TEST, "v": [1, 0]} if arrays is None else arrays
        np.savez(tmp_path / "arrays.npz", **given)
        tests = {"test_features": "u", "test_labels": "v"} if "u" in given else {}
        source = {"source": "npz", "path": tmp_path / "arrays.npz", "scaling": "none"}
        training = {"batch_size": batch_size, "shards": shards, "dtype": dtype}
        return Config(
            data={**source, **tests, **(data or {})},
            network={"sizes": sizes},
            training=training,
            cluster={"workers": 1},
        )

    return _config


def spread(rows, axis):
    shift = rows.min(axis)
    return shift, rows.max(axis) - shift


def deviation(rows, axis):
    return rows.mean(axis), rows.std(axis)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("statistics", "axis"), [("feature", 0), ("table", None)])
@pytest.mark.parametrize(("scaling", "numbers"), [("minmax", spread), ("standard", deviation)])
def test_features_are_scaled_by_numbers_of_the_training_rows(
    config, scaling, numbers, statistics, axis, dtype
):
    settings = {"scaling": scaling, "statistics": statistics}
    dataset = load_dataset(config(data=settings, dtype=dtype))
    shift, scale = numbers(TRAIN, axis)
    columns = slice(0, 2 if statistics == "feature" else 3)  # the constant one has its own test
    for rows, inputs in ((TRAIN, dataset.train_inputs), (TEST, dataset.test_inputs)):
        expected = ((rows - shift)[:, columns] / np.broadcast_to(scale, 3)[columns]).astype(dtype)
        np.testing.assert_array_equal(inputs[:, columns], expected)
        assert inputs.dtype == dtype


def test_no_scaling_leaves_the_features_as_they_are(config):
    dataset = load_dataset(config())
    np.testing.assert_array_equal(dataset.train_inputs, TRAIN)
    np.testing.assert_array_equal(dataset.test_inputs, TEST)


@pytest.mark.parametrize("value", [0.0, 4.0, 0.1])
@pytest.mark.parametrize("scaling", ["minmax", "standard"])
def test_a_constant_column_is_only_shifted(config, scaling, value):
    # The mean of three times 0.1 is not 0.1 in floating point: rounding is no deviation.
    train, test = TRAIN.copy(), TEST.copy()
    train[:, 2], test[:, 2] = value, [value + 1, value]
    arrays = {"x": train, "y": [0, 1, 1], "u": test, "v": [1, 0]}
    dataset = load_dataset(config(arrays, {"scaling": scaling}))
    assert dataset.train_inputs[:, 2].tolist() == pytest.approx([0, 0, 0], abs=1e-12)
    assert dataset.test_inputs[:, 2].tolist() == pytest.approx([1, 0], abs=1e-12)


def test_classes_are_the_sorted_training_labels_and_targets_one_hot(config):
    arrays = {"x": TRAIN, "y": [7, 3, 7], "u": TEST, "v": [3, 7]}
    dataset = load_dataset(config(arrays, dtype="float32"))
    assert dataset.classes == (3, 7)
    assert dataset.train_targets.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert dataset.test_targets.tolist() == [[1, 0], [0, 1]]
    assert dataset.train_targets.dtype == np.float32


def test_configured_classes_decide_the_order_of_the_outputs(config):
    arrays = {"x": TRAIN, "y": ["cat", "dog", "cat"]}
    classes = ("dog", "owl", "cat")
    dataset = load_dataset(config(arrays, {"classes": classes, "test_fraction": 0.3}, (3, 3)))
    assert dataset.classes == classes
    both = np.concatenate([dataset.train_targets, dataset.test_targets])
    assert sorted(both.tolist()) == [[0, 0, 1], [0, 0, 1], [1, 0, 0]]


def numbered(row_count):
    """Rows that know their number, in two classes."""
    return {"x": np.arange(row_count)[:, None], "y": np.arange(row_count) % 2}


@pytest.mark.parametrize(("row_count", "fraction", "held_out"), [(100, 0.2, 20), (7, 0.01, 1)])
def test_held_out_rows_are_a_share_and_all_others_are_trained_on(
    config, row_count, fraction, held_out
):
    made = config(numbered(row_count), {"test_fraction": fraction}, (1, 2))
    train, test = (table.features[:, 0].tolist() for table in load_tables(made.data))
    assert len(test) == held_out
    assert sorted(train + test) == list(range(row_count))


def test_held_out_rows_depend_on_the_split_seed_alone(config):
    def held_out(training_seed=0, **data):
        made = config(numbered(50), data, (1, 2))
        seeded = Config(**made.model_dump() | {"training": {"seed": training_seed}})
        return load_tables(seeded.data)[1].features[:, 0].tolist()

    assert held_out() == held_out() == held_out(training_seed=5)
    assert held_out() != held_out(split_seed=1)


def test_held_out_rows_keep_their_labels(config):
    for table in load_tables(config(numbered(40), {}, (1, 2)).data):
        np.testing.assert_array_equal(table.features[:, 0] % 2, table.labels)


def test_csv_columns_of_the_test_file_are_matched_by_name(tmp_path):
    (tmp_path / "train.csv").write_text("a,y,b\n1,n,2\n3,m,4\n")
    (tmp_path / "test.csv").write_text("y,b,a\nm,20,10\n")
    files = {"train": tmp_path / "train.csv", "test": tmp_path / "test.csv", "label": "y"}
    dataset = load_dataset(
        Config(
            data={"source": "csv", "scaling": "none", **files},
            network={"sizes": (2, 2)},
            training={"batch_size": 1, "shards": 1},
            cluster={"workers": 1},
        )
    )
    assert dataset.test_inputs.tolist() == [[10, 20]]
    assert dataset.test_targets.tolist() == [[1, 0]]
    assert (dataset.classes, dataset.columns) == (("m", "n"), ("a", "b"))


def with_cell(rows, row, column, value):
    changed = rows.copy()
    changed[row, column] = value
    return changed


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": with_cell(TRAIN, 2, 1, np.nan)}, r"npz\[x\]: row 2, feature 1: nan is no finite"),
        ({"x": with_cell(TRAIN, 0, 2, np.inf)}, r"npz\[x\]: row 0, feature 2: inf is no finite"),
        ({"u": with_cell(TEST, 1, 0, -np.inf)}, r"npz\[u\]: row 1, feature 0: -inf is no finite"),
        ({"v": [1, 5]}, r"npz\[u\]: row 1: label 5 is none of the 2 classes \(0, 1\)"),
        ({"y": [4, 4, 4]}, r"npz\[x\]: a single class \(4\), at least two needed"),
        ({"u": TEST[:, :2]}, r"npz\[u\]: 2 features, the training data has 3"),
    ],
)
def test_data_that_can_not_be_trained_on_is_refused_with_its_place(config, arrays, message):
    good = {"x": TRAIN, "y": [0, 1, 1], "u": TEST, "v": [1, 0]}
    with pytest.raises(DataError, match=message):
        load_dataset(config({**good, **arrays}))


def test_a_csv_cell_that_is_not_finite_is_named_by_its_column(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("a,y,width\n1,0,2\n3,1,nan\n")
    made = Config(data={"source": "csv", "train": path, "label": "y"})
    with pytest.raises(DataError, match="line 3, feature 'width': nan is no finite number"):
        load_dataset(made)


def test_labels_and_cells_are_placed_by_the_files_own_rows(tmp_path, config):
    # The split takes rows out and shuffles; messages count as the file does.
    path = tmp_path / "train.csv"
    path.write_text("a,y\n\n" + "1,m\n2,n\n" * 10 + "3,o\n")
    source = {"source": "csv", "train": path, "label": "y", "classes": ("m", "n")}
    with pytest.raises(DataError, match=r"train.csv: line 23: label 'o' is none of the 2 classes"):
        load_dataset(Config(data=source, network={"sizes": (1, 2)}))
    arrays = {"x": np.ones((20, 3)), "y": [0, 1] * 9 + [0, 2]}
    with pytest.raises(DataError, match="row 19: label 2 is none of the 2 classes"):
        load_dataset(config(arrays, {"classes": (0, 1)}))


@pytest.mark.parametrize(
    ("scaling", "dtype", "value"),
    [
        ("none", "float32", 1e39),
        ("minmax", "float64", 1.5e308),  # 1.5e308 - -1e308 overflows
        ("standard", "float64", 1e200),  # the squares overflow
    ],
)
@pytest.mark.parametrize("row", [0, 2])
def test_a_number_that_overflows_by_scaling_is_refused(config, scaling, dtype, value, row):
    changed = with_cell(with_cell(TRAIN, 1, 1, -1e308 if value > 1e300 else 0), row, 1, value)
    made = config({"x": changed, "y": [0, 1, 1], "u": TEST, "v": [1, 0]}, dtype=dtype)
    with pytest.raises(DataError, match=f"feature 1: .* too large to be scaled as {dtype}"):
        load_dataset(made.with_changes(data={"scaling": scaling}))


def test_a_label_outside_the_configured_classes_is_refused(config):
    made = config(data={"classes": (1, 2)})
    with pytest.raises(DataError, match=r"row 0: label 0 is none of the 2 classes \(1, 2\)"):
        load_dataset(made)


@pytest.mark.parametrize("sizes", [(4, 2), (3, 3), (4, 5, 3)])
def test_layer_sizes_that_do_not_fit_the_data_are_refused_and_fitting_ones_offered(config, sizes):
    fitting = [3, *sizes[1:-1], 2]
    message = (
        rf"network.sizes: \[{', '.join(map(str, sizes))}\] does not fit data with 3 features and"
        rf" 2 classes; set it to \[{', '.join(map(str, fitting))}\]"
    )
    with pytest.raises(DataError, match=message):
        load_dataset(config(sizes=sizes))


def test_fewer_rows_than_all_shards_need_are_refused(config):
    made = config(batch_size=4, shards=2)
    message = "training.batch_size: 4 needs 2 shards of at least 2 rows, .* has 3 rows in all"
    with pytest.raises(DataError, match=message):
        load_dataset(made)


@pytest.mark.parametrize("classes", [None, (0, 1)])
def test_a_held_out_share_that_leaves_no_training_rows_is_refused(config, classes):
    settings = {"test_fraction": 0.9, "classes": classes}
    with pytest.raises(DataError, match=r"data.test_fraction: 0.9 holds out 3 of the 3 rows of "):
        load_dataset(config(numbered(3), settings, (1, 2)))


def test_labels_are_told_apart_by_their_text_in_every_file_of_a_data_set(tmp_path: Path) -> None:
    # The test file holds numbers alone; the training file a word too.
    (tmp_path / "train.csv").write_text("w,kind\n" + "1,1\n2,2\n3,x\n" * 4)
    (tmp_path / "test.csv").write_text("w,kind\n1,1\n2,2\n")
    source = {"source": "csv", "train": tmp_path / "train.csv", "test": tmp_path / "test.csv"}
    config = Config(
        data={**source, "label": "kind"},
        network={"sizes": (1, 3)},
        training={"shards": 1, "batch_size": 4},
        cluster={"workers": 1},
    )
    dataset = load_dataset(config)
    assert dataset.classes == ("1", "2", "x")
    assert dataset.test_targets.tolist() == [[1, 0, 0], [0, 1, 0]]
