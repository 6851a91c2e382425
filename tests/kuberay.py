"""What KubeRay's `ray.io/v1` takes in a RayJob, and what it makes of the entrypoint.

A JSON schema, written down from the Go types `RayJobSpec`, `RayClusterSpec` and their parts,
version 1.5.1: all their fields, those that must be there, and the values that are allowed. Of a
pod's own fields, which are Kubernetes', only those that a manifest of ours has; whoever uses
another adds it here. Below it are the rules that no schema says: which fields do not go together.
"""

from collections.abc import Iterator
from typing import Any, Final

from jsonschema import Draft202012Validator
from packaging.version import Version

Schema = dict[str, Any]


def an_object(properties: Schema, required: tuple[str, ...] = ()) -> Schema:
    """Of these fields and no others: Kubernetes drops what it does not know, in silence."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def one_of(*texts: str) -> Schema:
    return {"enum": list(texts)}


def many(items: Schema, at_least: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": at_least}


TEXT: Final[Schema] = {"type": "string"}
TEXTS: Final[Schema] = {"type": "object", "additionalProperties": TEXT}
NUMBER: Final[Schema] = {"type": "number"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
FLAG: Final[Schema] = {"type": "boolean"}
ANYTHING: Final[Schema] = {"type": "object"}  # not used by us, and not written down
# Of a job: DNS-1035, and six characters shorter than a cluster's, to which KubeRay adds them.
NAME: Final[Schema] = {"type": "string", "maxLength": 47, "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"}
MANAGER: Final = one_of("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")
# Both have fields of their own, elsewhere.
START: Final = TEXTS | {"properties": {"labels": False, "redis-username": False}}
RESOURCES: Final = {"num-cpus", "num-gpus", "memory", "resources"}  # of `ray start`

CPUS: Final[Schema] = {"type": "string", "pattern": r"^\d+m?$"}
BYTES: Final[Schema] = {"type": "string", "pattern": r"^\d+[KMGT]i$"}
AMOUNTS: Final = an_object({"cpu": CPUS, "memory": BYTES}, ("cpu", "memory"))
CONTAINER: Final = an_object(
    {
        "name": TEXT,
        "image": TEXT,
        "resources": an_object({"requests": AMOUNTS, "limits": AMOUNTS}),
        "volumeMounts": many(an_object({"name": TEXT, "mountPath": TEXT}, ("name", "mountPath"))),
    },
    ("name", "image"),
)
VOLUME: Final = an_object(
    {"name": TEXT, "persistentVolumeClaim": an_object({"claimName": TEXT}, ("claimName",))},
    ("name",),
)
POD: Final = an_object(
    {
        "spec": an_object(
            {
                "restartPolicy": one_of("Always", "OnFailure", "Never"),
                "securityContext": an_object({"fsGroup": COUNT}),
                "containers": many(CONTAINER, at_least=1),
                "volumes": many(VOLUME),
            },
            ("containers",),
        )
    },
    ("spec",),
)

HEAD: Final = an_object(
    {
        "serviceType": one_of("ClusterIP", "NodePort", "LoadBalancer"),
        "headService": ANYTHING,
        "enableIngress": FLAG,
        "resources": TEXTS,
        "labels": TEXTS,
        "rayStartParams": START,
        "template": POD,
    },
    ("template",),
)
WORKERS: Final = an_object(
    {
        "groupName": TEXT,
        "suspend": FLAG,
        "replicas": COUNT,
        "minReplicas": COUNT,
        "maxReplicas": COUNT,
        "numOfHosts": COUNT,
        "idleTimeoutSeconds": COUNT,
        "resources": TEXTS,
        "labels": TEXTS,
        "rayStartParams": START,
        "scaleStrategy": ANYTHING,
        "template": POD,
    },
    ("groupName", "minReplicas", "maxReplicas", "template"),
)
AUTOSCALER: Final = an_object(
    {
        "version": one_of("v1", "v2"),
        "idleTimeoutSeconds": COUNT,
        "upscalingMode": one_of("Default", "Aggressive", "Conservative"),
        "resources": ANYTHING,
        "image": TEXT,
        "imagePullPolicy": one_of("Always", "IfNotPresent", "Never"),
        "env": many(ANYTHING),
        "envFrom": many(ANYTHING),
        "volumeMounts": many(ANYTHING),
        "securityContext": ANYTHING,
    }
)
CLUSTER: Final = an_object(
    {
        "rayVersion": {"type": "string", "pattern": r"^\d+(\.\d+)+$"},
        "authOptions": an_object({"mode": one_of("disabled", "token")}),
        "enableInTreeAutoscaling": FLAG,
        "autoscalerOptions": AUTOSCALER,
        "gcsFaultToleranceOptions": ANYTHING,
        "headServiceAnnotations": TEXTS,
        "managedBy": MANAGER,
        "suspend": FLAG,
        "headGroupSpec": HEAD,
        "workerGroupSpecs": many(WORKERS),
    },
    ("headGroupSpec",),
)
RAY_JOB: Final = an_object(
    {
        "apiVersion": one_of("ray.io/v1"),
        "kind": one_of("RayJob"),
        "metadata": an_object({"name": NAME, "namespace": TEXT, "labels": TEXTS}, ("name",)),
        "spec": an_object(
            {
                "activeDeadlineSeconds": {"type": "integer", "minimum": 1},
                "backoffLimit": COUNT,
                "clusterSelector": TEXTS | {"required": ["ray.io/cluster"]},
                "deletionStrategy": ANYTHING,
                "entrypoint": TEXT,
                "entrypointNumCpus": NUMBER,
                "entrypointNumGpus": NUMBER,
                "entrypointResources": TEXT,
                "jobId": TEXT,
                "managedBy": MANAGER,
                "metadata": TEXTS,
                "rayClusterSpec": CLUSTER,
                "runtimeEnvYAML": TEXT,
                "shutdownAfterJobFinishes": FLAG,
                "submissionMode": one_of(
                    "K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"
                ),
                "submitterConfig": an_object({"backoffLimit": COUNT}),
                "submitterPodTemplate": ANYTHING,
                "suspend": FLAG,
                "ttlSecondsAfterFinished": COUNT,
            }
        )
        | {"anyOf": [{"required": ["rayClusterSpec"]}, {"required": ["clusterSelector"]}]},
    },
    ("apiVersion", "kind", "metadata", "spec"),
)


def refusals(job: dict[str, Any]) -> list[str]:
    """Why KubeRay would not take it; none when it would."""
    found = [error.message for error in Draft202012Validator(RAY_JOB).iter_errors(job)]
    return found or [*_clashes_of_job(job["spec"])]


def _clashes_of_job(spec: dict[str, Any]) -> Iterator[str]:
    """Source: KubeRay's validation.go, as far as the fields above are written down."""
    mode = spec.get("submissionMode", "K8sJobMode")
    for key in ("ttlSecondsAfterFinished", "suspend"):
        if spec.get(key) and not spec.get("shutdownAfterJobFinishes"):
            yield f"{key} without shutdownAfterJobFinishes"
    if spec.get("suspend") and "clusterSelector" in spec:
        yield "suspend with clusterSelector"
    if mode == "InteractiveMode" and spec.get("backoffLimit"):
        yield f"backoffLimit with {mode}"
    if mode == "SidecarMode":
        for key in {"clusterSelector", "submitterPodTemplate", "submitterConfig"} & spec.keys():
            yield f"{key} with {mode}"
    if "rayClusterSpec" in spec:
        yield from _clashes_of_cluster(spec["rayClusterSpec"], mode)


def _clashes_of_cluster(cluster: dict[str, Any], mode: str) -> Iterator[str]:
    if cluster.get("authOptions", {}).get("mode") == "token":
        if (version := cluster.get("rayVersion")) is None:
            yield "authOptions.mode token without a rayVersion"
        elif Version(version) < Version("2.52"):
            yield f"authOptions.mode token with rayVersion {version}, which is older than 2.52"
    scaled = cluster.get("enableInTreeAutoscaling", False)
    second = scaled and cluster.get("autoscalerOptions", {}).get("version") == "v2"
    groups = {each["groupName"]: each for each in cluster.get("workerGroupSpecs", [])}
    for name, group in {"head": cluster["headGroupSpec"], **groups}.items():
        policy = group["template"]["spec"].get("restartPolicy", "Never")
        if policy != "Never" and (second or (mode == "SidecarMode" and name == "head")):
            yield f"{name}: restartPolicy {policy} with autoscaler v2 or SidecarMode"
        if group.get("suspend") and scaled:
            yield f"{name}: suspend with enableInTreeAutoscaling"
        if group.get("resources") and RESOURCES & group.get("rayStartParams", {}).keys():
            yield f"{name}: resources and rayStartParams name resources"


def submitter_line(entrypoint: str) -> str:
    """What the submitter's pod runs with `bash -ce` in the mode K8sJobMode.

    The entrypoint stands there as it was written, not as one word: what is no simple command ends
    the `if` around it. Source: KubeRay's `BuildJobSubmitCommand`, but for the wait for the
    dashboard that newer versions put in front.
    """
    head = "--address http://head:8265"
    return (
        f"if ! ray job status {head} digits-1 >/dev/null 2>&1 ;"
        f" then ray job submit {head} --no-wait --submission-id digits-1 -- {entrypoint.strip()} ;"
        f" fi ; ray job logs {head} --follow digits-1"
    )
