"""Every benchmark's command starts, and a wrong file is one line."""

import subprocess
import sys
from pathlib import Path

import pytest


def run(repository: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["compare", "local_steps", "recovery", "scale"])
def test_a_benchmark_says_how_it_is_used(name: str, repository: Path) -> None:
    done = run(repository, f"benchmarks.{name}", "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


@pytest.mark.parametrize("file", ["pyproject.toml", "nope.json"])
def test_what_is_no_earlier_comparison_is_one_line(file: str, repository: Path) -> None:
    done = run(repository, "benchmarks.compare", "--from", file)
    assert done.returncode == 1
    assert done.stderr.startswith(f"--from {file}: ")
    assert done.stderr.count("\n") == 1
