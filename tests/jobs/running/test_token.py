"""Ray's token belongs to its owner alone: whoever has it runs code as us."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cvbench.jobs.running.token import is_open, own_token, token_file

VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home without a token, where new files are everybody's to read."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before = os.umask(0)
    yield tmp_path
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_one_is_made_that_nobody_else_can_read(home: Path) -> None:
    own_token()
    token = home / ".ray" / "auth_token"
    assert token == token_file()
    assert (mode(token), mode(token.parent)) == (0o600, 0o700)
    assert len(bytes.fromhex(token.read_text())) == 32
    before = token.read_text()
    own_token()
    assert token.read_text() == before
    assert [path.name for path in token.parent.iterdir()] == ["auth_token"]


def test_one_that_ray_has_left_open_is_closed_and_kept(home: Path) -> None:
    token = home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("a" * 64)
    assert is_open(token)
    own_token()
    assert (mode(token), token.read_text()) == (0o600, "a" * 64)
    assert not is_open(token)


def test_runs_that_start_together_have_one(home: Path) -> None:
    def made_and_read(_: int) -> str:
        own_token()
        return (home / ".ray" / "auth_token").read_text()

    with ThreadPoolExecutor(8) as runs:
        seen = {*runs.map(made_and_read, range(32))}
    assert len(seen) == 1
    assert len(seen.pop()) == 64


@pytest.mark.parametrize("variable", VARIABLES)
def test_one_of_the_environment_is_left_alone(home: Path, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "mine").write_text("b" * 64)
    values = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "b" * 64, "RAY_AUTH_TOKEN_PATH": str(home / "mine")}
    monkeypatch.setenv(variable, values[variable])
    own_token()
    assert not (home / ".ray").exists()
    assert mode(home / "mine") == 0o666
    assert token_file() == (home / "mine" if variable == "RAY_AUTH_TOKEN_PATH" else None)


START = """
import stat
from pathlib import Path
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.session import RaySession
with RaySession(Cluster(address="local", actors=1)):
    print(*(oct(stat.S_IMODE(path.stat().st_mode)) for path in (Path.home() / ".ray").iterdir()))
"""


@pytest.mark.ray
def test_a_private_ray_leaves_no_token_that_others_can_read(home: Path) -> None:
    patient = {**os.environ, "RAY_agent_register_timeout_ms": "240000"}
    for _ in range(5):  # Ray gives up after half a minute, which a busy machine may need
        done = subprocess.run([sys.executable, "-c", START], env=patient, capture_output=True, text=True, timeout=300)
        if "timed out during startup" not in done.stderr:
            break
    assert done.stdout.split() == ["0o600"], done.stderr
