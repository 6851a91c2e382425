"""The mathematics: network, activations, losses and layout.

Expected values come from finite differences, from a reference written per sample in this
file, from scikit-learn's MLPClassifier, or by hand; each test says which.
"""

import math
import pickle
from itertools import product

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from trainer.activations import HIDDEN, OUTPUT, Sigmoid
from trainer.errors import ShapeError
from trainer.layout import Workspace, spans_of
from trainer.losses import LOSSES
from trainer.network import Network
from trainer.optimizers import SGD

PAIRS = [pair for pair in product(OUTPUT, LOSSES) if pair != ("identity", "cross_entropy")]
DTYPES = (np.float32, np.float64)
NO_STATE = np.empty(0)


def random_case(network, row_count, seed=0):
    """Parameters, inputs, and targets that are distributions: they suit every loss."""
    generator = np.random.default_rng(seed)
    inputs = generator.standard_normal((row_count, network.sizes[0])).astype(network.dtype)
    targets = generator.dirichlet(np.ones(network.sizes[-1]), row_count).astype(network.dtype)
    return network.initial_parameters(seed), inputs, targets


def pass_through(width, output, loss, dtype):
    """A network of one layer whose z is its input, and its parameters."""
    network = Network((width, width), output=output, loss=loss, dtype=dtype)
    return network, np.append(np.eye(width), np.zeros(width)).astype(dtype)


def misaligned(array, offset):
    """A copy that begins so many bytes behind an aligned address."""
    memory = np.empty(array.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.parametrize("activation", HIDDEN)
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_gradient_equals_central_finite_differences(activation, output, loss):
    network = Network((4, 5, 4, 3), activation, output, loss, np.float64)
    parameters, inputs, targets = random_case(network, 6)
    gradient, ignored = np.empty_like(parameters), np.empty_like(parameters)
    network.backprop(parameters, inputs, targets, gradient)

    def loss_at(shifted):
        return network.backprop(shifted, inputs, targets, ignored)

    # The error is of the order of h^2 = 1e-12 and of the rounding, 1e-16 / h = 1e-10.
    shifts = 1e-6 * np.eye(len(parameters))
    differences = [(loss_at(parameters + h) - loss_at(parameters - h)) / 2e-6 for h in shifts]
    np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=2e-8)


def reference_gradient(weights, biases, inputs, targets, factor):
    """Summed over the samples one by one, each a column; sigmoids, factor * (a - y)^2."""
    nabla_w, nabla_b = [np.zeros_like(w) for w in weights], [np.zeros_like(b) for b in biases]
    for x, y in zip(inputs, targets, strict=True):
        a_s = [x.reshape(-1, 1)]
        for w, b in zip(weights, biases, strict=True):
            a_s.append(1 / (1 + np.exp(-(w @ a_s[-1] + b))))
        from_above = 2 * factor * (a_s[-1] - y.reshape(-1, 1))
        for layer in reversed(range(len(weights))):
            delta = from_above * a_s[layer + 1] * (1 - a_s[layer + 1])
            nabla_w[layer] += delta @ a_s[layer].T
            nabla_b[layer] += delta
            from_above = weights[layer].T @ delta
    return nabla_w, nabla_b


@pytest.mark.parametrize(("loss", "factor"), [("quadratic", 1 / 2), ("mean_squared", 1 / 4)])
def test_ten_steps_equal_a_reference_that_loops_over_the_samples(loss, factor):
    network = Network((6, 7, 5, 4), loss=loss, dtype=np.float64)
    parameters, inputs, targets = random_case(network, 80)
    weights = [layer.weights.copy() for layer in network.layers(parameters)]
    biases = [layer.biases.reshape(-1, 1).copy() for layer in network.layers(parameters)]
    gradient, sgd, rate, micro_batch = np.empty_like(parameters), SGD(3.0), 3.0, 8
    for start in range(0, 80, micro_batch):
        x, y = inputs[start : start + micro_batch], targets[start : start + micro_batch]
        network.backprop(parameters, x, y, gradient)
        sgd.update(parameters, gradient, micro_batch, NO_STATE, parameters, NO_STATE)
        for own, nablas in zip(
            (weights, biases), reference_gradient(weights, biases, x, y, factor), strict=True
        ):
            for array, nabla in zip(own, nablas, strict=True):
                np.subtract(array, rate / micro_batch * nabla, out=array)
    parts = [part for pair in zip(weights, biases, strict=True) for part in pair]
    expected = np.concatenate([part.ravel() for part in parts])
    assert np.abs(parameters - expected).max() / np.abs(expected).max() < 1e-12


@pytest.mark.parametrize(
    ("activation", "theirs"), [("sigmoid", "logistic"), ("tanh", "tanh"), ("relu", "relu")]
)
def test_outputs_loss_and_step_equal_those_of_scikit_learn(activation, theirs):
    network = Network((5, 7, 3), activation, "softmax", "cross_entropy", np.float64)
    parameters, inputs, _ = random_case(network, 12)
    labels = np.arange(12) % 3
    model = MLPClassifier((7,), activation=theirs, solver="sgd", alpha=0, momentum=0, batch_size=12)
    model.set_params(learning_rate_init=0.5, shuffle=False)
    model.partial_fit(inputs, labels, classes=[0, 1, 2])  # to have the arrays allocated
    for index, layer in enumerate(network.layers(parameters)):
        model.coefs_[index][...] = layer.weights.T
        model.intercepts_[index][...] = layer.biases
    np.testing.assert_allclose(
        network.feedforward(parameters, inputs), model.predict_proba(inputs), rtol=1e-12
    )
    gradient = np.empty_like(parameters)
    loss_sum = network.backprop(parameters, inputs, np.eye(3)[labels], gradient)
    model.partial_fit(inputs, labels)
    assert loss_sum / 12 == pytest.approx(model.loss_, rel=1e-12)
    SGD(0.5).update(parameters, gradient, 12, NO_STATE, parameters, NO_STATE)
    for index, layer in enumerate(network.layers(parameters)):
        np.testing.assert_allclose(layer.weights.T, model.coefs_[index], rtol=1e-10)
        np.testing.assert_allclose(layer.biases, model.intercepts_[index], rtol=1e-10)


LOGS = [math.log(1), math.log(2), math.log(3), math.log(4)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("output", "loss", "z", "y", "expected"),
    [
        # The squares are 1/4 + 1 + 4 + 0 = 21/4; quadratic halves, mean_squared divides by 4.
        ("identity", "quadratic", [0.5, -1, 2, 0], [1, 0, 0, 0], 21 / 8),
        ("identity", "mean_squared", [0.5, -1, 2, 0], [1, 0, 0, 0], 21 / 16),
        # sigmoid(ln 3) = 3/4 and sigmoid(0) = 1/2.
        ("sigmoid", "quadratic", [math.log(3), 0, 0, 0], [1, 0, 0, 1], (1 / 16 + 3 / 4) / 2),
        (
            "sigmoid",
            "cross_entropy",
            [math.log(3), 0, 0, 0],
            [1, 0, 0, 1],
            math.log(4 / 3) + 3 * math.log(2),
        ),
        # softmax(ln 1 ... ln 4) = 0.1, 0.2, 0.3, 0.4.
        ("softmax", "mean_squared", LOGS, [0, 0, 0, 1], (0.01 + 0.04 + 0.09 + 0.36) / 4),
        ("softmax", "cross_entropy", LOGS, [0, 0, 1, 0], math.log(10 / 3)),
    ],
)
def test_losses_equal_values_worked_out_by_hand(output, loss, z, y, expected, dtype):
    network, parameters = pass_through(4, output, loss, dtype)
    inputs, targets = np.array([z, z], dtype), np.array([y, y], dtype)
    within = {"rel": 1e-6 if dtype == np.float32 else 1e-14}
    loss_sum = network.backprop(parameters, inputs, targets, np.empty_like(parameters))
    assert loss_sum == pytest.approx(2 * expected, **within)  # two rows: a sum
    mean = network.evaluate(parameters, inputs, targets).loss
    assert mean == pytest.approx(expected, **within)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_has_its_limits_at_extreme_values_without_overflow(dtype):
    top = np.finfo(dtype).max
    z = np.array([[-np.inf, -top, -1e4, 0, 1e4, top, np.inf]], dtype)
    out = np.empty_like(z)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        Sigmoid().forward(z, out, Workspace(1, [7], np.dtype(dtype)).scratches[0])
    assert out[0, 3:].tolist() == [0.5, 1, 1, 1]
    # Below, e^z is no number of the dtype; about the smallest one it has stands for it.
    assert (out[0, :3] >= 0).all()
    assert (out[0, :3] < 2 * np.finfo(dtype).tiny).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_cross_entropy_of_huge_z_is_finite(output, size, dtype):
    network, parameters = pass_through(2, output, "cross_entropy", dtype)
    gradient = np.empty_like(parameters)
    inputs, targets = np.array([[size, -size]], dtype), np.array([[0, 1]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        loss_sum = network.backprop(parameters, inputs, targets, gradient)
    # By hand: ln(1 + e^s) - 0 + ln(1 + e^-s) + s and s + s are both 2 s, to rounding.
    assert loss_sum == pytest.approx(2 * size, rel=1e-6)
    assert network.layers(gradient)[0].biases == pytest.approx([1, -1])  # a - y


@pytest.mark.parametrize("scheme", ["scaled", "gaussian"])
def test_initial_weights_have_their_variance(scheme):
    network = Network((400, 200, 50), dtype=np.float64)
    for weights, biases in network.layers(network.initial_parameters(1, scheme)):
        variance = 1 / weights.shape[1] if scheme == "scaled" else 1
        for array, expected in ((weights, variance), (biases, 1)):
            # An estimated variance deviates by sqrt(2 / n) of itself; five times that is allowed.
            allowed = 5 * math.sqrt(2 / array.size)
            assert array.var() == pytest.approx(expected, rel=allowed)
            assert abs(array.mean()) < 5 * math.sqrt(expected / array.size)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_seed_gives_the_same_bytes_and_another_seed_others(dtype):
    network = Network((20, 10, 5), dtype=dtype)
    initial = network.initial_parameters(7)
    assert initial.dtype == dtype
    assert initial.tobytes() == network.initial_parameters(7).tobytes()
    assert initial.tobytes() != network.initial_parameters(8).tobytes()


def test_layers_are_views_with_weights_before_biases():
    # By hand: 2 x 3 weights and 3 biases, then 3 weights and 1 bias.
    assert spans_of((2, 3, 1)) == [(0, 6, 9, (3, 2)), (9, 12, 13, (1, 3))]
    vector = np.arange(13, dtype=np.float32)
    first, second = Network((2, 3, 1)).layers(vector)
    assert first.weights.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert (first.biases.tolist(), second.biases.tolist()) == ([6, 7, 8], [12])
    second.weights[0, 2] = -1
    assert vector[11] == -1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_backprop_writes_out_in_full_and_nothing_else(output, loss, dtype):
    network = Network((9, 6, 4), "tanh", output, loss, dtype)
    case = random_case(network, 5)
    before = [array.tobytes() for array in case]
    from_nan, from_zero = np.full_like(case[0], np.nan), np.zeros_like(case[0])
    assert network.backprop(*case, from_nan) == network.backprop(*case, from_zero)
    assert np.isfinite(from_nan).all()
    assert from_nan.tobytes() == from_zero.tobytes()
    assert [array.tobytes() for array in case] == before


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("elements", [1, 2, 3, 6])
def test_backprop_gives_the_same_bits_at_whatever_element_the_arrays_begin(elements, dtype):
    """Off the elements' own alignment NumPy hands BLAS a copy in another layout, and some CPUs'
    kernels then give other bits; no array of ours begins there: see `test_buffers.py`."""
    network = Network((64, 30, 10), dtype=dtype)
    offset = elements * np.dtype(dtype).itemsize
    case = random_case(network, 4)
    expected, gradient = np.empty_like(case[0]), misaligned(case[0], offset)
    loss_sum = network.backprop(*case, expected)
    moved = [misaligned(array, offset) for array in case]
    for _ in range(3):
        gradient[...] = np.nan
        assert network.backprop(*moved, gradient) == loss_sum
        assert gradient.tobytes() == expected.tobytes()


def test_feedforward_returns_memory_of_its_own():
    network = Network((3, 4, 2))
    parameters, inputs, _ = random_case(network, 5)
    first = network.feedforward(parameters, inputs)
    kept = first.copy()
    second = network.feedforward(parameters, -inputs)
    assert not np.shares_memory(first, second)
    assert first.tobytes() == kept.tobytes() != second.tobytes()


@pytest.mark.parametrize("row_count", [1, 512, 513, 1300])
def test_evaluation_equals_a_plain_computation_row_by_row(row_count):
    network = Network((6, 8, 4), "tanh", "softmax", "cross_entropy", np.float64)
    parameters, inputs, _ = random_case(network, row_count)
    classes = np.random.default_rng(5).integers(0, 4, row_count)
    (w1, b1), (w2, b2) = network.layers(parameters)
    confusion, loss_sum, outputs = np.zeros((4, 4), int), 0.0, []
    for x, true in zip(inputs, classes, strict=True):
        e = np.exp(w2 @ np.tanh(w1 @ x + b1) + b2)
        outputs.append(e / e.sum())
        loss_sum -= math.log(outputs[-1][true])
        confusion[true, np.argmax(outputs[-1])] += 1
    result = network.evaluate(parameters, inputs, np.eye(4)[classes])
    assert result.confusion.tolist() == confusion.tolist()
    assert result.accuracy == np.trace(confusion) / row_count
    assert result.loss == pytest.approx(loss_sum / row_count, rel=1e-12)
    np.testing.assert_allclose(network.feedforward(parameters, inputs), outputs, rtol=1e-12)


def test_network_survives_pickling():
    network = Network((5, 4, 3), "relu", "softmax", "cross_entropy", np.float64)
    case = random_case(network, 6)
    first, second = np.empty_like(case[0]), np.empty_like(case[0])
    loss_sum = network.backprop(*case, first)  # a used network has scratch memory
    copy = pickle.loads(pickle.dumps(network))
    assert copy.backprop(*case, second) == loss_sum
    assert (copy.sizes, copy.dtype, second.tobytes()) == ((5, 4, 3), network.dtype, first.tobytes())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": (3,)}, r"sizes \[3\]; at least two layers"),
        ({"sizes": (3, 0)}, r"sizes \[3, 0\]; at least two layers of 1 or more"),
        ({"activation": "swish"}, "activation 'swish'; allowed: sigmoid, tanh, relu"),
        ({"output": "tanh"}, "output 'tanh'; allowed: sigmoid, softmax, identity"),
        ({"loss": "hinge"}, "loss 'hinge'; allowed: quadratic, mean_squared, cross_entropy"),
        ({"dtype": np.float16}, "dtype 'float16'; allowed: float32, float64"),
        (
            {"output": "identity", "loss": "cross_entropy"},
            "cross_entropy does not go with output identity; use output sigmoid or softmax",
        ),
    ],
)
def test_an_impossible_network_is_refused_and_the_choices_named(arguments, message):
    with pytest.raises(ShapeError, match=message):
        Network(**{"sizes": (3, 2), **arguments})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((7,), (5, 3), (5, 2), (8,)), r"3-2: parameters have shape \(7,\), expected \(8,\)"),
        (((8,), (5, 4), (5, 2), (8,)), r"3-2: inputs have shape \(5, 4\), expected \(5, 3\)"),
        (((8,), (5, 3), (5, 3), (8,)), r"3-2: targets have shape \(5, 3\), expected \(5, 2\)"),
        (((8,), (5, 3), (4, 2), (8,)), r"3-2: targets have shape \(4, 2\), expected \(5, 2\)"),
        (((8,), (5, 3), (5, 2), (9,)), r"3-2: out have shape \(9,\), expected \(8,\)"),
    ],
)
def test_backprop_names_the_array_that_does_not_fit(shapes, message):
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    with pytest.raises(ShapeError, match=message):
        Network((3, 2)).backprop(*arrays)


def test_feedforward_and_evaluate_name_the_array_that_does_not_fit():
    network = Network((3, 2))
    parameters, wide = network.initial_parameters(0), np.zeros((5, 4), np.float32)
    with pytest.raises(ShapeError, match=r"inputs have shape \(5, 4\), expected \(5, 3\)"):
        network.feedforward(parameters, wide)
    with pytest.raises(ShapeError, match=r"targets have shape \(5, 4\), expected \(5, 2\)"):
        network.evaluate(parameters, wide[:, :3], wide)
