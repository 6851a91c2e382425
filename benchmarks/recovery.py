"""How long no step is finished around a fault: Everstep, and its peers where installed.

    python -m benchmarks.recovery [--faults 20] [--seed 0] [--out recovery.json] [CASE ...]

A 20 ms step, two workers, two cores. The yardstick is the longest time without a finished
step around each fault, and the steps that are done again (in all, and the most of one fault) or
lost. Prints a table; the JSON holds every single number. Peers: `pip install '.[peers]'`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks import actor_faults, driver_faults, machine
from benchmarks.private_ray import private_ray

_PEERS: Final = {
    "ray-train": "benchmarks.peers.ray_train",
    "torchft": "benchmarks.peers.torchft_ddp",
}
_ACTOR_FAULTS: Final = ("worker killed", "worker stopped", "server killed")
_CASES: Final = (*_ACTOR_FAULTS, "driver killed", "overhead", *_PEERS)
_NOT_INSTALLED: Final = 3
_PEER_FAULTS: Final = 3
_PAIRS: Final = 21
_PEER_MOST_S: Final = 900.0


def main() -> None:
    """Run the cases in turn and show what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of: {', '.join(_CASES)}")
    parser.add_argument("--faults", type=int, default=20, help="of each kind")
    parser.add_argument("--peer-faults", type=int, default=_PEER_FAULTS, help="a peer's, each")
    parser.add_argument("--pairs", type=int, default=_PAIRS, help="of trainings, for overhead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("recovery.json"))
    options = parser.parse_args()
    if unknown := set(options.cases) - set(_CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(_CASES)}")
    cases = options.cases or _CASES
    console = Console()
    results: list[dict[str, Any]] = []
    for case in cases:
        if (measured := _measure(case, options, console)) is not None:
            results.append(measured)
            # After each case: who is interrupted keeps what is measured.
            found = {"machine": machine.describe(), "results": results}
            options.out.write_text(json.dumps(found, indent=2) + "\n")
    console.print(_table(results))
    console.print(f"every number: {options.out}", highlight=False)


def _measure(case: str, options: argparse.Namespace, console: Console) -> dict[str, Any] | None:
    console.print(f"{case} ...", highlight=False)
    if case in _PEERS:
        return _peer(case, options, console)
    if case in _ACTOR_FAULTS:
        with private_ray(actor_faults.WORKERS):  # a CPU for each, as `everstep train` has it
            return actor_faults.measure(case, options.faults, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        if case == "overhead":
            return driver_faults.overhead(Path(folder), options.pairs)
        return driver_faults.driver_killed(Path(folder), options.faults, options.seed)


def _peer(case: str, options: argparse.Namespace, console: Console) -> dict[str, Any] | None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "peer.json"
        faults = ["--kills", str(options.peer_faults), "--seed", str(options.seed)]
        command = [sys.executable, "-m", _PEERS[case], *faults, "--out", str(out)]
        status = subprocess.run(command, check=False, timeout=_PEER_MOST_S).returncode
        if status == _NOT_INSTALLED:
            return None  # it has said so itself
        if status:
            console.print(f"{case}: failed with status {status}", style="red", highlight=False)
            return None
        return _as_result(case, json.loads(out.read_text()))


def _as_result(case: str, measured: dict[str, Any]) -> dict[str, Any]:
    kills: Sequence[dict[str, Any]] = measured["kills"]
    return {
        "kind": f"{case}: worker killed",
        "stalled_s": [kill["stalled_s"] for kill in kills],
        "repeated_steps": [kill["repeated_steps"] for kill in kills],
        "lost_steps": sum(kill["lost_steps"] for kill in kills),
        "peer": measured,
    }


def _table(results: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), title_justify="left")
    table.add_column("")
    for name in ("faults", "median s", "worst s", "repeated", "most", "lost", "bytes"):
        table.add_column(name, justify="right")
    for result in results:
        table.add_row(*_row(result))
    return table


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    same = {True: "same", False: "OTHER", None: "-"}[result.get("same_bytes")]
    if "on_s" in result:
        pairs = zip(result["on_s"], result["off_s"], strict=True)
        ratio = statistics.median(on_s / off_s for on_s, off_s in pairs)
        return result["kind"], "-", f"{ratio:.3f} x", *4 * "-", same
    stalled_s = result["stalled_s"]
    return (
        result["kind"],
        str(len(stalled_s)),
        f"{statistics.median(stalled_s):.2f}",
        f"{max(stalled_s):.2f}",
        str(sum(result["repeated_steps"])),
        str(max(result["repeated_steps"], default=0)),
        str(result.get("lost_steps", 0)),
        same,
    )


if __name__ == "__main__":
    main()
