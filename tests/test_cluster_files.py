"""cluster.yaml and the files for a cloud and for Kubernetes are what Ray and KubeRay read.

Ray's own schema and code look at the launcher's files. KubeRay is no Python package: what its
`ray.io/v1` takes is written down in `kuberay.py`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.kuberay import RAY_JOB, submitter_line

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


@pytest.fixture
def manifests(repository: Path) -> dict[str, dict[str, Any]]:
    """Those of examples/rayjob.yaml by their kinds."""
    text = (repository / "examples" / "rayjob.yaml").read_text()
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(text)}


def test_the_manifest_is_what_kuberay_takes(manifests: dict[str, dict[str, Any]]) -> None:
    job = manifests["RayJob"]
    jsonschema.validate(job, RAY_JOB)
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"]["mode"] == "token"
    (workers,) = cluster["workerGroupSpecs"]
    assert 0 < workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for nodes in (cluster["headGroupSpec"], workers):
        assert int(nodes["rayStartParams"]["object-store-memory"]) > 0


@pytest.mark.parametrize(
    ("keys", "value", "why"),
    [
        (["spec", "backoffLimit"], "3", "'3' is not of type 'integer'"),
        (["spec", "rayClusterConfig"], {}, "'rayClusterConfig' was unexpected"),
        (["spec", "submissionMode"], "HTTP", "'HTTP' is not one of"),
        (["spec", "rayClusterSpec"], {}, "'headGroupSpec' is a required property"),
        (["spec", "rayClusterSpec", "authOptions", "mode"], "on", "'on' is not one of"),
    ],
)
def test_what_kuberay_would_not_take_is_found(
    manifests: dict[str, dict[str, Any]], keys: list[str], value: object, why: str
) -> None:
    *path, last = keys
    changed = manifests["RayJob"]
    for key in path:
        changed = changed[key]
    changed[last] = value
    with pytest.raises(jsonschema.ValidationError, match=re.escape(why)):
        jsonschema.validate(manifests["RayJob"], RAY_JOB)


def test_the_manifest_s_run_directory_is_on_its_volume(
    manifests: dict[str, dict[str, Any]],
) -> None:
    spec = manifests["RayJob"]["spec"]
    head = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    (volume,) = head["volumes"]
    claim = manifests["PersistentVolumeClaim"]["metadata"]["name"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim
    (mount,) = head["containers"][0]["volumeMounts"]
    assert mount["name"] == volume["name"]
    assert f"--out {mount['mountPath']}/" in spec["entrypoint"]


# What `ray job submit` does with the rest of its arguments, and Ray's job agent with that.
SUBMIT = """\
#!{python}
import shlex, subprocess, sys

_, _, verb, *rest = sys.argv
if verb == "status":
    sys.exit("no such job")
if verb == "submit":
    entrypoint = {joined}(rest[rest.index("--") + 1 :])
    sys.exit(subprocess.run(entrypoint, shell=True).returncode)
"""
# Says which arguments it got, one a line.
EVERSTEP = """\
#!/bin/sh
printf '%s\\n' "$@"
"""


@pytest.mark.parametrize("joined", ["shlex.join", "subprocess.list2cmdline"])  # Ray 2.60's, 2.52's
def test_kuberay_s_submitter_starts_the_manifest_s_entrypoint_which_trains_or_goes_on(
    manifests: dict[str, dict[str, Any]], joined: str, tmp_path: Path
) -> None:
    """With stand-ins for `ray` and `everstep`, and the shells that are there."""
    for name, text in (("ray", SUBMIT), ("everstep", EVERSTEP)):
        (tmp_path / name).write_text(text.format(python=sys.executable, joined=joined))
        (tmp_path / name).chmod(0o755)
    entrypoint = manifests["RayJob"]["spec"]["entrypoint"].replace("/runs", str(tmp_path))
    path = f"{tmp_path}:{os.environ['PATH']}"

    def run() -> list[str]:
        command = ["bash", "-ce", submitter_line(entrypoint)]
        environment = {**os.environ, "PATH": path}
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        return done.stdout.replace(str(tmp_path), "/runs").splitlines()

    train = ["train", "--out", "/runs/digits", "--set", "cluster.workers={min: 1, max: 4}"]
    assert run() == train
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "config.yaml").touch()  # there before the first checkpoint
    assert run() == ["resume", "/runs/digits"]
