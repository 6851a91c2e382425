"""What a run directory tells of a training: by hand, and of real ones while they run."""

import fcntl
import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.command import LOCAL, LONG, Everstep, result_of, wait_for
from trainer import Config, train
from trainer.errors import RunDirectoryError
from trainer.faults.log import FaultRecord, Hit
from trainer.lock_holder import LOCK
from trainer.past import UNKNOWN_CAUSE
from trainer.run_lock import RunLock
from trainer.status import Status, read_status
from trainer.status_command import as_fields, as_lines

BEGAN_S = 1_000.0
NOW_S = 1_020.0
INTENSITY = {"restart_count": 1, "max_restarts": 5, "period_s": 60.0}


def event(unix_s: float, step: int, what: str, worker: str, **details: Any) -> dict[str, Any]:
    line = {"at_s": unix_s - BEGAN_S, "step": step, "event": what, "worker": worker}
    return line | {"unix_s": unix_s} | details


def joined(unix_s: float, worker: str, host: str, process_id: int) -> dict[str, Any]:
    return event(unix_s, 0, "joined", worker, host=host, process_id=process_id)


EVENTS = [
    joined(1_005.0, "server", "10.0.0.1", 501),
    joined(1_005.1, "worker-0", "10.0.0.2", 502),
    joined(1_005.2, "worker-1", "10.0.0.3", 503),
    event(1_005.2, 0, "assigned", "worker-0", shards=[0, 1, 2, 5]),
    event(1_005.2, 0, "assigned", "worker-1", shards=[3, 4, 6, 7]),
    event(1_015.0, 60, "died", "worker-1", reason="connection closed\nwithout a word"),
    event(1_015.0, 60, "restarting", "worker-1.2", replaces="worker-1", **INTENSITY),
    event(1_015.2, 61, "stalled", "server", finished_step=61, seconds=0.25),
    event(1_016.0, 64, "snapshot_written", "driver", file="a", after_step=64, seconds=0.1),
]
METRICS = [
    {"epoch": n, "step": 20 * n, "loss": 0.5, "test_loss": 0.6, "accuracy": 0.75, "seconds": 4.0}
    | {"samples_per_second": 160.0, "workers": 2, "nodes": 3}
    for n in (1, 2, 3)
]
Write = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Writes a run of ten epochs."""

    def write(events: list[dict[str, Any]] = EVENTS, cut: str = "") -> Path:
        (tmp_path / "config.yaml").write_text("training:\n  epochs: 10\n")
        for name, lines in (("events", events), ("metrics", METRICS)):
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (tmp_path / f"{name}.jsonl").write_text(text + cut)
        return tmp_path

    return write


def held(path: Path, unix_s: float = 1_019.0, step: int = 76, **other: Any) -> RunLock:
    """The lock of a process that began at BEGAN_S."""
    lock = RunLock(path, "train", "--out run")
    sign = {"unix_s": unix_s, "step": step, "is_last": False}
    holder = {"pid": 4711, "host": "head", "command": "train", "began_unix_s": BEGAN_S}
    (path / LOCK).write_text(json.dumps(holder | sign | other) + "\n")
    return lock


def unbroken(status: Status) -> str:
    return " ".join(" ".join(as_lines(status)).split())


def test_a_running_training_is_told_with_all_that_its_files_say(written: Write) -> None:
    path = written()
    lock = held(path)
    lines = as_lines(read_status(path, NOW_S))
    lock.release()
    assert lines == [
        "state     running for 20.0 s: `everstep train`, process 4711 on host head",
        "progress  3 of 10 epochs done, step 76 of 200",
        "speed     4.00 steps a second (last 3.0 s), 160 samples a second (epoch 3)",
        "accuracy  0.7500 on the test set, loss 0.5000, after epoch 3",
        "workers   1 on 2 nodes",
        "nodes     10.0.0.1, 10.0.0.2",
        "awaited   worker-1.2: is started",
        "troubles  1 died, 1 restart, 0.25 s without progress",
        "last      worker-1 died 5.0 s ago: without a word",
        "",
        "actor     node      process  shards",
        "server    10.0.0.1      501",
        "worker-0  10.0.0.2      502  0-2, 5",
    ]


def test_programs_get_the_same_as_fields(written: Write) -> None:
    path = written()
    lock = held(path)
    fields = json.loads(json.dumps(as_fields(read_status(path, NOW_S))))
    lock.release()
    assert fields == {
        "directory": str(path),
        "state": "running",
        "reason": None,
        "process_id": 4711,
        "host": "head",
        "running_s": 20.0,
        "last_sign_unix_s": 1_019.0,
        "epochs_done": 3,
        "epochs": 10,
        "step": 76,
        "steps": 200,
        "steps_per_second": 4.0,
        "steps_per_second_over_s": 3.0,
        "samples_per_second": 160.0,
        "loss": 0.5,
        "test_loss": 0.6,
        "accuracy": 0.75,
        "nodes": {"10.0.0.1": ["server"], "10.0.0.2": ["worker-0"]},
        "actors": [
            {"name": "server", "node": "10.0.0.1", "process_id": 501, "shards": None},
            {"name": "worker-0", "node": "10.0.0.2", "process_id": 502, "shards": [0, 1, 2, 5]},
        ],
        "awaited": {"worker-1.2": "is started"},
        "deaths": 1,
        "restarts": 1,
        "suspicions": 0,
        "repeated_steps": 0,
        "refused_connections": 0,
        "stalled_s": 0.25,
        "last_death": EVENTS[5],
        "checkpoint": None,
        "digest": None,
    }


def test_a_training_that_stands_is_as_slow_as_it_is(written: Write) -> None:
    path = written()
    lock = held(path, unix_s=1_017.0, step=68)  # and nothing since, at 1,032
    status = read_status(path, 1_032.0)
    lock.release()
    assert (status.rate, status.rate_over_s) == (0.0, 15.0)
    assert "; no news for 15.0 s" in unbroken(status)
    again = held(path, unix_s=1_017.0, step=60)  # a restored server is behind what was done
    assert read_status(path, 1_017.0).rate == 0.0
    again.release()


def test_a_line_that_is_not_whole_yet_is_left_out(written: Write) -> None:
    whole = written()
    lock = held(whole)
    expected = as_fields(read_status(whole, NOW_S))
    lock.release()
    cut = written(cut='{"at_s": 20.1, "step": 77, "event": "di')
    lock = held(cut)
    assert as_fields(read_status(cut, NOW_S)) == expected
    lock.release()


def test_of_a_process_that_has_just_begun_the_one_before_says_nothing(written: Write) -> None:
    path = written()
    lock = held(path, unix_s=1_019.0, began_unix_s=1_019.5)
    status = read_status(path, NOW_S)
    lock.release()
    assert (status.state, status.roster.members(), status.rate) == ("running", [], None)
    assert "process 4711 on host head; its actors are not there yet" in unbroken(status)


@pytest.mark.parametrize("content", ["", "{", '{"pid": 7}', '{"pid": "x"}'])
def test_a_lock_that_is_not_written_yet_says_only_that_it_runs(
    content: str, written: Write
) -> None:
    path = written()
    lock = held(path)
    (path / LOCK).write_text(content)
    status = read_status(path, NOW_S)
    lock.release()
    assert (status.state, status.lock.holder) == ("running", None)
    assert as_lines(status)[0] == "state     running"


@pytest.mark.parametrize(
    ("end", "state", "first"),
    [
        ("stopped by Ctrl-C", "stopped", "stopped, 4.0 s ago: stopped by Ctrl-C"),
        ("training stopped: why\nValueError: x", "failed", "failed, 4.0 s ago: ValueError: x"),
        (
            "done",
            "failed",
            "failed, 4.0 s ago: it trained to the end, but result.json could not be",
        ),
    ],
)
def test_how_it_ended_is_told_with_the_command_that_goes_on(
    end: str, state: str, first: str, written: Write
) -> None:
    path = written([*EVENTS, event(1_016.0, 64, "ended", "driver", reason=end)])
    status = read_status(path, NOW_S)
    lines = as_lines(status)
    assert status.state == state
    assert lines[0] == f"state     {first}"
    assert lines[-1] == f"go on with: everstep resume {path}"
    assert status.roster.members() == []
    assert not any(line.startswith(("actor", "nodes", "awaited")) for line in lines)


def test_who_ended_without_a_word_died_and_its_last_sign_says_how_far_it_was(
    written: Write,
) -> None:
    path = written()
    lock = held(path)
    os.close(lock._descriptor)  # as the system does when a process dies
    status = read_status(path, NOW_S)
    assert (status.state, status.reason, status.step) == ("died", UNKNOWN_CAUSE, 76)
    assert as_lines(status)[0].startswith("state     died, 1.0 s ago: ended without a word")
    assert (path / LOCK).exists()  # whoever resumes finds it as it was


def test_no_line_is_longer_than_80_columns_whatever_the_names(written: Write) -> None:
    host = "2001:0db8:85a3:0000:0000:8a2e:0370:733"
    many = [joined(1_005.0, f"worker-{n}.12", f"{host}{n % 9}", 4_000_000 + n) for n in range(64)]
    shards = [event(1_005.0, 0, "assigned", e["worker"], shards=[*range(1, 4000, 2)]) for e in many]
    full = event(1_006.0, 0, "unplaced", "worker-64", workers=["worker-64"], reason="full")
    died = event(1_007.0, 0, "died", "worker-64", reason="no " + "word " * 99)
    for end in ([], [event(1_008.0, 0, "ended", "driver", reason="why " * 999)]):
        path = written([*many, *shards, full, died, *end])
        lock = held(path, host="a" * 200) if not end else None
        lines = as_lines(read_status(path, NOW_S))
        if lock:
            lock.release()
            assert len(lines) > 64
        assert max(len(line) for line in lines if "go on with: " not in line) <= 80


@pytest.mark.parametrize(
    ("name", "line", "told"),
    [
        ("events", '{"event": "joined"}', r"\(event 'joined'\): worker: field required"),
        ("events", '{"event": "died", "worker": "server", "step": 3}', r"step 3\): reason: field"),
        ("events", '{"event": "died", "worker": "a", "reason": "b", "step": "x"}', "step: input"),
        ("events", '{"event": ["died"]}', "event: input should be a valid string"),
        ("events", '{"event": "recovered", "worker": "a"}', "from: field required"),
        ("metrics", '{"epoch": 0, "step": 3}', r"\(epoch 0, step 3\): epoch: input should be"),
        ("metrics", '{"step": 3}', "epoch: field required"),
        ("metrics", '{"epoch": 4, "step": 3, "accuracy": "high"}', "accuracy: input should be"),
        ("faults", '{"fault": "x"}', "number: field required"),
    ],
)
def test_what_no_training_wrote_is_one_clear_line_that_names_its_file(
    name: str, line: str, told: str, written: Write
) -> None:
    path = written()
    with (path / f"{name}.jsonl").open("a") as file:
        file.write(line + "\n")
    begin = rf"^\S+/{name}\.jsonl: holds a line that this version does not read.*"
    with pytest.raises(RunDirectoryError, match=begin + told):
        read_status(path, NOW_S)


def test_what_this_version_can_do_without_is_left_out(written: Write) -> None:
    """As another version may have written it: no times, no measures, no reason."""
    path = written(
        [
            {"event": "joined", "worker": "worker-1", "host": "a", "process_id": 7, "step": 0},
            {"event": "died", "worker": "worker-1", "reason": "", "step": 60},
            {"event": "ended", "worker": "driver", "reason": "\n", "step": 60},
            {},
        ]
    )
    (path / "metrics.jsonl").write_text('{"epoch": 3, "step": 60}\n')
    lines = as_lines(read_status(path, NOW_S))
    assert lines == [
        "state     died: ended without a word: killed, or its machine failed",
        "progress  3 of 10 epochs done, step 60 of 200",
        "troubles  1 died",
        "last      worker-1 died",
        "",
        f"go on with: everstep resume {path}",
    ]
    (path / "metrics.jsonl").write_text('{"epoch": 3, "step": 60, "accuracy": 0.5}\n')
    told = unbroken(read_status(path, NOW_S))
    assert "accuracy 0.5000 on the test set, after epoch 3 " in told
    (path / "result.json").write_text('{"train_s": null, "wall_s": 3, "digest": 7}')
    lines = as_lines(read_status(path, NOW_S))
    assert (lines[0], lines[-1]) == ("state     finished; 3.0 s in all", "digest    7")
    (path / "result.json").write_text('{"a": 1}')
    assert as_lines(read_status(path, NOW_S))[0] == "state     finished"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)
FAULT_LINES = [
    {"attempt": 1, "unix_s": BEGAN_S},
    asdict(FaultRecord("1", "kill", "kill", "k", True, 1, 2.0, 3, (Hit("driver", "a", 1),))),
]
MORE = [
    event(1_016.1, 64, "refused", "server", count=1, reason="no key"),
    event(1_016.1, 64, "repeated", "server", step_count=1),
    event(1_016.1, 64, "suspected", "worker-0", late_step=60),
    event(1_016.1, 64, "unplaced", "worker-2", workers=["worker-2"], reason="full"),
    event(1_016.1, 64, "recovered", "worker-1", cause="c", at_step=60, repeated_steps=0)
    | {"from": "died", "detected_s": 0.1, "takeover_s": 0.1, "restart_s": 0.1, "stalled_s": 0.1},
]
FILES = {
    "events.jsonl": [*EVENTS, *MORE],
    "metrics.jsonl": METRICS,
    "faults.jsonl": FAULT_LINES,
    "result.json": [{"train_s": 1.0, "wall_s": 2.0, "digest": "abc"}],
    "run.lock": [{"pid": 1, "host": "a", "command": "train", "began_unix_s": BEGAN_S}],
}


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_stands_in_the_files_is_told_or_is_one_line(drawn: st.DataObject) -> None:
    """One field of a whole run, or a whole line, becomes something else or goes."""
    name = drawn.draw(st.sampled_from(sorted(FILES)))
    number = drawn.draw(st.integers(0, len(FILES[name]) - 1))
    line = dict(FILES[name][number])
    key = drawn.draw(st.sampled_from(sorted(line)))
    line.pop(key) if drawn.draw(st.booleans()) else line.update({key: drawn.draw(JSON)})
    files = FILES | {name: [*FILES[name][:number], line, *FILES[name][number + 1 :]]}
    if drawn.draw(st.booleans()):
        del files["result.json"]
    with TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "config.yaml").write_text("training:\n  epochs: 10\n")
        for each, lines in files.items():
            (path / each).write_text("".join(json.dumps(line) + "\n" for line in lines))
        lock = held(path) if drawn.draw(st.booleans()) and name != "run.lock" else None
        refusal = None
        try:
            status = read_status(path, NOW_S)
            assert "\n".join(as_lines(status))
            assert json.dumps(as_fields(status))
        except RunDirectoryError as error:
            refusal = str(error)
        finally:
            if lock:
                lock.release()
    if refusal is not None:
        assert len(refusal.splitlines()) == 1
        assert refusal.startswith(f"{path}/{name}: holds a line that")


def test_looking_keeps_nobody_from_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look holds the lock for a moment, and whoever comes to train is patient with that."""
    (tmp_path / LOCK).touch()
    looking = os.open(tmp_path / LOCK, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    waited_s: list[float] = []

    def let_go(seconds: float) -> None:
        waited_s.append(seconds)
        os.close(looking)

    monkeypatch.setattr("trainer.run_lock.time.sleep", let_go)
    RunLock(tmp_path, "resume", "DIR run").release()
    assert len(waited_s) == 1


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_what_is_no_run_is_one_line_and_status_2(
    as_json: tuple[str, ...], everstep: Everstep
) -> None:
    (everstep.directory / "empty").mkdir()
    (everstep.directory / "file").touch()
    wrong = {
        "nowhere": "everstep: DIR nowhere: no such directory\n",
        "file": "everstep: DIR file: is a file, and no run directory\n",
        "empty": "everstep: DIR empty: holds no run, there is no config.yaml in it\n",
    }
    for name, line in wrong.items():
        done = everstep.run("status", name, *as_json)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_a_finished_training_is_told_with_its_digest(everstep: Everstep) -> None:
    result = train(
        Config(training={"epochs": 2}, cluster={"kind": "local"}), everstep.directory / "run"
    )
    done = everstep.run("status", "run")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("state     finished, ")
    assert "progress  2 of 2 epochs done, step 88 of 88" in lines
    assert "troubles  none died" in lines
    assert f"digest    {result.digest}" in lines
    assert "actor" not in done.stdout
    assert result_of(everstep.directory / "run")["nodes"] == ["localhost"]


def test_a_training_is_told_of_while_it_runs_and_after_it_was_killed(everstep: Everstep) -> None:
    process = everstep.start("train", *LOCAL, *LONG, "--out", "run")
    run = everstep.directory / "run"
    wait_for(lambda: list(run.glob("checkpoints/step-*")), process)

    def told() -> dict[str, Any]:
        done = everstep.run("status", "run", "--json")
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        fields = json.loads(done.stdout)
        assert isinstance(fields, dict)
        return fields

    fields = wait_for(lambda: (now := told())["steps_per_second"] and now, process)
    assert (fields["state"], fields["process_id"]) == ("running", process.pid)
    assert {a["name"]: a["shards"] for a in fields["actors"]} == {
        "server": None,
        "worker-0": [0, 1, 2, 3],
        "worker-1": [4, 5, 6, 7],
    }
    assert {(a["node"], a["process_id"]) for a in fields["actors"]} == {("localhost", process.pid)}
    assert told()["step"] > fields["step"] > 0  # it is asked twice, and has gone on
    process.send_signal(signal.SIGKILL)
    process.communicate()
    dead = told()
    assert (dead["state"], dead["reason"]) == ("died", UNKNOWN_CAUSE)
    assert dead["step"] >= fields["step"]
    assert dead["actors"] == []
    again = everstep.run(
        "resume", "run", *LOCAL, "--set", f"training.epochs={dead['epochs_done'] + 9}"
    )
    assert again.returncode == 0, again.stderr
    assert (told()["state"], told()["deaths"], told()["restarts"]) == ("finished", 1, 1)
