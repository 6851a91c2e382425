"""scikit-learn's `MLPClassifier` in one process: sgd without momentum, on all cores as it likes.

`partial_fit` makes one pass over the rows that it is given, batch after batch. It is given all
steps' rows at once, in their order, so that one call takes exactly those steps: what it checks
before them is paid once, and it need not gather rows. A first call of one batch makes its arrays;
then the weights to begin with are written into them.
"""

import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import turn
from benchmarks.cases import CLASSES, LEARNING_RATE, SEED, Case, load, network_of


def main() -> int:
    """The turn; its exit status."""
    options = turn.begin(turn.arguments(__doc__), "sklearn")
    import sklearn.neural_network  # noqa: F401 - start-up

    turn.write(options, turn.take(options, train))
    return 0


def train(case: Case, folder: Path) -> turn.Trained:
    """One call of `partial_fit`."""
    from sklearn.neural_network import MLPClassifier

    work = load(case, folder)
    classifier = MLPClassifier(
        hidden_layer_sizes=case.sizes[1:-1],
        activation={"sigmoid": "logistic", "relu": "relu"}[case.activation],
        solver="sgd",
        alpha=0.0,
        batch_size=case.batch,
        learning_rate_init=LEARNING_RATE,
        momentum=0.0,
        nesterovs_momentum=False,
        shuffle=False,
        random_state=SEED,
    )
    rows = work.order.ravel()
    inputs, labels = work.inputs[rows], work.labels[rows]
    classifier.partial_fit(inputs[: case.batch], labels[: case.batch], classes=np.arange(CLASSES))
    for layer, weights, biases in zip(
        network_of(case).layers(work.parameters),
        classifier.coefs_,
        classifier.intercepts_,
        strict=True,
    ):
        weights[...], biases[...] = layer.weights.T, layer.biases
    first_s = time.monotonic()
    classifier.partial_fit(inputs, labels)
    last_s = time.monotonic()
    return turn.Trained(first_s, last_s, _flat(classifier.coefs_, classifier.intercepts_))


def _flat(
    coefs: list[NDArray[np.float32]], intercepts: list[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """As `Network.layers` divides it."""
    pairs = zip(coefs, intercepts, strict=True)
    return np.concatenate([part for w, b in pairs for part in (w.T.ravel(), b)])


if __name__ == "__main__":
    sys.exit(main())
