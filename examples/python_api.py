"""Train, look at the network, and see that the number of workers changes nothing."""

import numpy as np

from trainer import Config, train
from trainer.datasets import load_dataset

config = Config(
    network={"sizes": (64, 40, 10), "output": "softmax", "loss": "cross_entropy"},
    training={"epochs": 10, "learning_rate": 0.5},
    cluster={"kind": "local", "workers": 1},
)
result = train(config)
print(f"accuracy {result.accuracy:.3f}, digest {result.digest[:16]}")

dataset = load_dataset(config)
outputs = result.network.feedforward(result.parameters, dataset.test_inputs[:5])
print("predicted", np.argmax(outputs, axis=1), "true", np.argmax(dataset.test_targets[:5], axis=1))

again = train(config.with_changes(cluster={"workers": 4}))
print("4 workers, the same bytes:", again.digest == result.digest)
