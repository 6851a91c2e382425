"""Files to tables: what is read, and the wording when something is wrong with a file."""

import gzip
import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits

from trainer.csv_tables import read_csv
from trainer.errors import DataError
from trainer.tables import read_digits, read_idx, read_idx_pair, read_npz

IDX_CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
IMAGES = np.arange(12, dtype="u1").reshape(3, 2, 2)
LABELS = np.array([2, 0, 1], "u1")


def idx_bytes(array):
    """The format as MNIST's page describes it: magic, big-endian sizes, big-endian elements."""
    magic = bytes([0, 0, IDX_CODES[array.dtype.str[1:]], array.ndim])
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return magic + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def write(tmp_path):
    """A function that writes text or bytes to a file and returns its path."""

    def _write(content, name="file"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return _write


@pytest.fixture
def npz(tmp_path):
    """A function that writes arrays to an .npz file and returns its path."""

    def _npz(save=np.savez, **arrays):
        save(tmp_path / "arrays.npz", **arrays)
        return tmp_path / "arrays.npz"

    return _npz


def test_digits_equal_those_that_scikit_learn_loads():
    expected, table = load_digits(), read_digits()
    np.testing.assert_array_equal(table.features, expected.data)
    np.testing.assert_array_equal(table.labels, expected.target)
    assert table.features.dtype == np.float64


@pytest.mark.parametrize("element_type", IDX_CODES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx_files_of_every_element_type_are_read(write, pack, element_type):
    array = np.array([[1, 2, 3], [100, 5, 127]], element_type)
    if element_type[0] != "u":
        array[0] *= -1  # the sign has to survive
    read = read_idx(write(pack(idx_bytes(array))))
    np.testing.assert_array_equal(read, array)
    assert read.dtype.kind == array.dtype.kind


def test_each_image_of_an_idx_pair_becomes_a_row(write):
    table = read_idx_pair(write(idx_bytes(IMAGES), "i"), write(idx_bytes(LABELS), "l"))
    assert table.features.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert table.labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx_bytes(IMAGES)[:-1], "truncated, 27 bytes where 28 are due for 3 x 2 x 2 elements"),
        (idx_bytes(IMAGES)[:9], "truncated, 9 bytes"),
        (idx_bytes(IMAGES) + b"\0", "too long, 29 bytes where 28 are due"),
        (b"P5 2 2", "wrong magic 50352032, this is no IDX file"),
        (b"", "wrong magic"),
        (bytes([0, 0, 7, 1]), "wrong magic 00000701, no IDX element type 0x07 with 1 dimensions"),
        (bytes([0, 0, 8, 0]), "wrong magic 00000800, no IDX element type 0x08 with 0 dimensions"),
        (gzip.compress(idx_bytes(IMAGES))[:-9], "can not be read: Compressed file ended"),
        (gzip.compress(idx_bytes(IMAGES))[:-8] + bytes(8), "can not be read: CRC check failed"),
        # Bytes 10 and on are the compressed stream; 0xff begins a block of no known type.
        (gzip.compress(idx_bytes(IMAGES))[:10] + b"\xff" * 20, "can not be read: .*invalid block"),
    ],
    ids=range(10),
)
def test_a_damaged_idx_file_is_refused_with_the_reason(write, content, message):
    path = write(content)
    with pytest.raises(DataError, match=f"data {path}: {message}"):
        read_idx(path)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, LABELS[:2], r"/l: 2 labels for the 3 rows of .*/i"),
        (IMAGES, IMAGES, r"/l: uint8 of shape \(3, 2, 2\), expected one label a row"),
        (LABELS, LABELS, r"/i: uint8 of shape \(3,\), expected numbers in at least two dim"),
        (IMAGES[:0], LABELS[:0], r"/i: .*no rows"),
    ],
)
def test_idx_files_that_are_no_pair_are_refused(write, images, labels, message):
    paths = write(idx_bytes(images), "i"), write(idx_bytes(labels), "l")
    with pytest.raises(DataError, match=message):
        read_idx_pair(*paths)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_arrays_are_read_by_name_and_cells_become_rows(npz, save):
    table = read_npz(npz(save, x=IMAGES, y=LABELS.astype("f4"), z=[1]), "x", "y")
    assert table.features.tolist() == IMAGES.reshape(3, 4).tolist()
    assert table.features.dtype == np.float64
    assert (table.labels.tolist(), table.labels.dtype) == ([2, 0, 1], np.int64)


def test_npz_may_have_text_labels_or_none(npz):
    path = npz(x=IMAGES, y=["b", "a", "b"])
    assert read_npz(path, "x", "y").labels.tolist() == ["b", "a", "b"]
    assert read_npz(path, "x", None).labels is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES, "z": LABELS}, r"arrays.npz: no array 'y'; there are: x, z"),
        ({"x": IMAGES, "y": LABELS[:2]}, r"npz\[y\]: 2 labels for the 3 rows of .*npz\[x\]"),
        ({"x": LABELS, "y": LABELS}, r"npz\[x\]: uint8 of shape \(3,\), expected numbers in at"),
        ({"x": [["a"]], "y": [1]}, r"npz\[x\]: <U1 of shape \(1, 1\), expected numbers"),
        ({"x": IMAGES, "y": [1.0, 2.5, 0.5]}, r"npz\[y\]: row 1: label 2.5 is no class"),
        ({"x": IMAGES, "y": [1.0, 2.0, np.nan]}, r"npz\[y\]: row 2: label nan is no class"),
        ({"x": IMAGES, "y": [1.0, np.inf, 1.0]}, r"npz\[y\]: row 1: label inf is no class"),
        ({"x": IMAGES, "y": [1.0, 2.0, 1e300]}, r"npz\[y\]: row 2: label 1e\+300 is no class"),
        # As a signed 64-bit integer this is -2^63.
        ({"x": IMAGES, "y": np.array([1, 2**63, 0], "u8")}, f"row 1: label {2**63} is no class"),
        ({"x": IMAGES, "y": [[1], [2], [3]]}, r"npz\[y\]: int64 of shape \(3, 1\), expected one l"),
        ({"x": IMAGES, "y": 3}, r"npz\[y\]: int64 of shape \(\), expected one label a row"),
        ({"x": IMAGES, "y": np.array([1, "a", None])}, "Object arrays cannot be loaded"),
        ({"x": IMAGES.astype(object), "y": LABELS}, "Object arrays cannot be loaded"),
        ({"x": IMAGES[:0], "y": LABELS[:0]}, r"npz\[x\]: .*no rows"),
        ({"x": IMAGES[:, :0], "y": LABELS}, r"npz\[x\]: uint8 of shape \(3, 0, 2\), .*features"),
    ],
    ids=range(15),
)
def test_npz_arrays_that_can_not_be_trained_on_are_refused(npz, arrays, message):
    path = npz(**arrays)
    with pytest.raises(DataError, match=message):
        read_npz(path, "x", "y")


@pytest.mark.parametrize("content", [b"hello world", pickle.dumps([1, 2]), b""])
def test_a_file_that_is_no_npz_is_refused_without_advice_to_unpickle_it(write, content):
    path = write(content)
    with pytest.raises(DataError, match=f"data {path}: .*npz") as caught:
        read_npz(path, "x", "y")
    assert "allow_pickle" not in str(caught.value)


def test_a_single_array_file_is_no_npz(tmp_path):
    path = tmp_path / "one.npy"
    np.save(path, IMAGES)
    with pytest.raises(DataError, match=f"data {path}: is no .npz file"):
        read_npz(path, "x", "y")


@pytest.mark.parametrize("part", ["end", "middle"])
def test_a_damaged_npz_is_refused_and_its_file_closed(npz, write, part):
    noise = np.random.default_rng(0).random((50, 20))
    whole = npz(np.savez_compressed, x=noise, y=np.arange(50)).read_bytes()
    path = write(whole[:500] if part == "end" else whole[:100] + bytes(20) + whole[120:])
    # A file left open is a ResourceWarning, and warnings are errors.
    with pytest.raises(DataError, match=f"data {path}: can not be read as .npz"):
        read_npz(path, "x", "y")


def test_csv_with_quotes_blank_lines_and_a_byte_order_mark_is_read(write):
    text = '\ufeffa,"the label","b, wide"\r\n1,"x ""y"", z","2.5"\r\n\r\n -3e1 ,plain, 4\r\n  \r\n'
    table = read_csv(write(text), "the label")
    assert table.features.tolist() == [[1, 2.5], [-30, 4]]
    assert table.labels.tolist() == ['x "y", z', "plain"]
    assert table.columns == ("a", "b, wide")


def test_csv_blank_lines_do_not_count_but_in_quoted_cells_they_do(write):
    text = '\n  \ny,a\n"two\n\nlines",1\n\nx,2\n'
    table = read_csv(write(text), "y")
    assert (table.labels.tolist(), table.features.tolist()) == (["two\n\nlines", "x"], [[1], [2]])
    assert [table.place(row) for row in (0, 1)] == ["line 4", "line 8"]


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["0", " 1", '"2"'], [0, 1, 2]),
        (["0", "1", "two"], ["0", "1", "two"]),
        (["1.5", "1", ""], ["1.5", "1", ""]),
        # More than 64 bits: no integer that NumPy has, so a name like any other.
        (["1", "99999999999999999999", "2"], ["1", "99999999999999999999", "2"]),
    ],
)
def test_csv_labels_are_integers_where_all_are_and_else_text(write, cells, labels):
    lines = ["a,y,b", *(f"{row},{cell},7" for row, cell in enumerate(cells))]
    table = read_csv(write("\n".join(lines)), "y")
    assert table.labels.tolist() == labels
    assert table.features.tolist() == [[0, 7], [1, 7], [2, 7]]


def test_csv_columns_are_taken_by_name_in_the_given_order(write):
    table = read_csv(write("b,y,c,a\n1,0,2,3\n"), None, ("a", "b"))
    assert (table.features.tolist(), table.labels, table.columns) == ([[3, 1]], None, ("a", "b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,y,b\n1,0,2\n\n1,0,two\n", "line 4, column 'b': 'two' is no number"),
        ("a,y,b\n1,0,\n", "line 2, column 'b': '' is no number"),
        ('a,y,b\n1,0,"1,5"\n', "line 2, column 'b': '1,5' is no number"),
        ("a,y,b\n1,0,2\n1,0\n", "line 3: 2 cells, the header has 3"),
        ("a,y,b\n1,0,2\n1,0,2,3\n", "line 3: 4 cells, the header has 3"),
        ("a,b,y\n1,2,0\n3,4\n", "line 3: 2 cells, the header has 3"),
        ("a,b,y\n1,2,0\n3\n", "line 3: 1 cells, the header has 3"),
        ("a,y\n1,0,2\n1,0,2\n", "line 2: 3 cells, the header has 2"),
        ("a,y\n1,0\n1_0,0\n", "line 3, column 'a': '1_0' is no number"),
        ('a,y\n1,0\n"\n', "look for a quote that is not closed"),
        ("a,b\n1,2\n", "no column 'y'; there are: a, b$"),
        ("a,y,a\n1,2,3\n", "the column 'a' stands twice in the header$"),
        (
            "0,7,0\n1,2,3\n",
            "the column '0' stands twice in the header; the first line is taken for the header,"
            " write one above it if it is a row$",
        ),
        ("0,7,cat\n1,2,dog\n", "no column 'y'; there are: 0, 7, cat; the first line is taken for"),
        ("", "is empty, expected a header line"),
        ("\n \n", "is empty, expected a header line"),
        ("a,y,b\n", "a header, but no rows"),
        ("a,y,b", "a header, but no rows"),
        ("y\n1\n2\n", "no feature column, only the label 'y'"),
        (b"a,y\n1,\xff\n", "can not be read as CSV: .*utf-8"),
        # Far behind what is decoded together with the header.
        (b"a,y\n" + b"1,2\n" * 20_000 + b"1,\xff\n", "can not be read as CSV: .*utf-8"),
    ],
    ids=range(21),
)
def test_a_csv_file_with_a_fault_is_refused_with_its_place(write, text, message):
    path = write(text)
    with pytest.raises(DataError, match=f"data {path}: .*{message}"):
        read_csv(path, "y")


def test_csv_cells_are_counted_in_columns_that_are_not_wanted_too(write):
    with pytest.raises(DataError, match="line 3: 2 cells, the header has 3"):
        read_csv(write("a,b,note\n1,2,x\n3,4\n"), None, ("a", "b"))


def test_a_csv_file_without_a_wanted_feature_column_is_refused(write):
    with pytest.raises(DataError, match="no column 'c'; there are: a, y, b"):
        read_csv(write("a,y,b\n1,2,3\n"), "y", ("a", "c"))


@pytest.mark.parametrize(
    "read",
    [read_idx, lambda path: read_npz(path, "x", "y"), lambda path: read_csv(path, "y")],
    ids=["idx", "npz", "csv"],
)
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(DataError, match=f"data {tmp_path}/nowhere: no such file"):
        read(tmp_path / "nowhere")
