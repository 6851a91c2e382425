"""What a measurement was made on: nothing in it names a person or a place."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
from threadpoolctl import threadpool_info

_PACKAGES: Final = ("numpy", "ray", "torch", "scikit-learn")


def describe() -> dict[str, Any]:
    """CPU, cores, kernel, Python, BLAS and the versions of what is compared (None: not there)."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "blas": _numpy_blas(),
        **{package: _version(package) for package in _PACKAGES},
    }


def as_line(machine: dict[str, Any]) -> str:
    """The description as text."""
    versions = [f"{name} {machine[name]}" for name in _PACKAGES if machine.get(name)]
    parts = [
        f"{machine['cpu']}, {machine['cores']} cores",
        machine["kernel"],
        f"Python {machine['python']}",
        machine["blas"],
        *versions,
    ]
    return "; ".join(parts)


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _numpy_blas() -> str:
    """Its name, version and the kernel that it chose for this CPU."""
    np.ones((2, 2)) @ np.ones((2, 2))
    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            kernel = pool.get("architecture") or "unknown"
            return f"{pool['internal_api']} {pool['version']} with {kernel} kernels"
    return "unknown BLAS"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
