"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

RunDirectoryArgument = Annotated[
    str, typer.Argument(metavar="DIR", help="The run directory that `train` wrote: path or URL.")
]
ConfigArgument = Annotated[
    Path | None,
    typer.Argument(metavar="CONFIG.yaml", help="Default: the handwritten digits."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Set one key; may be repeated."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Join this Ray cluster; default: RAY_ADDRESS, else a private Ray on this"
        " machine. `auto`: the one of this node; `local`: a private Ray in any case.",
    ),
]
FaultsOption = Annotated[
    Path | None,
    typer.Option(metavar="PLAN.yaml", help="What to do to the training on purpose."),
]
ProfileOption = Annotated[
    bool,
    typer.Option(
        "--profile", help="Show where each step's time goes; write DIR/trace.json for Perfetto."
    ),
]
CheckpointOption = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="NAME",
        help="A checkpoint's file, or its name in DIR/checkpoints; default: the newest.",
    ),
]
