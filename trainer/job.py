"""A configuration and its data as a job for the actors: the one place where both meet."""

from actors.cluster import Cluster, Job, initial_state
from actors.messages import Snapshot, Vector
from actors.objectives import BatchLoss
from actors.supervisor import Crew, Intensity, Supervision
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


def build_job(
    config: Config, network: Network, dataset: Dataset, state: Snapshot | None = None
) -> Job:
    """The job from `state` on; None: from the beginning."""
    training = config.training
    optimizer = SGD(training.learning_rate)
    if state is None:
        parameters = network.initial_parameters(training.seed, config.network.initial_weights)
        state = initial_state(parameters, optimizer.init(parameters))
    shards = cut(dataset, training.shards, training.batch_size, training.seed)
    return Job(NetworkObjective(network), optimizer, shards, state)


def build_crew(config: Config) -> Crew:
    """Whom to start, how often again, and how long to be patient."""
    cluster, supervision = config.cluster, config.supervision
    return Crew(
        cluster.min_workers,
        cluster.max_workers,
        Supervision(
            Intensity(supervision.worker.max_restarts, supervision.worker.period_s),
            Intensity(supervision.server.max_restarts, supervision.server.period_s),
        ),
        cluster.link_timeout_s,
        cluster.start_timeout_s,
    )


def build_cluster(config: Config, job: Job) -> Cluster:
    """The configured cluster, not yet started; Ray is imported only where it is used."""
    if config.cluster.kind == "local":
        from actors.local_cluster import LocalCluster

        return LocalCluster(job, config.cluster.max_workers)
    from actors.ray_cluster import RayCluster

    return RayCluster(job, build_crew(config), config.cluster.address)
