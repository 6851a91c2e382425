"""What the error of a training that ends early says: what is kept, and the command to go on."""

from pathlib import Path
from typing import cast

import pytest

from actors.errors import ClusterError
from trainer import Config
from trainer.early_end import tell_what_is_kept
from trainer.keeper import Keeper
from trainer.run_directory import RunDirectory


class KeptNothing:
    kept = None

    def __init__(self, failure: str) -> None:
        self.failure = failure


@pytest.mark.parametrize(
    ("failure", "has_history", "told"),
    [
        ("", False, ["no epoch was finished; nothing is kept"]),
        (
            "",
            True,
            [
                "no epoch was finished; nothing is kept",
                "what happened: RUN/events.jsonl",
                "begin anew with: everstep resume RUN",
            ],
        ),
        (
            "checkpoint a: No space left on device; not written",
            True,
            [
                "nothing could be kept: checkpoint a: No space left on device; not written",
                "begin anew with: everstep resume RUN",
            ],
        ),
    ],
)
def test_who_kept_nothing_says_so_and_how_to_begin_anew_if_anything_is_left(
    failure: str, has_history: bool, told: list[str], quick: Config, tmp_path: Path
) -> None:
    run = RunDirectory.create(tmp_path / "run", quick)
    error = ClusterError("worker-1 died 6 times")
    tell_what_is_kept(error, run, cast(Keeper, KeptNothing(failure)), has_history)
    assert error.__notes__ == [line.replace("RUN", str(tmp_path / "run")) for line in told]
    assert (tmp_path / "run").exists() == (failure != "" or has_history)
    run.release()
