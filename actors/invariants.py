"""What must hold at every moment of a training, whatever happens: watched from outside.

The undisturbed run is recorded step by step. Then every message that carries state is
compared with it, bit by bit, as soon as it is sent: so a wrong sum is found in the step in
which it arises, not at the end.
"""

from collections.abc import Mapping

from actors.cluster import Job
from actors.errors import EverstepError
from actors.local_cluster import LocalCluster
from actors.messages import EpochDone, RunEpoch, Snapshot, Vector, Weights
from actors.orders import Assigned, Died, DriverMessage, Message

Trajectory = Mapping[int, Snapshot]  # by step


class InvariantError(EverstepError):
    """Something that must always hold did not."""


def undisturbed_trajectory(job: Job, steps: int, steps_per_epoch: int) -> Trajectory:
    """The state after each step of a run with one worker in one process."""
    trajectory = {job.state.step: job.state}
    with LocalCluster(job, 1) as cluster:
        while (step := max(trajectory)) < steps:
            cluster.run_epoch(RunEpoch(step // steps_per_epoch, step + 1))
            while (heard := cluster.receive()) is not None:
                if isinstance(heard.message, EpochDone):
                    trajectory[heard.message.step] = heard.message
                    break
    return trajectory


class Invariants:
    """Checks what is sent; `InvariantError` names what does not hold."""

    def __init__(self, trajectory: Trajectory, shard_count: int) -> None:
        self._trajectory = trajectory
        self._shard_count = shard_count
        self._steps: dict[str, int] = {}  # of each server process
        self._held: dict[str, tuple[int, ...]] = {}

    def sent(self, sender: str, message: Message) -> None:
        """A process sends a message on a link."""
        if isinstance(message, Weights):
            self._same(message.step, message.parameters)
            self._goes_up(sender, message.step)
        elif isinstance(message, Snapshot):
            self._same(message.step, message.parameters)
            self._goes_up(sender, message.step)
            self._counted(message)

    def told(self, message: DriverMessage) -> None:
        """The coordinator tells the driver something."""
        match message:
            case Assigned(name, shards):
                self._held[name] = shards
            case Died(name):
                self._held.pop(name, None)
            case _:
                pass

    def settled(self) -> None:
        """The coordinator has answered: with a worker there, each shard has one holder."""
        held = sorted(shard for shards in self._held.values() for shard in shards)
        if self._held and held != list(range(self._shard_count)):
            raise InvariantError(f"the shards are held like this: {self._held}")

    def _same(self, step: int, parameters: Vector) -> None:
        if step not in self._trajectory:
            raise InvariantError(f"step {step} does not exist")
        if parameters.tobytes() != self._trajectory[step].parameters.tobytes():
            raise InvariantError(f"other bytes than undisturbed after step {step}")

    def _goes_up(self, server: str, step: int) -> None:
        if step < self._steps.get(server, step):
            raise InvariantError(f"{server} went back from step {self._steps[server]} to {step}")
        self._steps[server] = step

    def _counted(self, state: Snapshot) -> None:
        expected = self._trajectory[state.step]
        ours = (state.epoch, state.sample_count, state.loss_sum.hex())
        theirs = (expected.epoch, expected.sample_count, expected.loss_sum.hex())
        begun = (expected.epoch + 1, 0, (0.0).hex())  # the next epoch, before its first step
        if state.step and ours not in (theirs, begun):
            raise InvariantError(
                f"after step {state.step} epoch, samples and loss are {ours}, undisturbed {theirs}"
            )
