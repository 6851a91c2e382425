"""Whatever happens to whatever actor, one digest; and cores that are broken are caught."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actors.assignment import Assignment
from actors.buffers import ArrayPool
from actors.coordinator import Coordinator
from actors.errors import ClusterError
from actors.invariants import Invariants
from actors.messages import SERVER, Dx, Hello, RunEpoch, ServerAt, Snapshot
from actors.names import slot_of
from actors.orders import CLUSTER, Died, DriverMessage, Envelope, Joined, Placed, Start
from actors.parameter_server import ParameterServer
from actors.reduction import Node, Partial, Reduction, combine
from actors.simulation import Simulation
from actors.worker import Worker
from tests.toys import toy_job

EPOCHS, STEPS_PER_EPOCH = 3, 3
CASES = [(1, 1), (1, 3), (2, 2), (3, 2), (5, 3), (8, 2), (8, 5)]  # (shards, workers)
SCHEDULES = 300  # for each: 2,100 in all
SEEDS = 400  # within so many, each broken core is caught

HARM = {
    "kill worker", "kill server", "kill driver", "die at start", "hang at start", "pause", "wake",
    "cut off",
    "cut link", "repeat message", "delay link", "reorder", "jump in time",
}  # fmt: skip


def simulation(shard_count: int, worker_count: int) -> Simulation:
    job = toy_job(shard_count, size=5, rows=1)
    return Simulation(job, EPOCHS, STEPS_PER_EPOCH, worker_count)


def state_of(snapshot: Snapshot) -> tuple[object, ...]:
    """All of it, to the bit."""
    arrays = snapshot.parameters.tobytes(), snapshot.optimizer_state.tobytes()
    sums = snapshot.sample_count, snapshot.loss_sum.hex()
    return snapshot.epoch, snapshot.step, *sums, *arrays


@pytest.fixture(scope="module")
def seen() -> Counter[str]:
    """What all the schedules below did and led to."""
    return Counter()


def count_the_silent(patch: pytest.MonkeyPatch, seen: Counter[str]) -> None:
    """Who died of silence by the coordinator's own words: linked, or before the first one."""

    class Watched(Invariants):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.joined: set[str] = set()

        def told(self, message: DriverMessage) -> None:
            super().told(message)
            if isinstance(message, Joined):
                self.joined.add(message.name)
            elif isinstance(message, Died) and message.reason.startswith("silent for more than "):
                kind = "server" if slot_of(message.name) == SERVER else "worker"
                before = "" if message.name in self.joined else " before its Hello"
                seen[f"silent {kind}{before}"] += 1

    patch.setattr("actors.simulation.Invariants", Watched)


def run_schedules(case: tuple[int, int], seen: Counter[str], patch: pytest.MonkeyPatch) -> None:
    """All schedules of (shards, workers), compared; what happened in them goes into `seen`."""
    simulated = simulation(*case)
    expected = state_of(simulated.trajectory[EPOCHS * STEPS_PER_EPOCH])
    count_the_silent(patch, seen)

    for seed in range(SCHEDULES):
        outcome = simulated.run(seed)
        assert state_of(outcome.done) == expected, f"seed {seed}"
        seen.update(outcome.harm + outcome.facts)
        seen["schedules"] += 1
    seen[f"all of {case}"] = SCHEDULES


@pytest.mark.parametrize("case", CASES)
def test_every_schedule_ends_with_the_undisturbed_bytes(
    case: tuple[int, int], seen: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_schedules(case, seen, monkeypatch)
    assert seen[f"all of {case}"] == SCHEDULES


def test_all_kinds_of_harm_were_done_and_all_kinds_of_recovery_happened(
    seen: Counter[str],
) -> None:
    for case in CASES:  # those that the test above has not run, when this one runs alone
        if not seen[f"all of {case}"]:
            with pytest.MonkeyPatch.context() as patch:
                run_schedules(case, seen, patch)
    assert seen["schedules"] >= 2000
    done = {kind: seen[kind] for kind in HARM}
    assert min(done.values()) > 100, done
    recovered = {k: seen[k] for k in ("Restarting", "Suspected", "Stall", "Snapshot", "Repeated")}
    assert min(recovered.values()) > 100, recovered
    silent = {
        f"silent {kind}{when}": seen[f"silent {kind}{when}"]
        for kind in ("server", "worker")
        for when in ("", " before its Hello")
    }
    assert min(silent.values()) > 100, silent


def test_one_seed_is_one_schedule() -> None:
    simulated = simulation(4, 4)
    stories: list[list[str]] = []
    for seed in (7, 7, 8):
        stories.append([])
        simulated.run(seed, stories[-1].append)
    assert stories[0] == stories[1] != stories[2]


def test_a_schedule_can_be_replayed_message_by_message() -> None:
    story: list[str] = []
    outcome = simulation(4, 3).run(3, story.append)
    assert (
        sum(line.startswith("*** the driver dies") for line in story)
        == (outcome.harm["kill driver"])
    )
    died = [line for line in story if re.fullmatch(r"\*\*\* (worker|server)\S* dies", line)]
    assert len(died) == outcome.harm["kill worker"] + outcome.harm["kill server"] > 0
    told = re.compile(r" *\d+\.\d\d s  server\S* <- worker-\d\S*: Dx\(step=\d, start=\d, stop=\d, ")
    assert any(told.match(line) for line in story)
    assert all(line.startswith("*** ") or " <- " in line for line in story)


def test_who_is_given_up_and_lives_on_speaks_to_the_others_hears_of_it_and_leaves() -> None:
    seen: Counter[str] = Counter()
    for seed in range(400):
        story: list[str] = []
        simulation(5, 3).run(seed, story.append)
        for number, line in enumerate(story):
            if given_up := re.fullmatch(r"\*\*\* (\S+) is given up, and lives on", line):
                name, rest = given_up[1], story[number:]
                kind = "server" if slot_of(name) == SERVER else "worker"
                seen[f"{kind} speaks"] += any(f" <- {name}: " in line for line in rest)
                seen[f"{kind} leaves"] += f"*** {name} leaves" in rest
    assert len(seen) == 4
    assert min(seen.values()) > 10, seen


# --- Cores that are broken on purpose


Patch = Callable[[pytest.MonkeyPatch], None]


def count_a_gradient_twice(patch: pytest.MonkeyPatch) -> None:
    plain_offer = Reduction.offer

    def offer(self: Reduction, node: Node, partial: Partial) -> bool:
        again = self._held.get(node)
        taken = plain_offer(self, node, partial)
        if not taken and again is not None:
            self._held[node] = combine(again, partial, out=np.empty_like(partial.gradient))
        return taken

    patch.setattr(Reduction, "offer", offer)


class InOrderOfArrival:
    """Sums leaves and nodes as they come; each shard still counts once."""

    def __init__(self, tree: Any, take: object) -> None:
        self._shards: set[int] = set()
        self._all = range(tree.root.stop)
        self._sum: Partial | None = None

    def offer(self, node: Node, partial: Partial) -> bool:
        if not self._shards.isdisjoint(range(*node)):
            return False
        self._shards |= set(range(*node))
        out = np.empty_like(partial.gradient)
        self._sum = combine(self._sum, partial, out) if self._sum else partial
        return True

    @property
    def missing(self) -> tuple[int, ...]:
        return tuple(shard for shard in self._all if shard not in self._shards)

    @property
    def total(self) -> Partial | None:
        return None if self.missing else self._sum


def add_in_the_order_of_arrival(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("actors.parameter_server.Reduction", InOrderOfArrival)


def forget_the_shards_of_the_dead(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("actors.assignment.take_over", lambda held, shards: dict(held))


def restore(state: Callable[[Snapshot], Snapshot]) -> Patch:
    """Servers that start from something else than their snapshot."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        plain_init = ParameterServer.__init__

        def init(
            self: ParameterServer,
            name: str,
            optimizer: Any,
            shard_count: int,
            from_: Snapshot,
            seen_step: int,
        ) -> None:
            plain_init(self, name, optimizer, shard_count, state(from_), seen_step)

        patch.setattr(ParameterServer, "__init__", init)

    return mutate


def take_a_gradient_of_another_step(patch: pytest.MonkeyPatch) -> None:
    plain_dx = ParameterServer._dx

    def dx(self: ParameterServer, message: Dx) -> list[Envelope]:
        return plain_dx(self, replace(message, step=self._step))

    patch.setattr(ParameterServer, "_dx", dx)


def take_a_late_gradient_into_the_next_step(patch: pytest.MonkeyPatch) -> None:
    plain_dx = ParameterServer._dx

    def dx(self: ParameterServer, message: Dx) -> list[Envelope]:
        is_late = message.step == self._step - 1
        return plain_dx(self, replace(message, step=self._step) if is_late else message)

    patch.setattr(ParameterServer, "_dx", dx)


def never_reconnect(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Worker, "_tick", lambda self, now_s: [])


def compute_nothing_that_is_taken_over(patch: pytest.MonkeyPatch) -> None:
    def assign(self: Worker, shards: frozenset[int]) -> list[Envelope]:
        self._assigned = shards
        return []

    patch.setattr(Worker, "_assign", assign)


def compute_the_last_step_again(patch: pytest.MonkeyPatch) -> None:
    """The micro-batch does not follow the step."""
    plain_leaf = Worker._leaf

    def leaf(self: Worker, shard: int, weights: Any, pool: ArrayPool) -> Partial:
        return plain_leaf(self, shard, replace(weights, step=max(0, weights.step - 1)), pool)

    patch.setattr(Worker, "_leaf", leaf)


def write_the_weights_in_place(patch: pytest.MonkeyPatch) -> None:
    """While they are still on their way to a worker."""

    def update(self: ParameterServer, total: Partial) -> None:
        self._optimizer.update(
            self._parameters,
            total.gradient,
            total.sample_count,
            self._optimizer_state,
            out=self._parameters,
            state_out=self._optimizer_state,
        )

    plain_init = ParameterServer.__init__

    def init(self: ParameterServer, *arguments: Any) -> None:
        plain_init(self, *arguments)
        self._parameters = self._parameters.copy()
        self._optimizer_state = self._optimizer_state.copy()

    patch.setattr(ParameterServer, "__init__", init)
    patch.setattr(ParameterServer, "_update", update)


def do_not_greet_who_joins(patch: pytest.MonkeyPatch) -> None:
    plain_handle = ParameterServer.handle

    def handle(self: ParameterServer, message: Any) -> list[Envelope]:
        answers = plain_handle(self, message)
        return [] if isinstance(message, Hello) else answers

    patch.setattr(ParameterServer, "handle", handle)


def begin_the_sums_anew_when_restored(patch: pytest.MonkeyPatch) -> None:
    """`RunEpoch` in the middle of an epoch is taken for its beginning."""
    plain_run = ParameterServer._run_epoch

    def run_epoch(self: ParameterServer, epoch: int, until_step: int) -> list[Envelope]:
        self._epoch = -1
        return plain_run(self, epoch, until_step)

    patch.setattr(ParameterServer, "_run_epoch", run_epoch)


def tell_a_new_server(*told: type) -> Patch:
    """A coordinator that passes on only such messages when a server comes."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        plain_up = Coordinator._server_up

        def server_up(self: Coordinator, hello: Hello) -> list[Envelope]:
            return [envelope for envelope in plain_up(self, hello) if isinstance(envelope[1], told)]

        patch.setattr(Coordinator, "_server_up", server_up)

    return mutate


def forget_to_restart(slot: str) -> Patch:
    def mutate(patch: pytest.MonkeyPatch) -> None:
        plain_restart = Coordinator._restart

        def restart(self: Coordinator, name: str, reason: str) -> list[Envelope]:
            return [] if slot_of(name).startswith(slot) else plain_restart(self, name, reason)

        patch.setattr(Coordinator, "_restart", restart)

    return mutate


def restart_from_the_first_state(patch: pytest.MonkeyPatch) -> None:
    plain_start = Coordinator._start

    def start(self: Coordinator, name: str) -> Envelope:
        if not hasattr(self, "first_state"):
            self.first_state = self._newest  # type: ignore[attr-defined]
        plain_start(self, name)
        state = self.first_state if slot_of(name) == SERVER else None  # type: ignore[attr-defined]
        return CLUSTER, Start(name, state)

    patch.setattr(Coordinator, "_start", start)


def wait_for_ever_for_a_first_word(patch: pytest.MonkeyPatch) -> None:
    """A coordinator that does not hear that a process runs, and so never finds it silent."""
    plain_handle = Coordinator.handle

    def handle(self: Coordinator, message: Any) -> list[Envelope]:
        return [] if isinstance(message, Placed) else plain_handle(self, message)

    patch.setattr(Coordinator, "handle", handle)


def say_an_epoch_is_done_twice(patch: pytest.MonkeyPatch) -> None:
    plain_fact = Coordinator._fact

    def fact(self: Coordinator, message: Any) -> list[Envelope]:
        self._done_step = -1
        return plain_fact(self, message)

    patch.setattr(Coordinator, "_fact", fact)


def give_a_suspect_s_shards_to_nobody(patch: pytest.MonkeyPatch) -> None:
    plain_late = Assignment.late

    def late(self: Assignment, shards: Any, now_s: float) -> Any:
        suspects, changes = plain_late(self, shards, now_s)
        return suspects, {name: changes[name] for name in suspects}

    patch.setattr(Assignment, "late", late)


def keep_shards_with_two(patch: pytest.MonkeyPatch) -> None:
    """A suspect is given its share again, and the others keep theirs."""

    def answered(self: Assignment, name: str, now_s: float) -> Any:
        if name not in self._suspects:
            return {}
        self._suspects.discard(name)
        return {name: self._deal()[name]}

    patch.setattr(Assignment, "answered", answered)


MUTATIONS: dict[str, Patch] = {
    "a gradient counts twice": count_a_gradient_twice,
    "gradients are added in the order of arrival": add_in_the_order_of_arrival,
    "the shards of the dead are forgotten": forget_the_shards_of_the_dead,
    "a restored server has stale sums": restore(
        lambda state: replace(state, sample_count=0, loss_sum=0.0)
    ),
    "a restored server has a stale optimizer": restore(
        lambda state: replace(state, optimizer_state=np.zeros_like(state.optimizer_state))
    ),
    "a restored server is a step ahead": restore(
        lambda state: replace(state, step=state.step + (state.step > 0))
    ),
    "a gradient of any step is taken": take_a_gradient_of_another_step,
    "a late gradient is taken": take_a_late_gradient_into_the_next_step,
    "a worker never reconnects": never_reconnect,
    "a worker ignores what it takes over": compute_nothing_that_is_taken_over,
    "a worker computes another step": compute_the_last_step_again,
    "weights are written in place": write_the_weights_in_place,
    "who joins is not given the weights": do_not_greet_who_joins,
    "a restored server begins the epoch's sums anew": begin_the_sums_anew_when_restored,
    "a new server is not told to run": tell_a_new_server(ServerAt),
    "the workers are not told of a new server": tell_a_new_server(RunEpoch),
    "dead workers are not restarted": forget_to_restart("worker"),
    "a dead server is not restarted": forget_to_restart(SERVER),
    "a server is restarted from the first state": restart_from_the_first_state,
    "who hangs before its Hello is waited for": wait_for_ever_for_a_first_word,
    "an epoch's end is told twice": say_an_epoch_is_done_twice,
    "a suspect's shards go to nobody": give_a_suspect_s_shards_to_nobody,
    "a shard has two holders": keep_shards_with_two,
}


def caught(simulated: Simulation, seed: int) -> str | None:
    """What the simulation finds wrong with the cores under that seed."""
    try:
        simulated.run(seed)
    except ClusterError as error:
        return str(error)
    return None


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS.keys())
def test_broken_cores_are_caught(mutation: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = simulation(8, 4)  # what is right is recorded before the cores are broken
    mutation(monkeypatch)
    found = next((line for seed in range(SEEDS) if (line := caught(simulated, seed))), None)
    assert found
    assert "a core raised" not in found  # it was broken in its meaning, not in its arguments


def test_a_failing_seed_is_named_with_the_last_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = simulation(8, 4)
    forget_the_shards_of_the_dead(monkeypatch)
    seed, line = next((s, found) for s in range(SEEDS) if (found := caught(simulated, s)))
    assert line.startswith(f"simulation: seed {seed}: the shards are held like this: {{")
    assert "; last messages:\n  " in line
    assert line == caught(simulated, seed)  # and the seed brings it about again
