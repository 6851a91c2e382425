"""What `train` and `resume` show, and when."""

from collections.abc import Sequence

import pytest

from trainer import Config, train
from trainer.profile import Profile, Setting
from trainer.reports import Notice, Profiled, Report, Watcher
from trainer.result import Result
from trainer.screen import AtTheEnd, show_training

FIRST, LAST = (Profiled(Profile((), Setting(False, workers, 8, 32, 2))) for workers in (1, 2))


def test_of_a_kind_of_report_the_last_is_shown_however_a_training_ends() -> None:
    shown: list[Report] = []

    def run() -> None:
        with AtTheEnd(Profiled, shown.append) as watcher:
            for report in (Notice("something else"), FIRST, LAST, Notice("something else")):
                watcher(report)
            assert shown == []
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert shown == [LAST]


def test_nothing_is_shown_of_a_kind_that_was_not_reported() -> None:
    with AtTheEnd(Profiled, lambda report: pytest.fail(f"{report}")) as watcher:
        watcher(Notice("something else"))


def test_progress_goes_to_standard_error_and_the_summary_comes_before_the_profile(
    quick: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(watchers: Sequence[Watcher]) -> Result:
        return train(quick, watchers=watchers, profile=True)

    show_training(run)
    output, errors = capsys.readouterr()
    assert output.index("digest") < output.index("profile")
    assert errors.startswith("epoch 1/2")
    assert "digest" not in errors
