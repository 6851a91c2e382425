"""Plans of faults: what is read, and how a wrong one is refused."""

from pathlib import Path

import pytest

from trainer.config import Config, load_config
from trainer.errors import ConfigError
from trainer.faults.plan import load_plan
from trainer.faults.planned import check_plan, planned_faults, random_faults


def plan_file(directory: Path, text: str) -> Path:
    path = directory / "plan.yaml"
    path.write_text(text)
    return path


def test_the_example_holds_each_kind_and_its_configuration_is_found(repository: Path) -> None:
    plan = load_plan(repository / "examples" / "chaos.yaml")
    assert [str(planned) for planned in planned_faults(plan)] == [
        "kill worker-1 at step 500",
        "pause worker-0 for 2 s at step 2000",
        "slow worker-1 4 times for 2 s at step 3000",
        "kill server at step 4500",
        "kill node at step 6000",
        "kill driver at step 7500",
    ]
    config = load_config(plan.config, [*plan.overrides])
    assert config.training.epochs == 200
    assert config.cluster.kind == "ray"


def test_a_time_of_zero_a_host_and_an_endless_slowness_are_read(tmp_path: Path) -> None:
    text = "faults: [{kill: node, host: 10.0.0.7, at_s: 0}, {slow: server, factor: 2.5, at_s: 1}]"
    planned = [*planned_faults(load_plan(plan_file(tmp_path, text)))]
    assert [str(fault) for fault in planned] == [
        "kill node 10.0.0.7 at 0 s",
        "slow server 2.5 times at 1 s",
    ]


@pytest.mark.parametrize("text", ["", "faults:", "faults: []"])
def test_a_plan_may_be_empty(text: str, tmp_path: Path) -> None:
    plan = load_plan(plan_file(tmp_path, text))
    assert not plan.faults
    assert plan.random is None


WRONG = [
    (
        "faults: [{kil: worker-1, at_step: 1}]",
        "fault 1.kil: unknown key; did you mean kill?",
    ),
    ("fault: []", "fault: unknown key; did you mean faults?"),
    (
        "random: {per_minut: 1}",
        "random.per_minute: missing; set it to a number above 0 and at most 6000",
    ),
    ("random: {per_minut: 1}", "random.per_minut: unknown key; did you mean per_minute?"),
    ("sets: []", "sets: unknown key; did you mean set?"),
    (
        "faults: [{kill: server, at_s: 1}, {kill: worker1, at_step: 1}]",
        "fault 2.kill: 'worker1' is not allowed; allowed: worker-N, server, node, driver",
    ),
    (
        "random: {per_minute: 1, targets: [workers]}",
        "random.targets.0: 'workers' is not allowed; allowed: worker (any), worker-N, server,"
        " node, driver",
    ),
    (
        "random: {per_minute: 1, targets: []}",
        "random.targets: [] is not allowed; name at least one, or leave the key out",
    ),
    (
        "random: {per_minute: 1, kinds: [slow]}",
        "random.kinds.0: 'slow' is not allowed; must be one of kill, pause",
    ),
    (
        "faults: [{at_step: 1}]",
        "fault 1: says not what to do; a fault has one of kill, pause, slow: `kill: worker-1`",
    ),
    (
        "faults: [{kill: server, pause: server, for_s: 1, at_step: 1}]",
        "fault 1: both kill and pause in one; a fault has one of kill, pause, slow:"
        " `kill: worker-1`",
    ),
    (
        "faults: [{kill: server}]",
        "fault 1: says not when; set one of at_step, at_s: `at_step: 100`",
    ),
    (
        "faults: [{kill: server, at_s: 1, at_step: 1}]",
        "fault 1: both at_step and at_s; set one of at_step, at_s: `at_step: 100`",
    ),
    ("faults: [{pause: server, at_s: 1}]", "fault 1: a pause needs for_s: `for_s: 2.0`"),
    ("faults: [{slow: server, at_s: 1}]", "fault 1: a slow needs factor: `factor: 4`"),
    (
        "faults: [{kill: server, for_s: 1, at_s: 1}]",
        "fault 1: for_s does not go with kill; remove it",
    ),
    (
        "faults: [{kill: server, host: a, at_s: 1}]",
        "fault 1: host goes with node only, not with server; remove it",
    ),
    ("faults: [kill]", "fault 1: 'kill' is not allowed; must be a mapping"),
    (
        "faults: [{slow: server, factor: 1, at_s: 1}]",
        "fault 1.factor: 1 is not allowed; must be a number above 1 and at most 1000",
    ),
    ("[1]", "must be a mapping of keys, like `faults: ...`"),
    ("faults: [", "line 1: "),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_wrong_plan_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = plan_file(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_plan(path)
    lines = str(caught.value).splitlines()
    assert any(line.startswith(f"plan {path}: {message}") for line in lines), lines
    assert len(lines) == 1 or "per_minut:" in text


def test_a_missing_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"plan .*none\.yaml: No such file or directory"):
        load_plan(tmp_path / "none.yaml")


def test_in_one_process_only_the_driver_can_be_hit(tmp_path: Path) -> None:
    local = Config(cluster={"kind": "local"})
    driver = load_plan(plan_file(tmp_path, "faults: [{kill: driver, at_step: 5}]"))
    check_plan(driver, local)
    worker = load_plan(plan_file(tmp_path, "faults: [{kill: worker-1, at_step: 5}]"))
    check_plan(worker, Config())
    with pytest.raises(ConfigError) as caught:
        check_plan(worker, local)
    assert str(caught.value) == (
        "--faults: fault 1 (kill worker-1 at step 5): with cluster.kind local no actor has a"
        " process of its own, only driver can be hit; set cluster.kind=ray"
    )
    anyone = load_plan(plan_file(tmp_path, "random: {per_minute: 1}"))
    with pytest.raises(ConfigError, match=r"--faults: random: with cluster\.kind local"):
        check_plan(anyone, local)


def test_random_faults_come_at_the_asked_rate_and_repeat_with_their_seed(tmp_path: Path) -> None:
    text = "random: {per_minute: 30, seed: 7, targets: [worker, server], kinds: [kill, pause]}"
    plan = load_plan(plan_file(tmp_path, text))
    assert plan.random is not None
    first, again = random_faults(plan.random), random_faults(plan.random)
    drawn = [next(first) for _ in range(3000)]
    assert drawn == [next(again) for _ in range(3000)]
    assert drawn[-1].at_s == pytest.approx(3000 * 2.0, rel=0.1)  # 30 a minute: one in 2 s
    assert {(fault.kind, fault.target) for fault in drawn} == {
        ("kill", "worker"), ("kill", "server"), ("pause", "worker"), ("pause", "server")
    }  # fmt: skip
    assert all((fault.for_s == 1.0) == (fault.kind == "pause") for fault in drawn)
