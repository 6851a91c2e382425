"""What the coordinator's orders come to on Ray, where a process or its host may be gone."""

import os
import signal

import pytest
import ray

from actors.messages import EpochDone, RunEpoch
from actors.orders import Died, Failed, Joined
from actors.ray_cluster import RayCluster
from actors.supervisor import Crew
from tests.toys import toy_job, undisturbed

pytestmark = pytest.mark.usefixtures("ray_session")


def test_a_worker_that_can_not_be_killed_because_its_host_is_gone_fails_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray then waits in vain for the host; once its timeout ended the coordinator."""
    job = toy_job(4)
    asked: list[tuple[str, int]] = []

    def unreachable(host: str, process_id: int, number: int, own_host: str) -> bool:
        asked.append((host, number))
        raise ray.exceptions.GetTimeoutError("no node has the resource")

    with RayCluster(job, Crew(2, 2)) as cluster:
        monkeypatch.setattr("actors.ray_cluster._signal", unreachable)
        cluster._mailbox._coordinator._presence.forget("worker-1")
        cluster._mailbox._coordinator._presence.heard("worker-1", -1e9)  # silent for ever
        cluster.run_epoch(RunEpoch(0, 20))
        messages = []
        while not messages or not isinstance(messages[-1], Failed | EpochDone):
            heard = cluster.receive(60.0)
            assert heard is not None
            messages.append(heard.message)
        while not any(isinstance(message, Died | Failed) for message in messages):
            heard = cluster.receive(60.0)
            assert heard is not None
            messages.append(heard.message)
    assert len(asked) == 1
    assert asked[0][1] == signal.SIGKILL
    assert [message.name for message in messages if isinstance(message, Died)] == ["worker-1"]
    (done,) = [message for message in messages if isinstance(message, EpochDone)]
    assert done.parameters.tobytes() == undisturbed(job, 20).parameters.tobytes()


def test_a_signal_reaches_a_living_process_and_no_other() -> None:
    with RayCluster(toy_job(4), Crew(1, 1)) as cluster:
        joined = {}
        while (heard := cluster.receive(0.0)) is not None:
            if isinstance(heard.message, Joined):
                joined[heard.message.name] = heard.message
        assert cluster.signal("worker-0", 0)  # signal 0 only asks whether it is there
        assert not cluster.signal("worker-9", signal.SIGKILL)
        os.kill(joined["worker-0"].process_id, signal.SIGKILL)
        while not isinstance((heard := cluster.receive(60.0)) and heard.message, Died):
            assert heard is not None
        assert not cluster.signal("worker-0", signal.SIGKILL)
