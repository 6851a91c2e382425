"""`everstep simulate`: what it counts, and how a seed that fails can be seen again."""

import re
import shlex
from collections import Counter

import pytest

from actors.errors import ClusterError
from tests.test_simulation import HARM, forget_the_shards_of_the_dead
from trainer.config import Config
from trainer.simulate_command import Tally, _failed, _simulation, run_simulation

SMALL = ["network.sizes=[64, 10]", "training.shards=4", "data.test_fraction=0.9"]
CONFIG = Config(
    network={"sizes": (64, 10)}, training={"shards": 4}, data={"test_fraction": 0.9}
)  # the same


def test_the_schedules_and_the_faults_that_fired_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_simulation(None, SMALL, schedules=20, seed=3, workers=3, replay=False)
    first, *table = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"20 of 20 schedules ended with the undisturbed bytes \(9 steps, 4 shards, up to 3 workers,"
        r" \d+\.\d s\)",
        first,
    )
    rows = [re.fullmatch(r" +(\w.*\w) +([\d,]+) *", line) for line in table]
    counted = {row[1].strip(): int(row[2].replace(",", "")) for row in rows if row}
    simulation = _simulation(CONFIG, 3)
    expected: Counter[str] = Counter()
    for seed in range(3, 23):
        expected += simulation.run(seed).harm
    assert counted == expected
    assert counted.keys() == HARM


def test_steps_that_are_rounds_of_local_steps_are_told_as_in_a_training_s_summary(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_simulation(None, [*SMALL, "training.local_steps=3"], 2, seed=0, workers=2, replay=False)
    assert capsys.readouterr().out.startswith(
        "2 of 2 schedules ended with the undisturbed bytes (9 steps of up to 3 optimizer steps of"
        " each shard, 4 shards, up to 2 workers, "
    )


def test_a_seed_that_fails_is_named_with_the_command_that_shows_it_message_by_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forget_the_shards_of_the_dead(monkeypatch)
    with pytest.raises(ClusterError) as caught:
        run_simulation(None, SMALL, schedules=20, seed=0, workers=3, replay=False)
    head, problem, again, *_ = str(caught.value).splitlines()
    count = re.fullmatch(r"(\d+) of 20 schedules failed", head)
    assert count
    assert f"{20 - int(count[1])} of 20 schedules ended with" in capsys.readouterr().out
    assert problem.startswith("simulation: seed ")
    command = shlex.split(again.removeprefix("  see it again: "))
    settings = [part for setting in SMALL for part in ("--set", setting)]
    seed = command[-2]
    assert command == [
        "everstep",
        "simulate",
        *settings,
        "--workers",
        "3",
        "--seed",
        seed,
        "--replay",
    ]
    with pytest.raises(ClusterError) as replayed:
        run_simulation(None, SMALL, 1, int(seed), 3, replay=True)
    assert str(replayed.value).splitlines()[0] == problem
    shown = capsys.readouterr().out.splitlines()
    assert all(line.startswith("*** ") or " <- " in line for line in shown)
    # The failure's own last messages are the last ones that are shown.
    assert shown[-5:] == [line.strip("\n")[2:] for line in str(replayed.value).splitlines()[-5:]]


def test_every_seed_that_fails_is_named_and_the_first_five_with_their_commands() -> None:
    failures = {seed: f"simulation: seed {seed}: why" for seed in range(1000, 1100)}
    tally = Tally(2000, Counter(), failures, 1.0)
    head, *lines = str(_failed(tally, None, SMALL, 3)).splitlines()
    assert head == "100 of 2,000 schedules failed"
    assert sum(line.startswith("  see it again: ") for line in lines) == 5
    first = next(i for i, line in enumerate(lines) if line.startswith("failing seeds: "))
    assert first == 10  # after the commands
    named = " ".join(lines[first:]).removeprefix("failing seeds: ")
    assert [int(seed) for seed in named.split(", ")] == list(failures)
    assert all(len(f"everstep: {line}") <= 80 for line in lines[first:])
    few = str(_failed(Tally(9, Counter(), {7: "simulation: seed 7: why"}, 1.0), None, [], 3))
    assert few.splitlines()[-1] == "failing seeds: 7"


def test_a_schedule_that_is_replayed_ends_with_its_outcome(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_simulation(None, SMALL, schedules=1000, seed=5, workers=64, replay=True)
    *messages, outcome = capsys.readouterr().out.splitlines()
    assert outcome == "seed 5: the undisturbed bytes after 9 steps"
    assert any(" <- worker-" in line for line in messages)
