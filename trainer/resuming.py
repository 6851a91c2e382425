"""How a training goes on after its process has ended: from what, with what, and what may change.

Everything that decides the weights has to be as it was. The rest may change: where it runs,
with how many workers, how it is kept, and for how many epochs.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from trainer.checkpoints import Checkpoint, Intact, digest, newest_intact
from trainer.cluster_address import remembered
from trainer.config import Config
from trainer.config_file import apply_override, read_yaml, split_override
from trainer.datasets import Dataset, data_digest, load_dataset
from trainer.errors import ConfigError, DataError, RunDirectoryError
from trainer.files import FOLDER, checkpoints_in, set_aside
from trainer.job import build_network
from trainer.local_steps import rounds_of
from trainer.past import Before
from trainer.result import Result, Summary
from trainer.run_directory import RunDirectory
from trainer.run_place import CONFIG, RESULT
from trainer.storage.place import Place

_FREE: Final = ("cluster", "checkpoints", "supervision")


@dataclass(slots=True)
class Beginning:
    """What a process needs to train, from the first step or from a checkpoint on."""

    config: Config
    dataset: Dataset
    data_digest: str
    checkpoint: Checkpoint | None = None
    path: Place | None = None  # of the checkpoint
    damaged: dict[Place, str] = field(default_factory=dict)
    resumes: int = 0  # how often, with this time
    before: Before = field(default_factory=Before)  # how the process that trained last ended
    reported_epochs: int = 0  # those with a line in metrics.jsonl

    @property
    def complaints(self) -> list[str]:
        """A line for each damaged checkpoint."""
        return list(self.damaged.values())

    @property
    def steps_per_epoch(self) -> int:
        """A function of data and configuration."""
        return rounds_of(self.config.training, len(self.dataset.train_inputs)).per_epoch

    def prepare(self, run: RunDirectory) -> None:
        """Make the directory what it was at the checkpoint.

        Raises:
            RunDirectoryError: it can not be written.
        """
        step = self.checkpoint.step if self.checkpoint else 0
        self.before = run.how_it_ended()
        for path in self.damaged:
            set_aside(run.held / FOLDER / path.name)
        try:
            run.configure(self.config)
            self.resumes = run.rewind(step // self.steps_per_epoch) + 1
        except OSError as error:
            raise RunDirectoryError(
                f"DIR {run.path}: {error.strerror}; mend that and try again"
            ) from None
        self.reported_epochs = max((line["epoch"] for line in run.metrics.lines()), default=0)


def begin_again(run: RunDirectory, overrides: Sequence[str]) -> Beginning:
    """The newest intact checkpoint of a run with its configuration and data.

    Raises:
        ConfigError, DataError: something that decides the weights is not as it was.
        CheckpointError: there are checkpoints, and none is intact; names them.
    """
    config = _changed(Config(**read_yaml(run.path / CONFIG)), overrides)
    intact = newest_intact(run.path) if checkpoints_in(run.path / FOLDER) else None
    if intact is not None:
        _check_config(config, intact, run.path / CONFIG)
    dataset = load_dataset(config)
    hashed = data_digest(dataset)
    if intact is None:  # its process ended before the first one: all is to be done
        return Beginning(config, dataset, hashed)
    beginning = Beginning(config, dataset, hashed, *intact)
    _check_data(beginning)
    _check_epochs(beginning)
    return beginning


def completed(run: RunDirectory, beginning: Beginning) -> Result | None:
    """The result of a run that has nothing left to do; None: it has."""
    checkpoint, config = beginning.checkpoint, beginning.config
    if checkpoint is None or checkpoint.step < config.training.epochs * beginning.steps_per_epoch:
        return None
    # A result that is missing, half there or of another run is made anew.
    with suppress(OSError, ValueError, TypeError):
        summary = Summary(**json.loads((run.path / RESULT).read_text()))
        if summary.digest == digest(checkpoint.parameters):
            return Result(summary, build_network(config), checkpoint.parameters, run.path)
    return None


def refuse_idle_options(run: RunDirectory, faults: bool, profile: bool) -> None:
    """A finished run takes no option that is about what happens in training.

    Raises:
        RunDirectoryError: one was given, and could have no effect.
    """
    idle = {"--faults": "no fault could fire"} if faults else {}
    if profile:
        idle["--profile"] = "nothing was profiled"
    if idle:
        raise RunDirectoryError(
            f"DIR {run.path}: is complete already, {' and '.join(idle.values())}; leave out"
            f" {' and '.join(idle)}, or go on to more epochs with --set training.epochs=N"
        )


def _changed(config: Config, overrides: Sequence[str]) -> Config:
    sections = config.model_dump(mode="json")
    sections["cluster"]["address"] = remembered(config.cluster.address)
    for override in overrides:
        apply_override(sections, override)
    changed = Config(**sections)  # what does not exist is said first
    for override in overrides:
        path, _ = split_override(override)
        if path[0] not in _FREE and path != ["training", "epochs"]:
            raise ConfigError(
                f"--set {override}: {'.'.join(path)} decides the weights and stays as it is when"
                " a training goes on; allowed: cluster, checkpoints, supervision, training.epochs"
            )
    return changed


def _check_config(config: Config, intact: Intact, path: Place) -> None:
    ours, theirs = (_deciding(each) for each in (config, intact.checkpoint.config))
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            raise ConfigError(
                f"config {key}: {path} says {ours.get(key)}, {intact.path.name} was trained with"
                f" {theirs.get(key)}; set it back"
            )


def _deciding(config: Config) -> dict[str, Any]:
    """What decides the weights, by its key."""
    sections = config.model_dump(mode="json", include={"data", "network", "training"})
    keys = {
        f"{name}.{key}": value for name, part in sections.items() for key, value in part.items()
    }
    del keys["training.epochs"]
    return keys


def _check_data(beginning: Beginning) -> None:
    checkpoint = beginning.checkpoint
    if checkpoint and checkpoint.data_digest != beginning.data_digest:
        raise DataError(
            f"data {beginning.config.data.source}: not what this run was trained on (digest"
            f" {beginning.data_digest[:12]}, it was {checkpoint.data_digest[:12]}); bring the old"
            " data back, or train anew"
        )


def _check_epochs(beginning: Beginning) -> None:
    epochs, steps = beginning.config.training.epochs, beginning.steps_per_epoch
    if beginning.checkpoint and beginning.checkpoint.step > epochs * steps:
        step = beginning.checkpoint.step
        raise ConfigError(
            f"config training.epochs: {epochs} end with step {epochs * steps}, but step {step} is"
            f" done already; set it to {-(-step // steps)} or more"
        )
