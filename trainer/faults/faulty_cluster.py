"""Any cluster, with a plan of faults around it: the driver does not notice the difference."""

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from actors.cluster import Cluster, Heard
from actors.messages import RunEpoch
from actors.orders import Ready
from trainer.faults.injection import FaultInjector, Told
from trainer.faults.log import FaultRecord
from trainer.faults.plan import Plan
from trainer.storage.place import Place
from trainer.write_troubles import WriteTroubles


class FaultyCluster:
    """Offers `actors.cluster.Cluster`; the faults begin once the actors are there."""

    def __init__(
        self,
        cluster: Cluster,
        plan: Plan,
        folder: Place,
        step: int = 0,
        told: Told | None = None,
        troubles: WriteTroubles | None = None,
    ) -> None:
        """Wrap a cluster that is not yet entered; the arguments are `FaultInjector`'s."""
        self._cluster = cluster
        self._injector = FaultInjector(plan, cluster.signal, folder, step, told, troubles)
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        self._exits.enter_context(self._cluster)
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """First everybody goes on who was stopped, then all can leave in order."""
        self._exits.__exit__(error_type, error, traceback)

    @property
    def records(self) -> tuple[FaultRecord, ...]:
        """What became of each fault; complete once the `with` block has ended."""
        return self._injector.records

    @property
    def unwritten(self) -> str:
        """Why faults.jsonl lacks its last lines; empty: it does not, as far as is known."""
        return self._injector.unwritten

    def run_epoch(self, epoch: RunEpoch) -> None:
        self._cluster.run_epoch(epoch)

    def take_snapshot(self) -> None:
        self._cluster.take_snapshot()

    def take_times(self) -> list[str]:
        return self._cluster.take_times()

    def receive(self, timeout_s: float | None = None) -> Heard | None:
        heard = self._cluster.receive(timeout_s)
        if heard is not None:
            self._injector.hear(heard)
            if isinstance(heard.message, Ready):
                self._exits.enter_context(self._injector)
        return heard

    def signal(self, name: str, number: int) -> bool:
        return self._cluster.signal(name, number)
