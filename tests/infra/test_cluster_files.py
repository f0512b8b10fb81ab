"""The files under infra/ say what Ray understands, and keep the dashboard and the token to themselves."""

from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.runtime_env import RuntimeEnv
from ray_cluster import REPO

CLUSTER = yaml.safe_load((REPO / "infra" / "cluster.yaml").read_text())


def test_the_launcher_accepts_the_cluster_file() -> None:
    prepared = prepare_config(CLUSTER)
    validate_config(prepared)
    (nodes,) = prepared["available_node_types"].values()
    assert nodes["max_workers"] == len(CLUSTER["provider"]["worker_ips"])
    with pytest.raises(Exception, match="no_such_field"):
        validate_config(prepared | {"no_such_field": 1})


def test_every_node_has_token_authentication_and_the_dashboard_stays_on_loopback() -> None:
    (head,) = (line for line in CLUSTER["head_start_ray_commands"] if "ray start" in line)
    (worker,) = (line for line in CLUSTER["worker_start_ray_commands"] if "ray start" in line)
    for line in (head, worker):
        assert line.startswith("export RAY_AUTH_MODE=token ")
    assert "--dashboard-host=127.0.0.1" in head
    assert "~/.ray/auth_token" in CLUSTER["file_mounts"]


def test_what_the_cluster_file_copies_is_in_the_repository() -> None:
    local = [source for source in CLUSTER["file_mounts"].values() if not source.startswith("~")]
    assert local == ["constraints.txt"]
    assert all((REPO / name).is_file() for name in local)


def test_the_runtime_env_is_one_and_holds_no_secret() -> None:
    environment = yaml.safe_load((REPO / "infra" / "runtime-env.yaml").read_text())
    RuntimeEnv(**environment)  # the dashboard shows a job's runtime environment, so credentials do not belong in it
    assert set(environment["env_vars"]) == {"PYTHONPATH", "SWIMLAB_STORE"}
    assert Path(REPO / environment["env_vars"]["PYTHONPATH"] / "swimlab" / "__init__.py").is_file()
