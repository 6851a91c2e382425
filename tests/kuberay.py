"""What KubeRay's `ray.io/v1` takes in a RayJob, as a JSON schema.

Written down from the Go types `RayJobSpec`, `RayClusterSpec` and their parts, version 1.5.1: all
their fields, those that must be there, and the values that are allowed. Of a pod's own fields,
which are Kubernetes', only those that a manifest of ours has; whoever uses another adds it here.
"""

from typing import Any, Final

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


def many(items: Schema) -> Schema:
    return {"type": "array", "items": items}


TEXT: Final[Schema] = {"type": "string"}
TEXTS: Final[Schema] = {"type": "object", "additionalProperties": TEXT}
NUMBER: Final[Schema] = {"type": "number"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
FLAG: Final[Schema] = {"type": "boolean"}
ANYTHING: Final[Schema] = {"type": "object"}  # not used by us, and not written down

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
                "containers": many(CONTAINER),
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
        "rayStartParams": TEXTS,
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
        "rayStartParams": TEXTS,
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
        "rayVersion": TEXT,
        "authOptions": an_object({"mode": one_of("disabled", "token")}),
        "enableInTreeAutoscaling": FLAG,
        "autoscalerOptions": AUTOSCALER,
        "gcsFaultToleranceOptions": ANYTHING,
        "headServiceAnnotations": TEXTS,
        "managedBy": TEXT,
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
        "metadata": an_object({"name": TEXT, "namespace": TEXT, "labels": TEXTS}, ("name",)),
        "spec": an_object(
            {
                "activeDeadlineSeconds": COUNT,
                "backoffLimit": COUNT,
                "clusterSelector": TEXTS,
                "deletionStrategy": ANYTHING,
                "entrypoint": TEXT,
                "entrypointNumCpus": NUMBER,
                "entrypointNumGpus": NUMBER,
                "entrypointResources": TEXT,
                "jobId": TEXT,
                "managedBy": TEXT,
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
        ),
    },
    ("apiVersion", "kind", "metadata", "spec"),
)


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
