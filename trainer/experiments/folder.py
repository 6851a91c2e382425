"""The directory of an experiment: a new one, or one that was stopped and goes on.

plan.yaml  no-faults.yaml  undisturbed/  faulted-N/  *.log  experiment.json  timeline.svg
"""

import shlex
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from trainer.config import Config, load_config
from trainer.errors import RunDirectoryError
from trainer.files import remove_empty, write_atomically
from trainer.lock_holder import LOCK
from trainer.run_lock import RunLock
from trainer.run_place import CONFIG, RESULT

UNDISTURBED: Final = "undisturbed"
OUTCOME: Final = "experiment.json"
PICTURE: Final = "timeline.svg"
_PLAN: Final = "plan.yaml"


class ExperimentFolder:
    """Locked for as long as the `with` block lasts: two experiments do not share one."""

    def __init__(self, path: Path, plan: bytes, config: Config) -> None:
        """Make the directory, or take one that holds a part of the same experiment.

        Args:
            plan: the plan's file, of which a copy is kept: an experiment has one plan.
            config: what is trained.

        Raises:
            RunDirectoryError: it holds something else, is in use, or can not be written.
        """
        where = f"--out {path}"
        self.path, self.plan, self.no_faults = path, path / _PLAN, path / "no-faults.yaml"
        created: list[Path] = []
        try:
            if path.exists() and not path.is_dir():
                raise RunDirectoryError(f"{where}: is no directory; choose another")
            created = [folder for folder in (path, *path.parents) if not folder.exists()]
            path.mkdir(parents=True, exist_ok=True)
            self._lock = RunLock(path, "train", where)
            try:
                self._refuse_another(where, plan, config)
                write_atomically(self.plan, plan)
                write_atomically(self.no_faults, b"faults: []\n")
            except BaseException:
                if created:  # nothing that was there before is removed
                    self.plan.unlink(missing_ok=True)
                self._lock.release()
                raise
        except OSError as error:
            with suppress(OSError):  # the first error is the one to tell
                remove_empty(created)
            raise RunDirectoryError(f"{where}: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def run(self, name: str) -> Path:
        """Where a run of that name is or will be; one that was stopped half-way is removed."""
        folder = self.path / name
        if folder.exists() and not self.is_done(name):
            shutil.rmtree(folder)
        return folder

    def is_done(self, name: str) -> bool:
        """That run has a result."""
        return (self.path / name / RESULT).exists()

    def what_is_kept(self, repeat: int, plan: Path) -> list[str]:
        """After an experiment was stopped: lines on what there is of it, and how to go on."""
        names = [UNDISTURBED, *(f"faulted-{number}" for number in range(1, repeat + 1))]
        done = [name for name in names if self.is_done(name)]
        half = [name for name in names if (self.path / name).exists() and name not in done]
        kept = f"kept in {self.path}: {', '.join(done) or 'no whole run yet'}"
        again = f"; {half[0]} is half done and would begin anew" if half else ""
        command = ["everstep", "experiment", str(plan), "--repeat", str(repeat)]
        return [f"{kept}{again}", f"go on with: {shlex.join([*command, '--out', str(self.path)])}"]

    def _refuse_another(self, where: str, plan: bytes, config: Config) -> None:
        if not {entry.name for entry in self.path.iterdir()} - {LOCK}:
            return
        problem = None
        if (self.path / OUTCOME).exists():
            problem = "holds a finished experiment"
        elif not (self.plan.exists() and self.no_faults.exists()):  # both are written first
            problem = "exists already and is not empty"
        elif self.plan.read_bytes() != plan:
            problem = "holds an experiment with another plan"
        elif self.is_done(UNDISTURBED) and self._trained() != config:
            problem = "holds an experiment with another configuration"
        if problem:
            raise RunDirectoryError(f"{where}: {problem}; choose another directory")

    def _trained(self) -> Config:
        """What the undisturbed run was."""
        return load_config(self.path / UNDISTURBED / CONFIG)
