"""Local steps: the plain mean of the shards' own descents, and the promise kept with them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.cluster import Job
from actors.simulation import Simulation
from tests.command import Everstep, result_of
from tests.toys import Attraction
from trainer import Config, load_checkpoint, resume, train
from trainer.config import load_config
from trainer.datasets import load_dataset
from trainer.errors import ConfigError, DivergedError
from trainer.files import checkpoints_in
from trainer.job import build_job, build_network
from trainer.local_steps import LocalSteps, Rounds, RoundShard
from trainer.objective import NetworkObjective
from trainer.optimizers import SGD, Average
from trainer.reports import EpochReport, Report, Started
from trainer.shards import RowShard, cut

DIGITS_STEPS = 44  # local steps in an epoch of the digits: see docs/data.md


def configured(local_steps: int, epochs: int = 2, **training: Any) -> Config:
    keys = {"epochs": epochs, "local_steps": local_steps, **training}
    return Config(training=keys, cluster={"kind": "local", "workers": 1})


def job_of(config: Config) -> Job:
    return build_job(config, build_network(config), load_dataset(config))


# --- Rounds


@given(st.integers(1, 50), st.integers(1, 50))
def test_rounds_hold_each_local_step_once_in_order_and_end_with_each_epoch(
    local_steps: int, steps_per_epoch: int
) -> None:
    rounds = Rounds(local_steps, steps_per_epoch)
    each = [rounds.steps(number) for number in range(3 * rounds.per_epoch)]
    assert [step for steps in each for step in steps] == [*range(3 * steps_per_epoch)]
    assert {each[(epoch + 1) * rounds.per_epoch - 1].stop for epoch in range(3)} == {
        (epoch + 1) * steps_per_epoch for epoch in range(3)
    }
    assert {len(steps) for steps in each} <= {
        min(local_steps, steps_per_epoch),
        steps_per_epoch % local_steps,
    }


def test_the_digits_in_rounds_of_32_worked_out_by_hand() -> None:
    rounds = Rounds(32, DIGITS_STEPS)
    assert rounds.per_epoch == 2
    assert [rounds.steps(n) for n in range(3)] == [range(32), range(32, 44), range(44, 76)]


def test_a_round_s_batches_are_the_shard_s_own_and_are_gathered_when_asked_for() -> None:
    asked: list[int] = []

    class Noting:
        def batch(self, step: int) -> int:
            asked.append(step)
            return -step

    batches = RoundShard(Noting(), Rounds(3, 5)).batch(3)
    assert asked == []
    assert next(batches) == -8
    assert asked == [8]
    assert [*batches] == [-9]


# --- The mathematics


def test_the_difference_of_a_round_is_the_closed_form_of_descent_towards_one_point() -> None:
    """By hand: each step leaves 1 - rate of the distance d, so k steps leave (1 - rate)^k d."""
    start, target, rate, steps = np.array([3.0, -1.0]), np.array([1.0, 1.0]), 0.25, 4
    before, out = start.copy(), np.full(2, np.nan)
    objective = LocalSteps(Attraction(), SGD(rate))
    loss = objective.gradient(start, ([target, target] for _ in range(steps)), out)
    distance = start - target
    np.testing.assert_allclose(out, distance * (1 - 0.75**4), rtol=1e-14)
    # Two rows a step, 1/2 d^2 each; the loss of step k is that at its beginning.
    expected = sum(float(distance @ distance) * 0.75 ** (2 * k) for k in range(steps))
    assert loss.loss_sum == pytest.approx(expected, rel=1e-14)
    assert loss.sample_count == 2 * steps
    assert start.tobytes() == before.tobytes()


def test_the_average_is_that_of_where_the_shards_came_whatever_the_samples() -> None:
    start, ends = np.array([1.0, 2.0]), [np.array([0.0, 4.0]), np.array([5.0, 1.0])]
    total, out = sum(start - end for end in ends), np.empty(2)
    average = Average(2)
    state = average.init(start)
    average.update(start, total, 999, state, out, state)
    assert out.tolist() == [2.5, 2.5]
    assert state.size == 0


def plain_gradient(
    layers: list[tuple[Any, Any]], x: Any, y: Any
) -> tuple[list[tuple[Any, Any]], float]:
    """Nielsen's backpropagation (2015, chapter 2), mean over the rows; sigmoid, quadratic."""
    activations = [x]
    for weights, biases in layers:
        activations.append(1 / (1 + np.exp(-(activations[-1] @ weights.T + biases))))
    a = activations[-1]
    delta, nablas = (a - y) * a * (1 - a), []
    for (weights, _), before in zip(reversed(layers), activations[-2::-1], strict=True):
        nablas.append((delta.T @ before / len(x), delta.mean(axis=0)))
        delta = (delta @ weights) * before * (1 - before)
    return nablas[::-1], float(((a - y) ** 2).sum() / 2)


def flat(layers: list[tuple[Any, Any]]) -> Any:
    return np.concatenate([part.ravel() for layer in layers for part in layer])


def plain_local_sgd(config: Config) -> tuple[Any, list[float]]:
    """The weights, and the loss of each epoch, by the definition: no actor, no flat vector."""
    training, dataset = config.training, load_dataset(config)
    shards = cut(dataset, training.shards, training.batch_size, training.seed)
    network, rate = build_network(config), training.learning_rate
    mean = [(w.copy(), b.copy()) for w, b in network.layers(network.initial_parameters(0))]
    steps = len(dataset.train_inputs) // training.shards // (training.batch_size // training.shards)
    losses = []
    for epoch in range(training.epochs):
        losses.append(0.0)
        for begin in range(0, steps, training.local_steps):
            ends = []
            for shard in shards:
                mine = [(w.copy(), b.copy()) for w, b in mean]
                for step in range(begin, min(begin + training.local_steps, steps)):
                    x, y = shard.batch(epoch * steps + step)
                    nablas, loss = plain_gradient(mine, x, y)
                    mine = [
                        (w - rate * nw, b - rate * nb)
                        for (w, b), (nw, nb) in zip(mine, nablas, strict=True)
                    ]
                    losses[-1] += loss / (steps * training.batch_size)
                ends.append(mine)
            mean = [
                tuple(sum(parts) / len(ends) for parts in zip(*layers, strict=True))
                for layers in zip(*ends, strict=True)
            ]
    return flat(mean), losses


@pytest.mark.parametrize(("local_steps", "shards"), [(4, 8), (32, 8), (7, 3), (5, 1), (1000, 4)])
def test_a_training_equals_local_sgd_written_out_plainly(local_steps: int, shards: int) -> None:
    """44 or more steps an epoch: 4 divides them, 32 and 7 do not, 1000 is more."""
    config = configured(local_steps, shards=shards, batch_size=4 * shards, dtype="float64")
    losses: list[float] = []

    def watch(report: Report) -> None:
        if isinstance(report, EpochReport):
            losses.append(report.loss)

    result = train(config, watchers=[watch])
    expected, expected_losses = plain_local_sgd(config)
    np.testing.assert_allclose(result.parameters, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-12)


def test_a_round_of_one_step_is_a_step_of_sync_but_for_rounding() -> None:
    """With one step an epoch every round has one: the mean of steps is the step of the mean."""
    keys = {"batch_size": 1432, "dtype": "float64", "epochs": 3}
    sync, local = train(configured(1, **keys)), train(configured(32, **keys))
    assert sync.summary.steps == local.summary.steps == 3
    np.testing.assert_allclose(local.parameters, sync.parameters, rtol=1e-9, atol=1e-12)


# --- The promise


def test_one_local_step_is_the_sync_mode_itself() -> None:
    job = job_of(configured(1))
    assert type(job.objective) is NetworkObjective
    assert type(job.optimizer) is SGD
    assert {type(shard) for shard in job.shards} == {RowShard}
    without_the_key = train(Config(training={"epochs": 2}, cluster={"kind": "local"}))
    assert train(configured(1)).digest == without_the_key.digest
    assert train(configured(2)).digest != without_the_key.digest


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shards", [4, 7])
def test_the_number_of_workers_in_one_process_changes_nothing(shards: int, dtype: str) -> None:
    config = configured(5, shards=shards, batch_size=4 * shards, dtype=dtype)
    digests = {train(config.with_changes(cluster={"workers": n})).digest for n in (1, 2, 4)}
    assert len(digests) == 1


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_ray_gives_the_bytes_of_one_process(workers: int) -> None:
    config = configured(32)
    expected = train(config).digest
    on_ray = config.with_changes(cluster={"kind": "ray", "workers": workers})
    assert train(on_ray).digest == expected


def test_a_killed_worker_and_a_killed_server_change_nothing(everstep: Everstep) -> None:
    """`at_step` counts the server's steps, which are rounds: 200 of them here."""
    expected = train(configured(32, epochs=100)).digest
    plan = "faults: [{kill: worker-1, at_step: 5}, {kill: server, at_step: 20}]\n"
    (everstep.directory / "plan.yaml").write_text(plan)
    settings = ("--set", "training.local_steps=32", "--set", "training.epochs=100")
    done = everstep.run("train", *settings, "--faults", "plan.yaml", "--out", "run")
    assert done.returncode == 0, done.stderr
    result = result_of(everstep.directory / "run")
    assert (result["digest"], result["deaths"]) == (expected, 2)
    everstep.wait_until_alone()


def test_simulated_schedules_end_with_the_undisturbed_bytes() -> None:
    """Rounds of 20 and 2 steps an epoch: the adversary meets whole and short ones."""
    config = Config(
        network={"sizes": (64, 5, 10)},
        training={"local_steps": 20, "shards": 4, "batch_size": 64},
        cluster={"kind": "local"},
    )
    simulated = Simulation(job_of(config), epochs=3, steps_per_epoch=2, worker_count=3)
    for seed in range(10):
        outcome = simulated.run(seed)
        expected = simulated.trajectory[6]
        assert outcome.done.parameters.tobytes() == expected.parameters.tobytes(), f"seed {seed}"


def test_the_simulation_command_takes_local_steps(everstep: Everstep) -> None:
    settings = ("--set", "training.local_steps=8", "--schedules", "4")
    done = everstep.run("simulate", *settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "4 of 4 schedules ended with the undisturbed bytes (9 steps of up to 8"
    )


# --- Steps, samples, checkpoints


def test_steps_are_rounds_and_every_sample_counts_once(tmp_path: Path) -> None:
    sync, local = train(configured(1, 3)), train(configured(32, 3), tmp_path / "run")
    heard: list[Report] = []
    train(configured(32, 3), watchers=[heard.append])
    (started,) = (report for report in heard if isinstance(report, Started))
    assert started.steps_per_epoch == 2
    assert [report.step for report in heard if isinstance(report, EpochReport)] == [2, 4, 6]
    assert (local.summary.steps, local.summary.local_steps) == (6, 32)
    # 8 shards with micro-batches of 4, 44 times an epoch.
    assert local.summary.samples_applied == sync.summary.samples_applied == 3 * 44 * 32
    assert [path.name for path in checkpoints_in(tmp_path / "run" / "checkpoints")] == [
        "step-00000006.safetensors"
    ]


def test_more_local_steps_than_an_epoch_has_are_an_epoch_each() -> None:
    whole, more = train(configured(DIGITS_STEPS)), train(configured(10**9))
    assert (whole.summary.steps, more.summary.steps) == (2, 2)
    assert whole.digest == more.digest


class CutError(Exception):
    """The process that trains ends here, as far as a test is concerned."""


def cut_in_mid_epoch(path: Path, config: Config) -> Path:
    """A run that ended after a round that ends no epoch."""
    done: list[EpochReport] = []

    def watch(report: Report) -> None:
        if isinstance(report, EpochReport):
            done.append(report)
            if len(done) == 20:
                raise CutError

    often = {"every_s": 0.0001, "time_share": 0.5, "keep": 1000}
    with pytest.raises(CutError):
        train(config.with_changes(checkpoints=often), path, [watch])
    paths = checkpoints_in(path / "checkpoints")
    while load_checkpoint(paths[-1]).step % 9 == 0:  # 44 steps in rounds of 5
        paths.pop().unlink()
    return path


def test_a_run_resumed_in_mid_epoch_ends_as_if_undisturbed(tmp_path: Path) -> None:
    config = configured(5, epochs=30)
    expected = train(config).summary
    run = cut_in_mid_epoch(tmp_path / "run", config)
    summary = resume(run, ["cluster.workers=3"]).summary
    assert summary.resumed_at_step % 9 != 0
    for key in ("digest", "accuracy", "loss", "test_loss", "epochs", "steps", "samples_applied"):
        assert getattr(summary, key) == getattr(expected, key), key
    # A whole round has 160 samples, the ninth of an epoch 128.
    epochs, rounds = divmod(summary.resumed_at_step, 9)
    assert summary.resumed_at_sample == epochs * DIGITS_STEPS * 32 + rounds * 160


def test_local_steps_decide_the_weights_and_stay_as_they_are(tmp_path: Path) -> None:
    train(configured(4, 1), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"training.local_steps decides the weights and stays"):
        resume(tmp_path / "run", ["training.local_steps=8"])
    path = tmp_path / "run" / "config.yaml"
    path.write_text(path.read_text().replace("local_steps: 4", "local_steps: 8"))
    with pytest.raises(
        ConfigError, match=r"training.local_steps: .* says 8, .* was trained with 4; set it back"
    ):
        resume(tmp_path / "run")


# --- What is said


def test_a_round_that_diverges_names_the_shard_and_both_keys() -> None:
    config = configured(4, 5, learning_rate=1e6).with_changes(
        network={"activation": "relu", "output": "identity"}
    )
    with pytest.raises(DivergedError) as caught:
        train(config)
    assert re.fullmatch(
        r"training diverged in step \d+: the difference of shard \d is not finite in"
        r" the (weights|biases) of layer [12]; lower training.learning_rate, now 1e\+06,"
        r" or training.local_steps, now 4",
        str(caught.value),
    )


def test_a_loss_that_is_not_finite_in_any_of_the_steps_is_found() -> None:
    """The last of three losses is finite again; their sum is not."""

    class Losing(Attraction):
        def gradient(self, parameters: Any, batch: Any, out: Any) -> Any:
            loss = super().gradient(parameters, batch, out)
            return loss._replace(loss_sum=float(batch[0][0]))

    start, out = np.zeros(1), np.empty(1)
    batches = ([np.array([value])] for value in (1.0, np.inf, 1.0))
    with np.errstate(invalid="ignore"):
        loss = LocalSteps(Losing(), SGD(0.0)).gradient(start, batches, out)
    assert loss.loss_sum == np.inf


@pytest.mark.parametrize(
    ("value", "shown"), [("0", "0"), ("-3", "-3"), ("1.5", "1.5"), ("many", "'many'")]
)
def test_a_wrong_number_of_local_steps_is_refused(value: str, shown: str) -> None:
    line = (
        f"config training.local_steps: {shown} is not allowed; "
        "must be a whole number from 1 to 1000000000"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(line)}$"):
        load_config(None, [f"training.local_steps={value}"])


def test_a_misspelt_key_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"local_step: unknown key; did you mean local_steps\?"):
        load_config(None, ["training.local_step=8"])


def test_the_summary_says_what_a_step_is(everstep: Everstep) -> None:
    local = ("--set", "cluster.kind=local", "--set", "training.epochs=2")
    many = everstep.run("train", *local, "--set", "training.local_steps=32", "--out", "many")
    one = everstep.run("train", *local, "--out", "one")
    assert "\nsteps     4 in 2 epochs\n" in many.stdout
    assert "\nlocal     up to 32 optimizer steps of each shard in a step\n" in many.stdout
    assert "\nlocal " not in one.stdout
