"""Terminals of all kinds: narrow ones, those that know ASCII only, those of a real pty (F26)."""

from __future__ import annotations

import os
import pty
import select
import shlex
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from fcntl import ioctl
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.cli.options import say_command
from cvbench.storage.features import FeatureStore
from tests.storage.small_store import extract

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-c", "from cvbench.cli import main; main()")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store below a folder whose name no ASCII holds."""
    path = tmp_path_factory.mktemp("terminals") / "zébre-馬" / "s.zarr"
    path.parent.mkdir()
    extract(FeatureStore.open(path, "a"))
    return str(path)


LINES = [("--help", 0), ("datasets ls", 0), ("store info --store {}", 0), ("store info --store {}x", 3)]


@pytest.mark.parametrize(("line", "code"), LINES)
@pytest.mark.parametrize(("locale", "encoding"), [("C", ""), ("C.UTF-8", "latin-1")])
def test_output_that_is_not_utf8(store: str, line: str, code: int, locale: str, encoding: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    environment |= {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT / "src")}
    environment |= {"PYTHONIOENCODING": encoding} if encoding else {}
    words = [word.format(store) for word in line.split()]
    done = subprocess.run([*PROGRAM, *words], capture_output=True, env=environment, check=False, timeout=300)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stderr if code else done.stdout


def typed(words: Sequence[str], columns: int) -> tuple[int, str]:
    """(exit code, all that a terminal of so many columns saw)."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = os.environ | {"TERM": "xterm", "COLUMNS": str(columns), "PYTHONPATH": str(ROOT / "src")}
    child = subprocess.Popen([*PROGRAM, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + 300
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the last who held the other end has gone
                break
            if not part:
                break
            seen += part
    os.close(ours)
    return child.wait(timeout=60), seen.decode(errors="replace")


@pytest.mark.parametrize(("line", "code"), LINES)
def test_a_terminal_of_twenty_columns(store: str, line: str, code: int) -> None:
    ended, seen = typed([word.format(store) for word in line.split()], 20)
    assert ended == code, seen
    assert "Traceback" not in seen
    assert seen.strip()


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with results, below a folder with a long name."""
    store = tmp_path_factory.mktemp("a folder of results with a long name") / "s.zarr"
    words = ["--dataset", "digits", "--store", str(store), "--backbone", "test_vit", "--backbone", "test_convnext"]
    small = ["--weights", "random", "--image-size", "32", "--limit", "256", "--split", "test"]
    assert CliRunner().invoke(app, ["extract", *words, *small, "--address", "none"]).exit_code == 0
    made = ["analyze", "cka", "--store", str(store), "--address", "none"]
    assert CliRunner().invoke(app, made).exit_code == 0
    return str(store)


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize("asked", ["results ls", "claims", "results show {}"])
def test_what_is_printed_fits_a_terminal_and_commands_can_be_pasted(asked: str, columns: int, judged: str) -> None:
    digits = CliRunner().invoke(app, ["results", "ls", "--store", judged]).stdout.split()[0]
    words = [*asked.format(digits).split(), "--store", judged]
    code, seen = typed(words, columns)
    assert code == 0
    for line in seen.replace("\r", "").splitlines():
        assert len(line) <= columns or line.strip(" \\") == f"'{judged}'", line  # one word, longer than a line
    if "show" in asked:  # a table, which is laid out in another way
        return
    pasted = " ".join(seen.replace("\r", "").replace(" \\\n", " ").split())
    assert pasted == " ".join(CliRunner().invoke(app, words).stdout.split())  # nothing is left out


WORDS = ["cvbench", "analyze", "a=d'or x y", "it's", 'the "last" one', "two  spaces  ", "", "a\\ b", "'", '"', "# 1"]


@pytest.mark.parametrize("columns", [40, 60])
@pytest.mark.parametrize("first", range(len(WORDS)))
def test_a_folded_command_has_its_words_as_they_are(
    first: int, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    words = [*WORDS[first:], *WORDS[:first], *WORDS]
    say_command(shlex.join(words), "  ")
    seen = capsys.readouterr().out
    assert seen.count(" \\\n") > 2  # it is folded
    pasted = subprocess.run(["sh", "-c", f"printf '%s\\0' {seen}"], capture_output=True, text=True, check=True).stdout
    assert shlex.split(seen.replace("\\\n", "")) == pasted.split("\0")[:-1] == words


def test_a_command_that_no_shell_reads_is_said_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of claims may hold any text."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    command = "cvbench analyze cka --dataset it's --store ~/mine.zarr  # all of it"
    say_command(command)
    assert capsys.readouterr().out.replace("\\\n", "").split() == command.split()
