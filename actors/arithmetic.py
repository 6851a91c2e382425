"""What decides how a process rounds: its CPU, its BLAS, its NumPy. In words, for `Hello`.

Equal words mean equal bytes from equal products and sums; other words may mean other last bits.
It says what is there and compares nothing. Next: `likeness.py`, which compares.
"""

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from threadpoolctl import threadpool_info

_CPU_INFO: Final = Path("/proc/cpuinfo")
# x86's names of what a CPU is, then ARM's; each once, in this order.
_CPU_KEYS: Final = (
    "vendor_id", "cpu family", "model", "model name",
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part",
)  # fmt: skip


def arithmetic_here() -> str:
    """A line for each fact of this process, `what=words`; a list has commas."""
    simd = np.show_config(mode="dicts")["SIMD Extensions"]  # as NumPy found them when it began
    facts = {
        "machine": platform.machine(),
        "CPU": cpu_of(_text(_CPU_INFO)),
        "SIMD": ",".join(simd.get("found", [])),
        "BLAS": " and ".join(sorted({*_blas(threadpool_info())})),
        "NumPy": np.__version__,
    }
    return "\n".join(f"{what}={words}" for what, words in facts.items())


def cpu_of(cpu_info: str) -> str:
    """What the first CPU of a /proc/cpuinfo is; empty where it does not say.

    The model is part of it: OpenBLAS cuts its products by the sizes of the model's caches.
    """
    first = cpu_info.strip().partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    known = {key.strip(): " ".join(words.split()) for key, _, words in pairs}
    return ", ".join(f"{key} {known[key]}" for key in _CPU_KEYS if key in known)


def _blas(libraries: list[dict[str, Any]]) -> Iterator[str]:
    """Name, version and the kernels that it has chosen, of NumPy's BLAS.

    Others may have brought one of their own; NumPy's comes with it, or is the only one.
    """
    loaded = [library for library in libraries if library["user_api"] == "blas"]
    for library in [each for each in loaded if "numpy" in each["filepath"]] or loaded:
        parts = (library.get(key) for key in ("internal_api", "version", "architecture"))
        yield " ".join(str(part) for part in parts if part)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
