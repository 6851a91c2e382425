"""cluster.yaml and the file for a cloud are what Ray's launcher reads: its schema and code look.

Next: test_aws_launcher.py, what Ray makes of the latter; test_rayjob.py, on Kubernetes.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

LAUNCHER_FILES = ("cluster.yaml", "examples/cluster-aws.yaml")
START = ("head_start_ray_commands", "worker_start_ray_commands")


def prepared(path: Path) -> dict[str, Any]:
    """As `ray up` reads it, with what the provider adds."""
    from ray.autoscaler._private.util import prepare_config

    config: dict[str, Any] = prepare_config(yaml.safe_load(path.read_text()))
    return config


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_ray_s_schema_takes_the_launcher_s_file(name: str, repository: Path) -> None:
    from ray.autoscaler._private.util import validate_config

    config = prepared(repository / name)
    validate_config(config)
    with pytest.raises(jsonschema.ValidationError, match="idle_minutes"):
        validate_config(config | {"idle_minutes": 5})


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_ray_adds_no_command_of_its_own(name: str, repository: Path) -> None:
    """Of those that its defaults have, some install another Ray."""
    written = yaml.safe_load((repository / name).read_text())
    config = prepared(repository / name)
    setup = written["setup_commands"]
    assert config["head_setup_commands"] == setup + written.get("head_setup_commands", [])
    assert config["worker_setup_commands"] == setup
    for commands in START:
        assert config[commands] == written[commands]


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_the_number_of_workers_may_change(name: str, repository: Path) -> None:
    config = prepared(repository / name)
    workers = [
        kind for kind in config["available_node_types"].values() if kind.get("max_workers", 0)
    ]
    assert len(workers) == 1
    assert 0 < workers[0]["min_workers"] < workers[0]["max_workers"] <= config["max_workers"]


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_the_token_goes_to_every_host_and_every_ray_wants_it(name: str, repository: Path) -> None:
    config = yaml.safe_load((repository / name).read_text())
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert config["setup_commands"][0] == "chmod 600 ~/.ray/auth_token"
    (profile,) = (each for each in config["setup_commands"] if each.startswith("printf"))
    assert "'export RAY_AUTH_MODE=token' 'export RAY_ADDRESS=auto'" in profile
    for commands in START:
        stop, start = config[commands]
        assert stop == "ray stop"
        assert re.match(r"RAY_AUTH_MODE=token (\S+=0 )?ray start ", start)
        assert re.search(r" --object-store-memory=\d+( |$)", start)


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_every_host_gets_one_ray_that_everstep_allows(name: str, repository: Path) -> None:
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    (extra,) = map(Requirement, project["optional-dependencies"]["cluster"])
    assert (extra.name, extra.extras) == ("ray", {"default"})  # the launcher, and jobs
    install = yaml.safe_load((repository / name).read_text())["setup_commands"][2]
    (version,) = re.findall(r"ray\[default\]==([\d.]+)", install)
    assert '"$HOME/everstep[cluster,storage]"' in install
    assert extra.specifier.contains(version)


@pytest.mark.parametrize("name", ["cluster.yaml", "docs/clusters.md"])
def test_beside_ray_down_stands_what_ends_ray_on_the_workers(
    name: str, repository: Path, tmp_path: Path
) -> None:
    """With a stand-in for ssh: on each worker that cluster.yaml names, as its user.

    What ssh is told to do there, tests/hosts/test_ray_up.py does.
    """
    text = (repository / name).read_text()
    (command,) = re.findall(r"for host in .*; done$", text, re.MULTILINE)
    (tmp_path / "ssh").write_text("#!/bin/sh\necho $1: $2\n")
    (tmp_path / "ssh").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.check_output(["bash", "-c", command], env=environment, text=True)
    config = yaml.safe_load((repository / "cluster.yaml").read_text())
    user, workers = config["auth"]["ssh_user"], config["provider"]["worker_ips"]
    stop = ". ~/.everstep.sh && ray stop"
    assert done.splitlines() == [f"{user}@{worker}: {stop}" for worker in workers]


@pytest.mark.parametrize("name", ["README.md", "cluster.yaml", "docs/clusters.md"])
def test_no_command_puts_a_run_on_the_head_s_own_disk(name: str, repository: Path) -> None:
    """It would be lost with the head, and the run is to go on elsewhere then."""
    lines = (repository / name).read_text().splitlines()
    commands = [
        line for line in lines if re.search("(exec .*|-- )everstep train|--address HEAD", line)
    ]
    assert commands
    for command in commands:
        assert re.search(r"--out (/shared/|s3://BUCKET/)", command), command
