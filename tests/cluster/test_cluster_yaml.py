"""`cluster.yaml` is what the installed Ray takes, and holds the promises that README and SECURITY.md make of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
GPUS = {"m5.2xlarge": 0, "p3.2xlarge": 1, "p3.8xlarge": 4, "p3.16xlarge": 8, "p3dn.24xlarge": 8}  # V100 per instance


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    import ray

    loaded = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    assert isinstance(loaded, dict)
    return loaded


def starts(config: dict[str, Any]) -> dict[str, list[str]]:
    """The `ray start` commands of head and worker."""
    return {
        who: [command for command in config[f"{who}_start_ray_commands"] if "ray start" in command]
        for who in ("head", "worker")
    }


def requirements(config: dict[str, Any]) -> dict[str, Requirement]:
    """What the nodes install with a version, by name."""
    quoted = [text for command in config["setup_commands"] for text in re.findall(r'"([^"]+)"', command)]
    parsed = [Requirement(text) for text in quoted if re.fullmatch(r"[a-z0-9_-]+(\[.*\])?[=<>].*", text)]
    return {requirement.name: requirement for requirement in parsed}


def test_the_installed_ray_accepts_it(config: dict[str, Any], schema: dict[str, Any]) -> None:
    jsonschema.validate(config, schema)


def test_the_schema_would_refuse_a_misspelt_key(config: dict[str, Any], schema: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        jsonschema.validate({**config, "max_worker": 1}, schema)


def test_rays_own_checks_pass(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(config))  # with Ray's defaults filled in, as `ray up` does


def test_every_start_command_asks_for_the_token(config: dict[str, Any]) -> None:
    for who, commands in starts(config).items():
        assert len(commands) == 1, who
        mode = commands[0].index("RAY_AUTH_MODE=token")
        assert mode < commands[0].index("ray start"), who
        assert "RAY_AUTH_TOKEN_PATH=$HOME/.ray/auth_token" in commands[0], who


def test_the_token_reaches_every_node_for_its_owner_only(config: dict[str, Any]) -> None:
    assert "~/.ray/auth_token" in config["file_mounts"]
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"][0]
    for node in config["available_node_types"].values():
        assert "worker_setup_commands" not in node  # would replace the line above


def test_the_dashboard_listens_on_loopback_only(config: dict[str, Any]) -> None:
    (head,) = starts(config)["head"]
    assert re.findall(r"--dashboard-host[ =](\S+)", head) == ["127.0.0.1"]
    text = (ROOT / "cluster.yaml").read_text()
    assert "0.0.0.0" not in text
    assert "--dashboard-host=::" not in text


def test_packages_still_support_volta(config: dict[str, Any]) -> None:
    wanted = requirements(config)
    assert wanted["torch"].specifier.contains("2.10.0")
    assert not wanted["torch"].specifier.contains("2.11.0")
    assert wanted["torchvision"].specifier.contains("0.25.0")
    assert not wanted["torchvision"].specifier.contains("0.26.0")
    installed = " ".join(config["setup_commands"])
    assert "[cuda12]" in installed
    assert "cuda13" not in installed
    assert "nvidia-driver-580" in " ".join(config["worker_setup_commands"])


def test_the_tested_torch_is_not_forced_on_the_nodes(config: dict[str, Any]) -> None:
    (dropped,) = [c for c in config["setup_commands"] if c.startswith("grep -vE")]
    pattern = re.search(r"'(.+)'", dropped)
    assert pattern is not None
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    kept = [pin for pin in pins if not re.search(pattern[1], pin)]
    assert not [pin for pin in kept if pin.startswith(("torch==", "torchvision==", "nvidia-", "triton=="))]
    assert [pin for pin in kept if pin.startswith("ray==")]


def test_a_worker_offers_exactly_the_gpus_of_its_machine(config: dict[str, Any]) -> None:
    (worker,) = starts(config)["worker"]
    for name, node in config["available_node_types"].items():
        expected = GPUS[node["node_config"]["InstanceType"]]
        assert node["resources"]["GPU"] == expected, name
        if name != config["head_node_type"]:
            assert expected > 0
            assert re.findall(r"--num-gpus=(\d+)", worker) == [str(expected)]


def test_the_head_computes_nothing(config: dict[str, Any]) -> None:
    (head,) = starts(config)["head"]
    assert "--num-gpus=0" in head
    assert "--num-cpus=0" in head
    assert config["available_node_types"][config["head_node_type"]]["resources"] == {"CPU": 0, "GPU": 0}


def test_the_command_that_it_gives_demands_what_it_has() -> None:
    """As many GPUs as the workers have, each with its share of their cores."""
    text = " ".join(line.lstrip("# ") for line in (ROOT / "cluster.yaml").read_text().splitlines())
    found = re.search(r"cvbench (extract .+?)'", text)
    assert found is not None
    words = found[1].split()
    assert words[words.index("--gpus") + 1] == "16"
    assert words[words.index("--threads") + 1] == "8"
    assert "RAY_ADDRESS=auto" in text


def test_workers_are_started_on_demand_and_bounded(config: dict[str, Any]) -> None:
    workers = {n: t for n, t in config["available_node_types"].items() if n != config["head_node_type"]}
    assert workers
    assert all(node["min_workers"] == 0 for node in workers.values())
    assert sum(node["max_workers"] for node in workers.values()) <= config["max_workers"]


def test_mounted_files_are_of_this_repository_or_the_token(config: dict[str, Any]) -> None:
    mounts = dict(config["file_mounts"])
    assert mounts.pop("~/.ray/auth_token") == "~/.ray/auth_token"
    assert mounts.pop("~/cvbench-dist") == "dist"  # what `python -m build --wheel` makes
    assert all((ROOT / path).exists() for path in mounts.values())
