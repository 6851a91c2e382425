"""Ray's own provider for AWS makes and ends the instances of examples/cluster-aws.yaml.

In moto's cloud: what `ray up` and `ray down` ask of AWS. No instance runs, so nothing is tested
here of what is done on one.
"""

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.stores import S3Server, s3, s3_server  # noqa: F401 - fixtures


@pytest.fixture
def account(
    s3: S3Server,  # noqa: F811 - the fixture: moto's server speaks all of AWS
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[None]:
    """An empty one; a home for the key that Ray makes; nobody waits for a role to be known."""
    from ray.autoscaler._private.aws.utils import client_cache, resource_cache

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")  # Ray gives the role two of them
    at_once = SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr("ray.autoscaler._private.aws.config.time", at_once)
    reset = urllib.request.Request(f"{s3.address}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset, timeout=60).close()
    yield
    resource_cache.cache_clear()
    client_cache.cache_clear()


def living(client: Any) -> dict[str, dict[str, Any]]:
    """The account's instances by the types of nodes that Ray tagged them with."""
    found = {}
    for reservation in client.describe_instances()["Reservations"]:
        for instance in reservation["Instances"]:
            tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
            assert tags["ray-cluster-name"] == "everstep"
            if instance["State"]["Name"] == "running":
                found[tags["ray-user-node-type"]] = instance
    return found


def test_ray_makes_of_the_example_a_head_with_a_role_and_a_worker_and_ends_both(
    account: None, repository: Path, tmp_path: Path
) -> None:
    import boto3
    from ray.autoscaler._private.providers import _get_node_provider
    from ray.autoscaler._private.util import prepare_config, validate_config

    written = yaml.safe_load((repository / "examples" / "cluster-aws.yaml").read_text())
    config = prepare_config(written)
    provider = _get_node_provider(config["provider"], config["cluster_name"])
    config = provider.fillout_available_node_types_resources(config)
    validate_config(config)
    config = provider.bootstrap_config(config)
    key = Path(config["auth"]["ssh_private_key"])
    assert key.parent == tmp_path / ".ssh"
    assert key.stat().st_mode & 0o777 == 0o600
    for name, kind in config["available_node_types"].items():
        of_the_head = config["head_node"] if name == "head" else {}  # as `ray up` merges them
        tags = {"ray-user-node-type": name, "ray-node-type": name, "ray-node-name": name}
        provider.create_node(kind["node_config"] | of_the_head, tags, 1)

    client = boto3.client("ec2", written["provider"]["region"])
    made = living(client)
    assert made.keys() == {"head", "worker"}
    for name, instance in made.items():
        node = written["available_node_types"][name]["node_config"]
        assert instance["InstanceType"] == node["InstanceType"]
        assert instance["KeyName"] == key.stem
        assert len(instance["SecurityGroups"]) == 1
    role = made["head"]["IamInstanceProfile"]["Arn"].partition("/")[2]  # as its profile is named
    rights = boto3.client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert "AmazonS3FullAccess" in {right["PolicyName"] for right in rights}  # for run directories
    assert "IamInstanceProfile" not in made["worker"]
    assert made["worker"]["InstanceLifecycle"] == "spot"
    assert "InstanceLifecycle" not in made["head"]

    provider.terminate_nodes(provider.non_terminated_nodes({}))
    assert living(client) == {}
