"""The command `everstep`. Each command imports what it needs when it runs.

Exit status: 0 done; 1 it failed; 2 the command, the configuration, the data or the place to write
to is wrong, or what is named is not there; 130 stopped by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
"""

import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from actors.errors import EverstepError
from actors.side_thread import end_if_a_call_hangs
from trainer.command_options import (
    AddressOption,
    CheckpointOption,
    ConfigArgument,
    FaultsOption,
    ProfileOption,
    RunDirectoryArgument,
    SetOption,
)
from trainer.errors import ConfigError, DataError, RunDirectoryError
from trainer.stop_signals import stopped_by_signals
from trainer.words import fitted

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Train neural networks with actors that may die at any moment: the final weights"
    " are the same bytes.",
)


@app.command()
def train(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="The run directory: a path, or a URL like s3://BUCKET/NAME; default:"
            " runs/DATE-TIME.",
        ),
    ] = None,
    address: AddressOption = None,
    faults: FaultsOption = None,
    profile: ProfileOption = False,
) -> None:
    """Train a network; write a run directory."""
    with _one_line_errors():
        from trainer.train_command import run_training

        run_training(config, overrides or [], out, address, faults, profile)


@app.command()
def resume(
    directory: RunDirectoryArgument,
    overrides: SetOption = None,
    address: AddressOption = None,
    faults: FaultsOption = None,
    profile: ProfileOption = False,
) -> None:
    """Go on with a training that was stopped, to the same final weights.

    What decides the weights stays; cluster, checkpoints, supervision and training.epochs may
    be set.
    """
    with _one_line_errors():
        from trainer.resume_command import run_resumption

        run_resumption(directory, overrides or [], address, faults, profile)


@app.command()
def experiment(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.yaml", help="Which faults, and when.")],
    repeat: Annotated[
        int, typer.Option(min=1, max=1000, help="How many trainings under the faults.")
    ] = 1,
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Where to write; default: runs/experiment-DATE-TIME."),
    ] = None,
) -> None:
    """Train undisturbed and under planned faults; compare the weights, count the cost."""
    with _one_line_errors():
        from trainer.experiment_command import run_experiment

        run_experiment(plan, repeat, out)


@app.command()
def status(
    directory: RunDirectoryArgument,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show where a training stands, who lives where, and who died; also while it runs."""
    with _one_line_errors():
        from trainer.status_command import print_status

        print_status(directory, as_json)


@app.command()
def evaluate(
    directory: RunDirectoryArgument,
    dataset: Annotated[
        str,
        typer.Option(metavar="DATASET", help="test, train, or a labelled .npz or .csv file."),
    ] = "test",
    checkpoint: CheckpointOption = None,
) -> None:
    """Print accuracy, loss and confusion matrix of a checkpoint on a dataset."""
    with _one_line_errors():
        from trainer.use_commands import print_evaluation

        print_evaluation(directory, checkpoint, dataset)


@app.command()
def predict(
    directory: RunDirectoryArgument,
    inputs: Annotated[
        str, typer.Argument(metavar="INPUTS", help="Rows to classify: a .npz or .csv file.")
    ],
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE.csv", help="The path to write to; default: standard output."),
    ] = None,
    checkpoint: CheckpointOption = None,
) -> None:
    """Write class and probabilities of each row, as CSV."""
    with _one_line_errors():
        from trainer.use_commands import write_predictions

        write_predictions(directory, checkpoint, inputs, out)


@app.command()
def simulate(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    schedules: Annotated[
        int, typer.Option(min=1, max=10_000_000, metavar="N", help="How many, from SEED on.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, metavar="S", help="The first one's.")] = 0,
    workers: Annotated[
        int, typer.Option(min=1, max=64, metavar="W", help="So many at most at once.")
    ] = 4,
    replay: Annotated[
        bool, typer.Option("--replay", help="Show one schedule message by message.")
    ] = False,
) -> None:
    """Run a configuration's actors under seeded adversaries, in one process.

    They kill, stop, cut off, repeat, delay and reorder. Every message that carries the
    training's state is compared with the undisturbed run's.
    """
    with _one_line_errors():
        from trainer.simulate_command import run_simulation

        run_simulation(config, overrides or [], schedules, seed, workers, replay)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        import trainer

        typer.echo(f"everstep {trainer.__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    try:
        app()
    except SystemExit as end:
        end_if_a_call_hangs(end.code if isinstance(end.code, int) else 0)
        raise


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Errors become one line each and an exit status."""
    try:
        with stopped_by_signals():
            yield
    except KeyboardInterrupt as error:
        number = getattr(error, "number", signal.SIGINT)
        _fail(f"stopped by {str(error) or 'Ctrl-C'}", error, 128 + number)
    except (ConfigError, DataError, RunDirectoryError) as error:
        _fail(str(error), error, 2)
    except EverstepError as error:
        _fail(str(error), error, 1)
    except BrokenPipeError:
        raise  # whoever read the output has gone: typer ends in silence
    except OSError as error:
        _fail(f"{error.filename or 'output'}: {error.strerror or error}", error, 1)
    except MemoryError as error:
        _fail(f"not enough memory: {error}", error, 1)


def _fail(text: str, error: BaseException, status: int) -> NoReturn:
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
    for line in [*text.splitlines(), *getattr(error, "__notes__", [])]:
        typer.echo(fitted(f"everstep: {line}", width), err=True)
    raise typer.Exit(status)
