"""A configuration and its data as a job for the actors: the one place where both meet."""

from actors.cluster import Cluster, Job, initial_state
from actors.messages import Snapshot
from actors.placement import Needs
from actors.supervisor import Crew, Intensity, Supervision
from trainer.config import Config
from trainer.datasets import Dataset
from trainer.local_steps import LocalSteps, RoundShard, rounds_of
from trainer.network import Network
from trainer.objective import NetworkObjective
from trainer.optimizers import SGD, Average
from trainer.shards import cut


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
    objective, descent = NetworkObjective(network), SGD(training.learning_rate)
    if state is None:
        parameters = network.initial_parameters(training.seed, config.network.initial_weights)
        state = initial_state(parameters, descent.init(parameters))
    shards = cut(dataset, training.shards, training.batch_size, training.seed)
    if training.local_steps == 1:
        return Job(objective, descent, shards, state)
    rounds = rounds_of(training, len(dataset.train_inputs))
    return Job(
        LocalSteps(objective, descent),
        Average(training.shards),
        [RoundShard(shard, rounds) for shard in shards],
        state,
    )


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
        Needs(cluster.worker_cpus, tuple(cluster.worker_resources.items())),
    )


def build_cluster(config: Config, job: Job) -> Cluster:
    """The configured cluster, not yet started; Ray is imported only where it is used."""
    if config.cluster.kind == "local":
        from actors.local_cluster import LocalCluster

        return LocalCluster(job, config.cluster.max_workers)
    from actors.ray_cluster import RayCluster

    cluster = config.cluster
    return RayCluster(job, build_crew(config), cluster.address, ports=cluster.ports)
