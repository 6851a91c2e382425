"""JSON lines on a disk: what others find in the file, whenever they or a crash come."""

import os
from pathlib import Path

import pytest

from trainer.errors import RunDirectoryError, RunWriteError
from trainer.faults.log import FAULTS, FaultLog, last_kill_of, read_faults
from trainer.line_log import LineLog, parsed_lines


def test_a_line_after_one_that_a_crash_cut_is_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"line": 1}\n{"line": 2')
    log = LineLog(path)
    log.append({"line": 3})
    log.append({"line": 4})
    assert path.read_bytes() == b'{"line": 1}\n{"line": 2\n{"line": 3}\n{"line": 4}\n'
    assert log.lines() == [{"line": 1}, {"line": 3}, {"line": 4}]


def test_a_line_that_is_synced_was_written_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, synced = LineLog(tmp_path / "log"), []

    def note(descriptor: int) -> None:
        synced.append(parsed_lines(os.pread(descriptor, 100, 0)))

    monkeypatch.setattr("trainer.line_log.os.fsync", note)
    log.append({"line": 1})
    log.sync()
    assert synced == [[{"line": 1}]]
    (tmp_path / "log").unlink()
    with pytest.raises(RunWriteError, match="log: No such file or directory"):
        log.sync()


def test_the_lines_of_faults_are_kept_in_the_same_way(tmp_path: Path) -> None:
    (tmp_path / FAULTS).write_bytes(b'{"attempt": 1, "unix_s": 100.0}\n{"number": "1", "fau')
    log = FaultLog(tmp_path, 130.0)
    assert (log.attempt, log.from_s) == (2, 30.0)
    log.moment(30.0, 7)
    log.close()
    assert LineLog(tmp_path / FAULTS).lines()[1:] == [{"attempt": 2, "unix_s": 130.0}]
    assert len(LineLog(tmp_path / "timeline.jsonl").lines()) == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"fault": "x"}', "number: field required"),
        ('{"unix_s": []}', "input should be a valid number"),
        ('{"fault": "x", "number": "1", "kind": "hug"}', "kind: input should be 'kill'"),
    ],
)
def test_a_line_of_another_format_is_told_by_the_name_of_its_file(
    line: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / FAULTS).write_text(line + "\n")
    for read in (lambda: read_faults(tmp_path), lambda: last_kill_of("driver", tmp_path)):
        with pytest.raises(RunDirectoryError) as caught:
            read()
        assert str(caught.value).startswith(f"{tmp_path}/faults.jsonl: holds a line that this ")
        assert told in str(caught.value)
