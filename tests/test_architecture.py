"""Which package may know what: checked on the sources, not on what happens to be imported."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOCKETS = {"socket", "socketserver", "selectors", "asyncio", "ssl", "http", "urllib"}
UNSAFE = {"pickle", "cloudpickle", "marshal", "shelve", "dill"}


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports anywhere, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a name is from"
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def sources(repository: Path, package: str) -> list[Path]:
    found = sorted((repository / package).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("folder", ["actors", "trainer", "benchmarks"])
def test_a_file_holds_one_idea_and_fewer_than_250_lines(folder: str, repository: Path) -> None:
    counted = {path: len(path.read_text().splitlines()) for path in sources(repository, folder)}
    assert {path: count for path, count in counted.items() if count >= 250} == {}


def test_actors_never_import_the_trainer(repository: Path) -> None:
    for path in sources(repository, "actors"):
        assert "trainer" not in imported(path), path


def test_only_the_shell_on_ray_imports_ray(repository: Path) -> None:
    importers = {
        path.relative_to(repository).as_posix()
        for package in ("actors", "trainer")
        for path in sources(repository, package)
        if "ray" in imported(path)
    }
    # The actors' life on Ray, how this process comes to a Ray, where Ray puts them, and what its
    # dashboard is told.
    names = ("cluster", "joining", "metrics", "places")
    assert importers == {f"actors/ray_{name}.py" for name in names}


def test_the_trainer_imports_no_socket(repository: Path) -> None:
    for path in sources(repository, "trainer"):
        assert not imported(path) & SOCKETS, path


@pytest.mark.parametrize("core", [
        "worker", "parameter_server", "coordinator", "reduction", "assignment", "presence",
        "supervisor", "pace", "names", "muster", "placement", "likeness", "meter",
    ],
)  # fmt: skip
def test_the_cores_know_no_socket_no_clock_no_thread_and_no_randomness(
    core: str, repository: Path
) -> None:
    forbidden = SOCKETS | {"time", "random", "secrets", "threading", "queue", "ray", "os"}
    assert not imported(repository / "actors" / f"{core}.py") & forbidden


def test_an_actor_s_process_loads_nothing_that_it_does_not_use() -> None:
    # What a worker and a server unpickle when they start; each import delays the first step.
    program = (
        "import sys; before = {*sys.modules};"
        "import actors.processes, trainer.objective, trainer.local_steps, trainer.optimizers;"
        "print(*{*sys.modules} - before)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    packages = {name.partition(".")[0] for name in loaded}
    assert {"numpy", "threadpoolctl", "trainer"} < packages
    unused = {"pydantic", "yaml", "sklearn", "scipy", "safetensors", "rich", "typer", "ray"}
    assert not packages & unused


def test_nothing_unpickles_or_evaluates(repository: Path) -> None:
    for package in ("actors", "trainer"):
        for path in sources(repository, package):
            assert not imported(path) & UNSAFE, path
            called = {
                node.func.id
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            assert not called & {"eval", "exec", "compile"}, path
            assert "allow_pickle=True" not in path.read_text(), path
