"""cluster.yaml and the files for a cloud and for Kubernetes are what Ray and KubeRay read.

Ray's own schema and code look at the launcher's files. KubeRay is no Python package: the fields of
its `ray.io/v1` are written down here, those of version 1.5.1, the first with `authOptions`.
"""

import re
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
    assert any("export RAY_AUTH_MODE=token" in command for command in config["setup_commands"])
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
    assert '"$HOME/everstep[cluster]"' in install
    assert extra.specifier.contains(version)


# Fields of KubeRay's and Kubernetes' kinds that a manifest of ours may have, and their types; a
# dict stands for an object of these fields, a list for any number of the one kind in it.
TEXTS = {str: str}
RESOURCES = {"requests": TEXTS, "limits": TEXTS}
CONTAINER = {
    "name": str,
    "image": str,
    "resources": RESOURCES,
    "volumeMounts": [{"name": str, "mountPath": str}],
}
POD = {
    "spec": {
        "restartPolicy": str,
        "securityContext": {"fsGroup": int},
        "containers": [CONTAINER],
        "volumes": [{"name": str, "persistentVolumeClaim": {"claimName": str}}],
    }
}
NODES = {"rayStartParams": TEXTS, "template": POD}
RAY_CLUSTER = {
    "rayVersion": str,
    "authOptions": {"mode": str},
    "enableInTreeAutoscaling": bool,
    "autoscalerOptions": {"version": str, "idleTimeoutSeconds": int, "upscalingMode": str},
    "headGroupSpec": NODES,
    "workerGroupSpecs": [
        NODES | {"groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int}
    ],
}
RAY_JOB = {
    "apiVersion": str,
    "kind": str,
    "metadata": {"name": str},
    "spec": {
        "entrypoint": str,
        "submissionMode": str,
        "runtimeEnvYAML": str,
        "activeDeadlineSeconds": int,
        "backoffLimit": int,
        "shutdownAfterJobFinishes": bool,
        "ttlSecondsAfterFinished": int,
        "rayClusterSpec": RAY_CLUSTER,
    },
}


def strangers(found: Any, fields: Any, where: str = "") -> list[str]:
    """What is in a manifest and not among the fields, or of another type."""
    if isinstance(fields, list):
        if not isinstance(found, list):
            return [where]
        return [
            s for n, each in enumerate(found) for s in strangers(each, *fields, f"{where}[{n}]")
        ]
    if isinstance(fields, dict):
        if not isinstance(found, dict):
            return [where]
        kinds = {name: fields.get(str if str in fields else name, None) for name in found}
        return [
            s
            for name, kind in kinds.items()
            for s in strangers(found[name], kind, f"{where}.{name}")
        ]
    return [] if type(found) is fields else [where]


@pytest.fixture
def manifests(repository: Path) -> dict[str, dict[str, Any]]:
    """Those of examples/rayjob.yaml by their kinds."""
    text = (repository / "examples" / "rayjob.yaml").read_text()
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(text)}


def test_the_manifest_has_fields_of_kuberay_s_only(manifests: dict[str, dict[str, Any]]) -> None:
    job = manifests["RayJob"]
    assert strangers(job, RAY_JOB) == []
    spec = job["spec"]
    wrong = job | {"spec": spec | {"backoffLimit": "3", "rayClusterConfig": {}}}
    assert strangers(wrong, RAY_JOB) == [".spec.backoffLimit", ".spec.rayClusterConfig"]
    assert job["apiVersion"] == "ray.io/v1"
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"]["mode"] == "token"
    assert cluster["autoscalerOptions"]["version"] in ("v1", "v2")
    (workers,) = cluster["workerGroupSpecs"]
    assert 0 < workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for nodes in (cluster["headGroupSpec"], workers):
        assert int(nodes["rayStartParams"]["object-store-memory"]) > 0
        (container,) = nodes["template"]["spec"]["containers"]
        for amounts in container["resources"].values():
            assert re.fullmatch(r"\d+m?", amounts["cpu"])
            assert re.fullmatch(r"\d+[MG]i", amounts["memory"])


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


def test_the_manifest_s_entrypoint_trains_and_goes_on(
    manifests: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """With a stand-in for the command: the shell, which Ray runs it with, takes one of its ways."""
    import subprocess

    entrypoint = manifests["RayJob"]["spec"]["entrypoint"].replace("/runs", str(tmp_path))
    shell = f"everstep() {{ echo $*; }}; {entrypoint}"

    def run() -> str:
        done = subprocess.run(shell, shell=True, capture_output=True, text=True, check=True)
        return done.stdout.replace(str(tmp_path), "/runs").strip()

    assert run() == "train --out /runs/digits --set cluster.workers={min: 1, max: 4}"
    checkpoints = tmp_path / "digits" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "step-00000450.safetensors").touch()
    assert run() == "resume /runs/digits"
