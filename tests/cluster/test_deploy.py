"""What is deployed: accepted by Ray and by a shell, with the fields that KubeRay's resources need, and no secret."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OPTIONS = (ROOT / "tests/cli/options.txt").read_text().splitlines()


def read(name: str) -> dict[str, Any]:
    loaded = yaml.safe_load((DEPLOY / name).read_text())
    assert isinstance(loaded, dict)
    return loaded


def commands(text: str) -> list[list[str]]:
    """Words of each `cvbench extract` of a text, comment signs and line ends taken out."""
    flat = " ".join(line.strip().lstrip("# ") for line in text.splitlines())
    return [found.split() for found in re.findall(r"cvbench (extract --[^']+?)(?:'|\s{2}|$| (?=[a-z]+:))", flat)]


@pytest.mark.parametrize("path", [ROOT / "cluster.yaml", DEPLOY / "onpremise.yaml", DEPLOY / "kuberay.yaml"], ids=str)
def test_the_commands_that_they_give_have_options_that_exist(path: Path) -> None:
    found = commands(path.read_text())
    assert found
    known = {line.split()[1] for line in OPTIONS if line.startswith("extract ")}
    for words in found:
        assert {word for word in words if word.startswith("--")} <= known, words
        assert "--gpus" in words  # a cluster that grows is asked for what it has
        assert "--store" in words


def test_ray_accepts_the_machines_of_ones_own() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = read("onpremise.yaml")
    validate_config(prepare_config(config))  # by its schema, as `ray up` does
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config({**config, "max_worker": 1}))
    assert config["max_workers"] == config["min_workers"] == len(config["provider"]["worker_ips"])


def test_they_are_guarded_as_the_first_is() -> None:
    config = read("onpremise.yaml")
    for who in ("head", "worker"):
        (start,) = [command for command in config[f"{who}_start_ray_commands"] if "ray start" in command]
        assert start.index("RAY_AUTH_MODE=token") < start.index("ray start")
    (head,) = [command for command in config["head_start_ray_commands"] if "ray start" in command]
    assert "--dashboard-host=127.0.0.1" in head
    assert "--num-cpus=0 --num-gpus=0" in head
    assert config["setup_commands"][0] == "chmod 700 ~/.ray && chmod 600 ~/.ray/auth_token"


def test_the_job_of_kuberay_has_what_its_resource_needs() -> None:
    job = read("kuberay.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["metadata"]["name"]
    spec = job["spec"]
    assert spec["entrypoint"].startswith("cvbench extract ")
    assert spec["shutdownAfterJobFinishes"] is True
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"] is True
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert f"ray=={cluster['rayVersion']}" in pins
    head, (worker,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert head["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}  # strings, as KubeRay wants them
    assert (worker["minReplicas"], worker["replicas"], worker["maxReplicas"]) == (0, 0, 4)
    for group in (head, worker):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert container["securityContext"]["runAsNonRoot"] is True
    asked = worker["template"]["spec"]["containers"][0]["resources"]["limits"]
    words = spec["entrypoint"].split()
    assert words[words.index("--gpus") + 1] == str(worker["maxReplicas"] * int(asked["nvidia.com/gpu"]))
    assert words[words.index("--threads") + 1] == asked["cpu"]


def test_the_script_of_slurm_is_one_of_a_shell() -> None:
    script = DEPLOY / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert lines.index("set -euo pipefail") > max(i for i, line in enumerate(lines) if line.startswith("#SBATCH "))
    text = "\n".join(lines)
    assert "--dashboard-host=127.0.0.1" in text
    assert text.index("RAY_AUTH_MODE=token") < text.index("ray start")
    (waiting,) = re.findall(r"<< 'WAIT'\n(.*?)\nWAIT\n", text, re.DOTALL)
    compile(waiting, "slurm.sh", "exec")
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr.split()[0]) == (2, "usage:")


def test_the_token_of_a_job_of_slurm_is_its_owners_alone(tmp_path: Path) -> None:
    """The script's own lines, run where new files are everybody's to read."""
    text = (DEPLOY / "slurm.sh").read_text()
    lines = text[text.index("secret=") : text.index("export RAY_AUTH_MODE")]
    asked = 'stat -c "%a" "$secret" "$secret/token"; wc -c < "$secret/token"'
    environment = {**os.environ, "HOME": str(tmp_path), "SLURM_JOB_ID": "7"}
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail; umask 000\n{lines}\n{asked}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["700", "600", "65"]
    assert [*tmp_path.iterdir()] == [], "it goes with the job"


@pytest.mark.parametrize("path", [ROOT / "cluster.yaml", DEPLOY / "onpremise.yaml"], ids=lambda path: path.name)
def test_the_token_is_closed_where_it_is_made_and_on_every_node(path: Path, tmp_path: Path) -> None:
    """`ray` writes it for all to read; what the file says to type, and what a node runs first, close it."""
    (made,) = re.findall(r"\(umask 077; RAY_AUTH_MODE=token ray get-auth-token", path.read_text())
    assert made
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir(mode=0o755)
    token.write_text("a" * 64)
    token.chmod(0o644)
    first = yaml.safe_load(path.read_text())["setup_commands"][0]
    subprocess.run(["bash", "-c", first], env={**os.environ, "HOME": str(tmp_path)}, check=True)
    assert (token.stat().st_mode & 0o777, token.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_the_image_is_made_of_known_instructions_and_runs_without_root() -> None:
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    names = [line.split()[0] for line in lines]
    assert set(names) <= {"FROM", "ARG", "ENV", "RUN", "COPY", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert names[0] == "FROM"
    assert "latest" not in lines[0]
    assert lines[names.index("USER")] == "USER cvbench"
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    for line in lines:
        if line.startswith(("ENTRYPOINT", "CMD")):
            assert isinstance(json.loads(line.split(" ", 1)[1]), list)
        if line.startswith("RUN"):
            subprocess.run(["bash", "-n"], input=line.removeprefix("RUN "), text=True, check=True)
    copied = [line.split()[1] for line in lines if line.startswith("COPY")]
    assert copied == ["constraints.txt", "dist/"]  # what a wheel is built into


def test_no_secret_stands_in_them() -> None:
    for path in DEPLOY.iterdir():
        text = path.read_text()
        assert not re.search(r"AKIA[0-9A-Z]{16}|(?i:password)\s*[:=]|-----BEGIN", text), path
        assert "0.0.0.0" not in text
