"""How the cost grows: with workers, with the model, with shards, and at the start.

    python -m benchmarks.scale [PART ...] [--out scale.json] [--picture FOLDER] [--markdown]
    python -m benchmarks.scale [PART ...] --from scale.json [--picture FOLDER] [--markdown]

workers   the step with 1 to 16 workers, computation EMULATED by waiting
server    CPU of the server a message and a byte; a CALCULATION for clusters
sizes     time, bytes and peak memory with 1e4 to 1e7 parameters
shards    the step with 1 to 64 shards at a fixed batch
startup   `everstep train` to its first step, against `ray.init` and three bare actors

Prints tables; the JSON holds every single number. `docs/scaling.md` says how to read them.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from rich.console import Console

from benchmarks import machine
from benchmarks.scaling import server, shards, sizes, startup, workers

_PARTS: Final[dict[str, ModuleType]] = {
    "workers": workers,
    "server": server,
    "sizes": sizes,
    "shards": shards,
    "startup": startup,
}
_PICTURES: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "sizes": sizes.draw,
    "shards": shards.draw,
}


def main() -> None:
    """Run the parts in turn, or take an earlier run's numbers; show what came out."""
    options = _options()
    console = Console()
    if options.source is not None:
        content = json.loads(options.source.read_text())
        for name in options.parts or content["parts"]:
            _show(name, content["parts"][name], options, console)
        return
    progress = Console(stderr=True)
    parts: dict[str, Any] = {}
    for name in options.parts or _PARTS:
        parts[name] = _PARTS[name].run(lambda line: progress.print(f"{line} ...", highlight=False))
        content = {"machine": machine.describe(), "parts": parts}
        options.out.write_text(json.dumps(content, indent=2) + "\n")
        _show(name, parts[name], options, console)
    console.print(f"every number: {options.out}", highlight=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {', '.join(_PARTS)}")
    parser.add_argument("--out", type=Path, default=Path("scale.json"))
    parser.add_argument(
        "--picture", type=Path, metavar="FOLDER", help="draw sizes.svg and shards.svg there"
    )
    parser.add_argument("--markdown", action="store_true", help="tables for a document")
    parser.add_argument(
        "--from", dest="source", type=Path, help="show an earlier run's JSON, run nothing"
    )
    options = parser.parse_args()
    if unknown := set(options.parts) - set(_PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(_PARTS)}")
    return options


def _show(name: str, measured: dict[str, Any], options: argparse.Namespace, to: Console) -> None:
    for shown in _PARTS[name].show(measured):
        if isinstance(shown, str):
            to.print(shown, highlight=False, markup=False)
        elif options.markdown:
            print(shown.for_document())
        else:
            to.print(shown.for_terminal(), highlight=False)
    if options.picture and name in _PICTURES:
        options.picture.mkdir(parents=True, exist_ok=True)
        (options.picture / f"{name}.svg").write_text(_PICTURES[name](measured))


if __name__ == "__main__":
    main()
