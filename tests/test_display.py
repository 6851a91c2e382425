"""What a person sees of a training, in a terminal of 80 columns and elsewhere."""

import io
import re

import pytest
from rich.console import Console

from trainer.display import Display
from trainer.reports import EpochReport, Event, InEpoch, Started


def shown(terminal: bool, epochs: int = 30, step: int = 44) -> str:
    """All that is written while a training of some epochs is reported."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80, color_system=None)
    with Display(console, epochs) as display:
        display(Started(epochs, 44, start_s=6.0))
        display(InEpoch(1, 20, 0.51234, 24_123.4, 2))
        display._live.refresh()
        display(EpochReport(epochs // 2, step, 0.4756, 0.47, 0.2117, 0.05, 25_322.1, 2))
        display._live.refresh()
        reason = "Traceback ...\nValueError: no [/such] row"
        display(Event(7.5, step, "died", "worker-1", {"reason": reason}))
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
    ]


@pytest.mark.parametrize("epochs", [1, 30, 100_000])
def test_the_line_fits_80_columns(epochs: int) -> None:
    plain = re.sub(r"\x1b\[[?\d;]*[A-Za-z]|\r", "\n", shown(terminal=True, epochs=epochs))
    lines = [line for line in plain.splitlines() if "samples/s" in line]
    assert lines
    assert max(len(line) for line in lines) <= 80
    assert all(line.rstrip().endswith(("worker", "workers")) for line in lines)
