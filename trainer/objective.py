"""A network as what the actors train. A worker's process loads this, and no configuration."""

from actors.messages import Vector
from actors.objectives import BatchLoss
from trainer.network import Network
from trainer.shards import Batch


class NetworkObjective:
    """A network's summed loss over a micro-batch, as `actors.objectives.Objective`."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def gradient(self, parameters: Vector, batch: Batch, out: Vector) -> BatchLoss:
        loss_sum = self._network.backprop(parameters, batch.inputs, batch.targets, out)
        return BatchLoss(loss_sum, len(batch.inputs))
