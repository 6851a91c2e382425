"""The files of a run: configuration, metrics, events, checkpoints, result.

config.yaml  metrics.jsonl  events.jsonl  checkpoints/step-NNNNNNNN.safetensors  result.json
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from trainer.checkpoints import FOLDER, Checkpoint, prune, save_checkpoint, write_atomically
from trainer.config import Config
from trainer.errors import RunDirectoryError, RunWriteError
from trainer.reports import EpochReport, Event, Report

EVENTS: Final = "events.jsonl"
_FILES: Final = ("config.yaml", "metrics.jsonl", EVENTS)


class RunDirectory:
    """Creates the directory, and as a watcher writes down what a training reports."""

    def __init__(self, path: Path, config: Config) -> None:
        """Create the directory and write the configuration.

        Raises:
            RunDirectoryError: it holds a run already, or can not be written.
        """
        self.path = path
        self._keep = config.checkpoints.keep
        try:
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise RunDirectoryError(
                    f"--out {path}: exists already and is not empty; choose another directory"
                )
            self._created = [folder for folder in (path, *path.parents) if not folder.exists()]
            path.mkdir(parents=True, exist_ok=True)
            write_atomically(path / "config.yaml", config.as_yaml().encode())
        except OSError as error:
            raise RunDirectoryError(f"--out {path}: {error.strerror}") from None

    def __call__(self, report: Report) -> None:
        if isinstance(report, EpochReport):
            self._append("metrics.jsonl", asdict(report))
        elif isinstance(report, Event):
            event = asdict(report)
            self._append(EVENTS, event | event.pop("details"))

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, and remove the oldest beyond `checkpoints.keep`."""
        path = save_checkpoint(self.path / FOLDER, checkpoint)
        prune(self.path / FOLDER, self._keep)
        return path

    def finish(self, result: dict[str, Any]) -> None:
        """Write result.json: the run is complete."""
        content = json.dumps(result, indent=2) + "\n"
        try:
            write_atomically(self.path / "result.json", content.encode())
        except OSError as error:
            raise RunWriteError(f"{self.path / 'result.json'}: {error.strerror}") from None

    def discard(self) -> None:
        """Nothing was trained: leave no trace of this run."""
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)
        for folder in self._created:
            if not any(folder.iterdir()):
                folder.rmdir()

    def _append(self, name: str, line: dict[str, Any]) -> None:
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise RunWriteError(f"{self.path / name}: {error.strerror}") from None
