"""examples/rayjob.yaml is what KubeRay and Ray's autoscaler read, and its entrypoint trains.

KubeRay is no Python package: what it takes is written down in `kuberay.py`. What Ray makes of the
cluster, its own code says.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.kuberay import refusals, submitter_line

_GONE: Final = object()  # instead of a value: the key is not there
_CLUSTER: Final = "spec.rayClusterSpec"
_HEAD: Final = f"{_CLUSTER}.headGroupSpec"
_WORKERS: Final = f"{_CLUSTER}.workerGroupSpecs.0"


@pytest.fixture
def manifests(repository: Path) -> dict[str, dict[str, Any]]:
    """Those of examples/rayjob.yaml by their kinds."""
    text = (repository / "examples" / "rayjob.yaml").read_text()
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(text)}


@pytest.fixture
def job(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return manifests["RayJob"]


def put(job: dict[str, Any], path: str, value: object) -> None:
    """Change it, at keys and numbers with dots between."""
    *keys, last = path.split(".")
    place: Any = job
    for key in keys:
        place = place[int(key) if key.isdecimal() else key]
    if value is _GONE:
        del place[last]
    else:
        place[last] = value


def test_the_manifest_is_what_kuberay_takes(job: dict[str, Any]) -> None:
    assert refusals(job) == []
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"]["mode"] == "token"
    (workers,) = cluster["workerGroupSpecs"]
    assert 0 < workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for nodes in (cluster["headGroupSpec"], workers):
        assert int(nodes["rayStartParams"]["object-store-memory"]) > 0


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("spec.backoffLimit", "3", "'3' is not of type 'integer'"),
        ("spec.rayClusterConfig", {}, "'rayClusterConfig' was unexpected"),
        ("spec.submissionMode", "HTTP", "'HTTP' is not one of"),
        ("spec.managedBy", "x", "'x' is not one of"),
        ("spec.activeDeadlineSeconds", 0, "0 is less than the minimum of 1"),
        ("spec.rayClusterSpec", {}, "'headGroupSpec' is a required property"),
        ("spec.rayClusterSpec", _GONE, "is not valid under any of the given schemas"),
        ("spec.clusterSelector", {"app": "x"}, "'ray.io/cluster' is a required property"),
        (
            "spec.shutdownAfterJobFinishes",
            _GONE,
            "ttlSecondsAfterFinished without shutdownAfterJob",
        ),
        ("spec.submissionMode", "InteractiveMode", "backoffLimit with InteractiveMode"),
        ("metadata.name", "Digits", "'Digits' does not match"),
        ("metadata.name", "a" * 48, f"'{'a' * 48}' is too long"),
        (f"{_CLUSTER}.authOptions.mode", "on", "'on' is not one of"),
        (f"{_CLUSTER}.managedBy", "x", "'x' is not one of"),
        (f"{_CLUSTER}.rayVersion", "newest", "'newest' does not match"),
        (f"{_CLUSTER}.rayVersion", _GONE, "authOptions.mode token without a rayVersion"),
        (f"{_CLUSTER}.rayVersion", "2.51.2", "authOptions.mode token with rayVersion 2.51.2"),
        (f"{_HEAD}.template.spec.containers", [], "[] should be non-empty"),
        (f"{_HEAD}.template.spec.restartPolicy", "Always", "head: restartPolicy Always"),
        (f"{_HEAD}.resources", {"CPU": "1"}, "head: resources and rayStartParams"),
        (f"{_HEAD}.rayStartParams.labels", "a=b", "False schema does not allow 'a=b'"),
        (f"{_WORKERS}.template.spec.containers", [], "[] should be non-empty"),
        (f"{_WORKERS}.template.spec.restartPolicy", "OnFailure", "workers: restartPolicy"),
        (f"{_WORKERS}.suspend", True, "workers: suspend with enableInTreeAutoscaling"),
    ],
)
def test_what_kuberay_would_not_take_is_found(
    job: dict[str, Any], path: str, value: object, why: str
) -> None:
    put(job, path, value)
    (found,) = refusals(job)
    assert why in found


def as_ray_reads_it(job: dict[str, Any]) -> dict[str, Any]:
    """The autoscaler's configuration, made of the cluster that KubeRay makes of the job."""
    from ray.autoscaler._private.kuberay.autoscaling_config import (
        _derive_autoscaling_config_from_ray_cr as derived_from,
    )

    cluster = {"metadata": {"name": "digits", "namespace": "default"}}
    read: dict[str, Any] = derived_from(cluster | {"spec": job["spec"]["rayClusterSpec"]})
    return read


def test_ray_s_autoscaler_reads_the_groups_as_they_are_meant(job: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import validate_config

    config = as_ray_reads_it(job)
    validate_config(config)
    kinds = {
        name: (kind["min_workers"], kind["max_workers"], kind["resources"]["CPU"])
        for name, kind in config["available_node_types"].items()
    }
    assert kinds == {"headgroup": (0, 0, 0), "workers": (1, 4, 1)}
    assert config["max_workers"] == 4
    assert config["idle_timeout_minutes"] == 1


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (f"{_WORKERS}.minReplicas", 5, "`max_workers` is smaller than the sum of `min_workers`"),
        (f"{_WORKERS}.template.spec.containers.0.resources", {}, "failed to detect `CPU`"),
    ],
)
def test_what_ray_s_autoscaler_would_not_take_is_found(
    job: dict[str, Any], path: str, value: object, why: str
) -> None:
    put(job, path, value)
    with pytest.raises(ValueError, match=re.escape(why)):
        as_ray_reads_it(job)


def test_the_documented_commands_wait_for_what_the_next_one_needs(
    job: dict[str, Any], repository: Path
) -> None:
    """They are not run anywhere: their order, and the name in them."""
    text = (repository / "docs" / "clusters.md").read_text()
    submitter = f"job/{job['metadata']['name']}"  # KubeRay names it as the RayJob
    steps = (
        "helm repo add kuberay ",
        "helm install kuberay-operator ",
        " kubectl apply -f -",
        f"kubectl wait --for=create --timeout=15m {submitter}",
        f"kubectl wait --for=jsonpath='{{.status.ready}}'=1 --timeout=5m {submitter}",
        f"kubectl logs -f {submitter}",
    )
    places = [text.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)


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
