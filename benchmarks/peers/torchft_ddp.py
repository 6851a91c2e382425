"""torchft under kills: two replica groups of one process each, and its lighthouse.

Set up as torchft's README says: a lighthouse with `--min_replicas 1 --quorum_tick_ms 100
--join_timeout_ms 10000`, and one `torchrun` per replica group, which restarts the group's process
when it dies (`--max_restarts`, as torchft's own launcher component has it). The heartbeat timeout
keeps its default. The process that torchrun runs is `torchft_replica`.

    python -m benchmarks.peers.torchft_ddp --kills 3 --seed 0 --out torchft.json
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.peers.kills import (
    WORKERS,
    Kills,
    PeerError,
    arguments,
    command,
    report,
    require,
)

_LIGHTHOUSE = ["--min_replicas", "1", "--quorum_tick_ms", "100", "--join_timeout_ms", "10000"]
_LEAVE_S = 15.0
_REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> int:
    """The command; its exit status."""
    parser = arguments("torchft_ddp", "Kill replica groups of a torchft data-parallel training.")
    parser.add_argument(
        "--heartbeat-timeout-ms",
        type=int,
        help="of the lighthouse: when it takes a silent replica for dead (default: its own)",
    )
    parser.add_argument(
        "--gradients",
        choices=("allreduce", "ddp"),
        default="allreduce",
        help="how they are averaged, see torchft_replica (default: %(default)s)",
    )
    options = parser.parse_args()
    require("torch", "torchft")
    return command(lambda: _measure(options))


def _measure(options: argparse.Namespace) -> None:
    lighthouse = list(_LIGHTHOUSE)
    if options.heartbeat_timeout_ms is not None:
        lighthouse += ["--heartbeat_timeout_ms", str(options.heartbeat_timeout_ms)]
    settings = {
        "lighthouse": " ".join(lighthouse),
        "gradients": options.gradients,
        "gloo_timeout_s": 5,
        "max_restarts": _restarts(options),
        "else": "torchft's defaults",
    }
    with tempfile.TemporaryDirectory(prefix="peer-") as name, ExitStack() as exits:
        folder = Path(name)
        address = f"127.0.0.1:{_free_port()}"
        processes = [exits.enter_context(_lighthouse(folder, address, lighthouse))]
        for group in range(WORKERS):
            processes.append(exits.enter_context(_replica_group(folder, group, address, options)))

        def check() -> None:
            for process in processes:
                if process.poll() is not None:
                    raise PeerError(f"{_short(process)} ended by itself: {_last_words(folder)}")

        kills = Kills(folder, options, check)
        costs = kills.run()
        step_s = kills.undisturbed_step_s()
    report("torchft", options, ["torchft", "torch"], settings, costs, step_s)


@contextmanager
def _lighthouse(
    folder: Path, address: str, options: Sequence[str]
) -> Iterator[subprocess.Popen[bytes]]:
    program = str(Path(sys.executable).with_name("torchft_lighthouse"))
    with _process(folder, [program, "--bind", address, *options], {}) as process:
        host, port = address.split(":")
        deadline_s = time.monotonic() + _LEAVE_S
        while not _listens(host, int(port)):
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise PeerError(f"the lighthouse does not listen: {_last_words(folder)}")
            time.sleep(0.1)
        yield process


@contextmanager
def _replica_group(
    folder: Path, group: int, lighthouse: str, options: argparse.Namespace
) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        "REPLICA_GROUP_ID": str(group),
        "NUM_REPLICA_GROUPS": str(WORKERS),
        "TORCHFT_LIGHTHOUSE": f"http://{lighthouse}",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }
    torchrun = [
        *(sys.executable, "-m", "torch.distributed.run"),
        *("--nnodes=1", "--nproc-per-node=1", f"--max-restarts={_restarts(options)}"),
        *("--master-addr=127.0.0.1", f"--master-port={_free_port()}"),
        *("-m", "benchmarks.peers.torchft_replica", str(folder), str(options.step_s)),
        options.gradients,
    ]
    with _process(folder, torchrun, environment) as process:
        yield process


def _restarts(options: argparse.Namespace) -> int:
    """As many as torchft's launcher component allows, or one for each kill."""
    return max(10, int(options.kills))


@contextmanager
def _process(
    folder: Path, words: list[str], environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A child that writes its output to ``folder`` and is ended on leaving.

    torchrun ends its own child on SIGTERM; a child whose torchrun is gone leaves by itself.
    """
    with (folder / f"{len(list(folder.glob('*.out')))}.out").open("wb") as output:
        process = subprocess.Popen(
            words,
            cwd=_REPOSITORY,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_LEAVE_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _short(process: subprocess.Popen[bytes]) -> str:
    return " ".join(str(word) for word in process.args[:3])  # type: ignore[index]


def _last_words(folder: Path) -> str:
    """The last error that any process wrote, in one line."""
    errors = [
        line
        for path in sorted(folder.glob("*.out"), key=lambda path: path.stat().st_mtime)
        for line in path.read_text(errors="replace").splitlines()
        if "error" in line.lower()
    ]
    return next((line for line in reversed(errors) if "Error:" in line), "".join(errors[-1:]))


if __name__ == "__main__":
    sys.exit(main())
