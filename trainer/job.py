"""A configuration and its data as a job for the actors: the one place where both meet."""

from actors.cluster import Cluster, Job
from actors.messages import Vector
from actors.objectives import BatchLoss
from trainer.config import Config
from trainer.datasets import Dataset
from trainer.network import Network
from trainer.optimizers import SGD
from trainer.shards import Batch, cut


class NetworkObjective:
    """A network's summed loss over a micro-batch, as `actors.objectives.Objective`."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def gradient(self, parameters: Vector, batch: Batch, out: Vector) -> BatchLoss:
        loss_sum = self._network.backprop(parameters, batch.inputs, batch.targets, out)
        return BatchLoss(loss_sum, len(batch.inputs))


def build_network(config: Config) -> Network:
    """The configured network."""
    network = config.network
    return Network(
        network.sizes, network.activation, network.output, network.loss, config.training.dtype
    )


def build_job(config: Config, network: Network, dataset: Dataset) -> Job:
    """The job at step 0."""
    training = config.training
    optimizer = SGD(training.learning_rate)
    parameters = network.initial_parameters(training.seed, config.network.initial_weights)
    return Job(
        NetworkObjective(network),
        optimizer,
        cut(dataset, training.shards, training.batch_size, training.seed),
        parameters,
        optimizer.init(parameters),
    )


def build_cluster(config: Config, job: Job) -> Cluster:
    """The configured cluster, not yet started; Ray is imported only where it is used."""
    cluster = config.cluster
    if cluster.kind == "local":
        from actors.local_cluster import LocalCluster

        return LocalCluster(job, cluster.workers)
    from actors.ray_cluster import RayCluster

    return RayCluster(
        job, cluster.workers, cluster.address, cluster.link_timeout_s, cluster.start_timeout_s
    )
