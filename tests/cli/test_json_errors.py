"""With `--format json` an error is a JSON document too: on stderr, in its last line, with the exit code of the text."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_process import COMMANDS, needed

program: Any = importlib.import_module("cvbench.cli.app")
SPEAKING = [words for words, command in COMMANDS.items() if any("--format" in param.opts for param in command.params)]
OF_STORES = [
    words
    for words in SPEAKING
    if words[0] in ("store", "results", "claims", "report") or (words[0] in ("analyze", "eval") and words[1] != "cam")
]


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Runs a command line as a process would, in an empty folder: (exit code, stdout, lines of stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["cvbench", *words])
        code = program._run(program._Signals())
        found = capsys.readouterr()
        return code, found.out, found.err.splitlines()

    return run


@pytest.mark.parametrize("words", SPEAKING, ids=" ".join)
def test_what_the_parser_refuses_is_a_document(words: tuple[str, ...], ended: Any) -> None:
    code, out, err = ended(*words, *needed(COMMANDS[words]), "--format", "json", "--no-such-option")
    said = json.loads(err[-1])
    assert (code, out, len(err)) == (2, "", 1)
    assert (said["code"], said["schema_version"], said["exit_code"]) == ("usage", 1, 2)
    assert "--no-such-option" in said["what"]
    assert said["where"] == " ".join(("cvbench", *words)) or said["where"].endswith(words[-1])


@pytest.mark.parametrize("words", OF_STORES, ids=" ".join)
def test_an_error_of_a_job_is_a_document(words: tuple[str, ...], ended: Any) -> None:
    command = COMMANDS[words]
    given = [] if ("out" not in {param.name for param in command.params}) else ["--out", "out"]
    without = next((param for param in command.params if param.name == "out"), None)
    code, out, err = ended(*words, *needed(command, without), *given, "--store", "none.zarr", "--format=json")
    said = json.loads(err[-1])
    assert said["exit_code"] == code
    assert code in (2, 3), said
    assert {"code", "what", "where", "why", "fix", "did_you_mean"} <= said.keys()
    assert out == ""
    assert "traceback" not in said


def test_the_text_and_the_document_say_the_same(ended: Any) -> None:
    code, _, lines = ended("store", "info", "--store", "none.zarr")
    same, _, err = ended("store", "info", "--store", "none.zarr", "--format", "json")
    said = json.loads(err[-1])
    assert code == same == 3
    assert lines[0] == f"cvbench: {said['what']}"
    assert f"  fix: {said['fix']}" in lines


def test_a_traceback_that_is_asked_for_is_in_the_document(ended: Any) -> None:
    code, _, err = ended("-v", "store", "info", "--store", "none.zarr", "--format", "json")
    assert (code, len(err)) == (3, 1)
    assert "Traceback" in json.loads(err[-1])["traceback"]


def test_an_interrupt_is_a_document(ended: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cvbench.jobs.catalogue.store.info", interrupt)
    monkeypatch.setattr(program.signal, "signal", lambda *args: None)
    code, _, err = ended("store", "info", "--format", "json")
    said = json.loads(err[-1])
    assert (code, said["code"], said["exit_code"]) == (130, "interrupted", 130)


def test_the_list_of_taps_is_json_where_that_is_asked_for(ended: Any) -> None:
    words = ["extract", "--dataset", "digits", "--backbone", "test_vit", "--image-size", "64", "--taps", "list"]
    code, out, _ = ended(*words, "--format", "json")
    found = json.loads(out)
    assert (code, found["schema_version"]) == (0, 1)
    assert found["backbones"]["test_vit@64"]["blocks.0"] == "4x4x64"
    assert out.count("\t") == 0
