"""What a person sees of a training, in a terminal of 80 columns and elsewhere."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from trainer.display import Display, show_summary
from trainer.network import Network
from trainer.reports import CheckpointFailed, EpochReport, Event, InEpoch, Notice, Started
from trainer.result import Result, Summary
from trainer.words import fitted

SUMMARY = Summary(
    "0" * 64, 0.9, 0.1, 0.2, 2, 88, 2816, 1.0, 2.0, 4, deaths=1, restarts=1, suspicions=0,
    refused_connections=0, repeated_steps=0, stalls_s=[], recoveries=[],
)  # fmt: skip
NAME = "runs/2026-11-24-210000"


def shown(terminal: bool, epochs: int = 30, step: int = 44) -> str:
    """All that is written while a training of some epochs is reported."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80, color_system=None)
    with Display(console) as display:
        display(Started(epochs, 44, start_s=6.0))
        display(InEpoch(1, 20, 0.51234, 24_123.4, 2))
        display._live.refresh()
        display(EpochReport(epochs // 2, step, 0.4756, 0.47, 0.2117, 0.05, 25_322.1, 2))
        display._live.refresh()
        reason = "Traceback ...\nValueError: no [/such] row"
        display(Event(7.5, step, "died", "worker-1", {"reason": reason}))
        intensity = {"restart_count": 1, "max_restarts": 5, "period_s": 60.0}
        display(Event(7.6, step, "restarting", "worker-1.2", intensity))
        display(Event(7.7, step, "suspected", "worker-0", {"late_step": step}))
        display(CheckpointFailed("checkpoint a: No space left on device; not written", 9, False))
        display(CheckpointFailed("checkpoint b: No space left on device; not written", 9, True))
        display(Notice("a/metrics.jsonl: No space left on device; kept in memory"))
        display(Notice(f"DIR {NAME}: is complete already, nothing was run; --set goes on to more"))
        display(InEpoch(epochs // 2 + 1, step + 9, 0.4, 20_000.0, 1))
        display._live.refresh()
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_a_terminal_shows_one_live_line_with_all_there_is_to_know() -> None:
    text = shown(terminal=True)
    assert "epoch  1/30  loss 0.5123  24,123 samples/s  2 workers" in text
    assert "epoch 15/30  loss 0.4756  accuracy 0.212  25,322 samples/s  2 workers" in text
    assert "epoch 16/30  loss 0.4000  accuracy 0.212  20,000 samples/s  1 worker" in text


def test_a_file_gets_a_line_for_each_epoch_and_no_control_characters() -> None:
    assert shown(terminal=False).splitlines() == [
        "epoch 15/30  loss 0.4756  accuracy 0.212  25,322 samples/s  2 workers",
        "step 44: worker-1 died: ValueError: no [/such] row",
        "step 44: worker-1.2 is asked for in its place: restart 1 of 5 in 60 s",
        "step 44: worker-0 is late; others compute its part too",
        # Once, until another is written.
        "checkpoint a: No space left on device; not written; training goes on",
        "a/metrics.jsonl: No space left on device; kept in memory",
        f"DIR {NAME}: is complete already, nothing was run; --set goes on to more",
    ]


def test_what_a_person_should_know_of_the_nodes_is_a_line_each() -> None:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    with Display(console) as display:
        full = {"workers": ["worker-1", "worker-2"], "reason": "full; each joins later"}
        display(Event(5.0, 0, "unplaced", "worker-1", full))
        hosts = {"host": "10.0.0.2", "other_host": "10.0.0.1"}
        differences = {"differences": ["BLAS: A here, B there", "NumPy: 2 here, 3 there"]}
        display(Event(6.0, 9, "unlike", "worker-0", {**hosts, **differences}))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "step 0: no place for worker-1, worker-2: full; each joins later",
        "step 9: 10.0.0.2 rounds otherwise than 10.0.0.1, so the final weights may be other"
        " bytes: BLAS: A here, B there; NumPy: 2 here, 3 there; see docs/determinism.md",
    ]


def node_lines(terminal: bool, epochs: int = 30) -> str:
    """What is shown of four workers on three nodes, one of which loses its worker."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80, color_system=None)
    with Display(console) as display:
        for number, name in enumerate(["server", "worker-0", "worker-1", "worker-2"]):
            host = f"10.0.0.{1 + number % 3}"
            display(Event(1.0, 0, "joined", name, {"host": host, "process_id": number}))
        display(Started(epochs, 44, start_s=6.0))
        display(EpochReport(epochs // 2, 9, 0.4756, 0.47, 0.2117, 0.05, 25_322.1, 4, nodes=3))
        display._live.refresh()
        display(Event(7.5, 9, "died", "worker-1", {"reason": "no route"}))
        intensity = {"restart_count": 1, "max_restarts": 5, "period_s": 60.0}
        display(Event(7.6, 9, "restarting", "worker-1.2", intensity))
        again = {"host": "10.0.0.2", "process_id": 9}
        display(Event(9.0, 9, "joined", "worker-1.2", again))
        for step in (10, 11):
            display(InEpoch(epochs // 2 + 1, step, 0.4, 20_000.0, 4))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_on_several_nodes_it_is_said_where_who_died_and_where_another_took_its_place() -> None:
    assert node_lines(terminal=False).splitlines() == [
        "on 10.0.0.1 (2 actors), 10.0.0.2 (1 actor), 10.0.0.3 (1 actor)",
        "epoch 15/30  loss 0.4756  accuracy 0.212  25,322 samples/s  4 workers, 3 nodes",
        "step 9: worker-1 on 10.0.0.3 died: no route",
        "step 9: worker-1.2 is asked for in its place: restart 1 of 5 in 60 s",
        "step 9: worker-1.2 takes its place on 10.0.0.2",
        "on 10.0.0.1 (2 actors), 10.0.0.2 (2 actors)",  # once, until others are there
    ]


@pytest.mark.parametrize("epochs", [30, 100_000])
def test_in_a_terminal_the_line_below_says_who_is_on_which_node(epochs: int) -> None:
    plain = re.sub(r"\x1b\[[?\d;]*[A-Za-z]|\r", "\n", node_lines(True, epochs))
    shown = [line.rstrip() for line in plain.splitlines() if line.strip()]
    lines = {line for line in shown if "samples/s" in line}
    assert lines
    assert all(len(line) <= 80 and line.endswith("samples/s  4 workers") for line in lines)
    there = [line for line in shown if line.startswith("on ")]
    assert there[0] == "on 10.0.0.1 (2 actors), 10.0.0.2 (1 actor), 10.0.0.3 (1 actor)"


def test_the_summary_names_the_nodes_where_there_were_several() -> None:
    def rows(nodes: list[str]) -> list[str]:
        console = Console(file=io.StringIO(), width=80, color_system=None)
        network = Network([1, 1])
        result = Result(replace(SUMMARY, nodes=nodes), network, np.zeros(2, "float32"), None)
        show_summary(console, result)
        assert isinstance(console.file, io.StringIO)
        lines = console.file.getvalue().splitlines()
        assert max(map(len, lines)) <= 80
        return [line for line in lines if line.startswith(("workers", "nodes"))]

    assert rows([]) == rows(["127.0.0.1"]) == ["workers   4, 1 died, 1 restart"]
    assert rows(["10.0.0.1", "10.0.0.2"])[1:] == ["nodes     10.0.0.1, 10.0.0.2"]
    (line,) = rows([f"10.0.0.{i}" for i in range(1, 21)])[1:]
    assert line.endswith("10.0.0.6 and 14 more")


def test_a_notice_longer_than_the_terminal_is_broken_between_words() -> None:
    text = shown(terminal=True)
    assert f"DIR {NAME}: is complete already, nothing was run; --set goes on \nto more\n" in text


def test_a_resumed_training_says_from_where_it_goes_on() -> None:
    console = Console(file=io.StringIO(), width=80)
    with Display(console) as display:
        display(Event(0.1, 3520, "resumed", "driver", {"file": "step-00003520.safetensors"}))
        display(Event(0.1, 0, "resumed", "driver", {"file": None}))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "step 3520: going on from its checkpoint",
        "step 0: no checkpoint was kept, the training begins anew",
    ]


def test_an_error_is_broken_between_words_and_its_paths_and_commands_stay_whole() -> None:
    path = f"everstep: kept: runs/{'long-' * 16}"
    command = f"everstep: go on with: everstep resume runs/{'a b ' * 16}"
    line = f"everstep: DIR {NAME}: is complete already, nothing was profiled; leave out --profile"
    assert fitted(line, None) == line
    assert fitted(line, 80) == line.replace("; leave", ";\nleave")
    assert fitted(path, 80) == path.replace(" runs/", "\nruns/")
    assert fitted(command, 80) == command


@pytest.mark.parametrize("epochs", [1, 30, 100_000])
def test_the_line_fits_80_columns(epochs: int) -> None:
    plain = re.sub(r"\x1b\[[?\d;]*[A-Za-z]|\r", "\n", shown(terminal=True, epochs=epochs))
    lines = [line for line in plain.splitlines() if "samples/s" in line]
    assert lines
    assert max(len(line) for line in lines) <= 80
    # Behind a bar there is room for the terminal's ^C: one that wraps could not be wiped out.
    barred = [line for line in lines if not line.startswith("epoch")]
    assert max((len(line) for line in barred), default=0) <= 78
    assert barred or epochs > 30
    assert all(line.rstrip().endswith(("worker", "workers")) for line in lines)


def test_a_stall_of_which_nobody_is_known_to_have_died_says_what_is_known() -> None:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    display = Display(console)
    for cause in ("nobody died or was late, as far as is known", "server did not answer for 2.2 s"):
        details = {"finished_step": 41, "seconds": 2.0, "cause": cause}
        display(Event(2.0, 41, "stalled", "server", details))
    display(Event(2.0, 42, "stalled", "server", {"finished_step": 42, "seconds": 0.6}))
    file = console.file
    assert isinstance(file, io.StringIO)
    assert file.getvalue().splitlines() == [
        "step 41: no step was finished for 2.0 s: nobody died or was late, as far as is known",
        "step 41: no step was finished for 2.0 s: server did not answer for 2.2 s",
        "step 42: no step was finished for 0.6 s",
    ]
