"""`cvbench doctor`: what is found is said; a cluster that is open to all, or does not answer, ends with code 8."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cvbench.cli.app import app
from cvbench.jobs.catalogue import cluster
from cvbench.jobs.catalogue import doctor as job


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network is tried, and no variable of the user is read."""
    monkeypatch.setattr(job, "HUB", ("127.0.0.1", 1))
    monkeypatch.chdir(tmp_path)
    for name in ("CVBENCH_DATA", "CVBENCH_ADDRESS", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *words])


@contextmanager
def dashboard(status: int) -> Iterator[str]:
    """A server that answers every request so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_what_is_here_is_said_and_nothing_is_in_the_way() -> None:
    done = run()
    assert done.exit_code == 0, done.output
    names = [line.split()[1] for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert [*dict.fromkeys(names)][:4] == ["cvbench", "packages", "gpu", "cores"]
    assert {"memory", "store", "disk", "data", "hub"} <= {*names}
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if " " in line.strip()), done.stdout
    found = json.loads(run("--format", "json").stdout)
    assert (found["schema_version"], found["ok"]) == (1, True)
    hub = next(check for check in found["checks"] if check["name"] == "hub")
    assert hub["state"] == "note"  # weights may be in the cache


@pytest.mark.parametrize(("status", "code"), [(200, 8), (401, 0), (403, 0)])
def test_a_dashboard_that_is_open_to_all_is_a_problem(status: int, code: int) -> None:
    with dashboard(status) as url:
        done = run("--dashboard", url, "--format", "json")
    assert done.exit_code == code, done.output
    assert ("without authentication" in done.stdout) == (code == 8)


def test_a_cluster_that_does_not_answer_is_a_problem() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # where nobody listens, and nobody can while it is taken
        done = run("--address", f"127.0.0.1:{port}", "--dashboard", "http://127.0.0.1:1")
    assert done.exit_code == 8, done.output
    assert "does not answer" in done.stdout
    assert "PROBLEM" in done.stdout


@pytest.mark.parametrize(("mode", "code"), [(0o600, 0), (0o640, 8), (0o644, 8)])
def test_a_token_that_others_can_read_is_a_problem(
    tmp_path: Path, mode: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "token").write_text("a" * 64)
    (tmp_path / "token").chmod(mode)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with dashboard(401) as url:
        done = run("--address", url.removeprefix("http://"), "--dashboard", url)
    assert done.exit_code == code, done.output
    assert ("chmod 600" in done.stdout) == (code == 8)
    assert "aaaa" not in done.output


@pytest.mark.parametrize(("status", "state"), [(200, "problem"), (401, "ok")])
def test_the_doctor_of_a_cluster_looks_at_its_dashboard_too(status: int, state: str) -> None:
    with dashboard(status) as url:
        found = [*cluster._of_dashboard(cluster.ClusterOptions(dashboard=url), "127.0.0.1:6379")]
    assert found[0].state == state
    assert cluster.Report("", 1, tuple(found[:1])).ok == (status != 200)


def test_secrets_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    done = run("--store", "memory://user:canary@bucket/a.zarr?token=canary", "--format", "json")
    assert "canary" not in done.output


def test_a_store_that_is_damaged_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "s.zarr").mkdir()
    (tmp_path / "s.zarr" / "zarr.json").write_text("{}")
    done = run("--store", str(tmp_path / "s.zarr"))
    assert done.exit_code == 4, done.output


def test_cupy_of_another_cuda_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i=0: "Tesla V100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (7, 0))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_90a"])
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    real = job._version
    monkeypatch.setattr(job, "_version", lambda name: "13.6" if name == "cupy-cuda13x" else real(name))
    found = {check.said: check for check in job.graphics() if check.state == "problem"}
    assert any("no kernels for this card (sm_70" in said for said in found)
    assert any("CuPy is built for CUDA 13, torch for 12.6" in said for said in found)
    assert {check.exit_code for check in found.values()} == {6}
