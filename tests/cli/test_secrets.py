"""Credentials of an object store: in nothing that any command says, logs or writes, be it with a traceback."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from cvbench.storage.objects.open import open_objects
from tests.commands import run
from tests.jobs.images import write_folder
from tests.storage.objects.fault_proxy import FaultProxy
from tests.storage.s3_service import CANARY, CREDENTIALS, proxied_service

STORE = "s3://secrets/s"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultProxy]:
    with proxied_service("secrets") as proxy:
        yield proxy


def said(done: Result) -> str:
    """All that a command has said; the error's own text and chain, as `-v` prints it."""
    import traceback

    error = "".join(traceback.format_exception(done.exception)) if done.exception else ""
    return done.output + (done.stderr or "") + error


def test_no_command_says_or_keeps_a_credential(
    proxy: FaultProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvbench.storage.objects.remote._PAUSES", (0.01,))
    monkeypatch.setattr("cvbench.storage.objects.remote.RETRY_SECONDS", 0.5)
    caplog.set_level(logging.DEBUG)
    pets = f"folder:{write_folder(tmp_path / 'pets', 8)}"
    net = ["--backbone", "test_vit", "--weights", "random", "--image-size", "64", "--unit", "4", "--batch-size", "4"]
    of_images = ["--dataset", pets, *net, "--store", STORE]
    here = ["--address", "none", "--device", "cpu"]
    commands = [
        ["plan", *of_images],
        ["extract", *of_images, *here],
        ["extract", *of_images, *here, "--format", "json"],
        ["analyze", "cka", "--store", STORE, *here],
        *(["store", verb, "--store", STORE] for verb in ("info", "verify", "gc", "repair")),
        ["results", "ls", "--store", STORE],
        ["report", "--store", STORE, "--out", str(tmp_path / "report")],
        ["doctor"],
    ]
    for words in commands:
        done = run("-v", *words)
        assert done.exit_code in (0, 8) or words[0] == "doctor", said(done)
        assert CANARY not in said(done), words
    for fault in ("expired", "denied", "reset"):
        proxy.script(fault)
        for words in [commands[4]] if fault == "reset" else [*commands[1:5], commands[-2]]:
            done = run("-v", *words)
            assert done.exception is not None, words
            assert CANARY not in said(done), words
    proxy.well()
    assert CANARY not in caplog.text
    place = open_objects(STORE)
    keys = [*place.list()]
    assert len(keys) > 20
    assert not [key for key in keys if CANARY.encode() in (place.get(key) or b"") or CANARY in key]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "report.html" for path in written)
    assert not [path for path in written if CANARY.encode() in path.read_bytes()]


@pytest.mark.parametrize("shape", [[], ["--format", "json"]])
def test_the_last_word_of_a_process_holds_none_either(proxy: FaultProxy, shape: list[str]) -> None:
    proxy.script("expired")
    script = [sys.executable, "-c", "from cvbench.cli import main; main()", "-v", "store", "info", "--store", STORE]
    done = subprocess.run([*script, *shape], capture_output=True, text=True, cwd=ROOT, check=False, timeout=300)
    proxy.well()
    assert done.returncode == 8, done.stderr
    assert "have expired" in done.stderr
    assert "ExpiredToken" in done.stderr
    assert CANARY not in done.stdout + done.stderr


def test_without_credentials_it_is_said_at_once(proxy: FaultProxy, tmp_path: Path) -> None:
    bare = {name: value for name, value in os.environ.items() if name not in CREDENTIALS}
    bare |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    script = [sys.executable, "-c", "from cvbench.cli import main; main()", "store", "info", "--store", STORE]
    done = subprocess.run(script, capture_output=True, text=True, cwd=ROOT, check=False, timeout=300, env=bare)
    assert done.returncode == 8, done.stderr
    assert "no AWS credentials found" in done.stderr
    assert "fix: set AWS_ACCESS_KEY_ID" in done.stderr
