"""What a person sees of a training, in a terminal of 80 columns and elsewhere."""

import io
import re

import pytest
from rich.console import Console

from trainer.display import Display
from trainer.reports import CheckpointFailed, EpochReport, Event, InEpoch, Notice, Started


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
        "step 44: worker-1.2 starts in its place: restart 1 of 5 in 60 s",
        "step 44: worker-0 is late; others compute its part too",
        # Once, until another is written.
        "checkpoint a: No space left on device; not written; training goes on",
        "a/metrics.jsonl: No space left on device; kept in memory",
    ]


@pytest.mark.parametrize("epochs", [1, 30, 100_000])
def test_the_line_fits_80_columns(epochs: int) -> None:
    plain = re.sub(r"\x1b\[[?\d;]*[A-Za-z]|\r", "\n", shown(terminal=True, epochs=epochs))
    lines = [line for line in plain.splitlines() if "samples/s" in line]
    assert lines
    assert max(len(line) for line in lines) <= 80
    assert all(line.rstrip().endswith(("worker", "workers")) for line in lines)
