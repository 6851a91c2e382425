"""What memory a process of this Linux machine had at most, from /proc.

The kernel's own peak (VmHWM) misses nothing, and counts a page that two processes share in
both. The proportional size (PSS) counts it once in all, but has to be sampled; here it is
that of anonymous and shared memory, without the libraries' files, whose share of a process
depends on how many others run.
"""

import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_EVERY_S: Final = 0.01
_KIB: Final = 1024
_FORGET_PEAK: Final = "5"  # proc(5), clear_refs


def peak_bytes(process_id: int) -> int:
    """The most resident memory since the process started, or since `forget_peak`."""
    return _fields(Path(f"/proc/{process_id}/status"), "VmHWM:")


def forget_peak(process_id: int) -> None:
    """From now on the peak is that of what comes."""
    Path(f"/proc/{process_id}/clear_refs").write_text(_FORGET_PEAK)


class ProportionalPeaks:
    """Samples processes for as long as the `with` block lasts."""

    def __init__(self, process_ids: Iterable[int]) -> None:
        self.most_bytes = dict.fromkeys(process_ids, 0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._look()  # what is over before the first sample has its size too
        self._thread.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _sample(self) -> None:
        while not self._over.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        for process_id, most in self.most_bytes.items():
            path = Path(f"/proc/{process_id}/smaps_rollup")
            self.most_bytes[process_id] = max(most, _fields(path, "Pss_Anon:", "Pss_Shmem:"))


def _fields(path: Path, *names: str) -> int:
    """The sum of so many lines of KiB, in bytes."""
    lines = [line.split() for line in path.read_text().splitlines()]
    found = [int(line[1]) * _KIB for line in lines if line[0] in names]
    if len(found) != len(names):
        raise ValueError(f"{path}: {len(found)} of the lines {', '.join(names)}")
    return sum(found)
