"""What a shell sees of every command alike: exit codes with -v and on lost output, repeated options, folders to write.

The commands are found by walking the tree of the command line, so that a new one is covered.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.cli.commands import takes_one_value
from cvbench.errors import CvbenchError, ResourceError, UsageError
from tests.forks import Start

ROOT: Any = typer.main.get_command(app)
"""The tree of commands, each built once: hundreds of cases call them in this process."""


def commands(group: Any = ROOT, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(words, command) of every command."""
    context: Any = typer.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from commands(command, (*names, name))
        else:
            yield (*names, name), command


COMMANDS = dict(commands())


def needed(command: Any, but: Any = None) -> list[str]:
    """The arguments and options that a command cannot do without."""
    words = []
    for param in command.params:
        if param.required and param is not but:
            words += ["digits"] if param.param_type_name == "argument" else [param.opts[0], "digits"]
    return words


def test_the_walk_finds_the_commands() -> None:
    assert {("extract",), ("plan",), ("analyze", "cka"), ("eval", "import"), ("store", "export")} <= COMMANDS.keys()
    assert len(COMMANDS) > 25


SCALAR = [
    (words, param.opts[0]) for words, command in COMMANDS.items() for param in command.params if takes_one_value(param)
]


@pytest.mark.parametrize(("words", "option"), SCALAR, ids=[" ".join((*w, o)) for w, o in SCALAR])
def test_an_option_with_one_value_is_refused_twice(words: tuple[str, ...], option: str) -> None:
    command = COMMANDS[words]
    param = next(param for param in command.params if option in param.opts)
    value = {"out": "somewhere", "max_unreadable": "0.5", "ema": "0.5", "positions": "100"}.get(param.name, "8")
    twice = [option, value, max(param.opts, key=len), value]
    with pytest.raises(UsageError, match="is given 2 times") as caught:
        ROOT.main([*words, *needed(command, param), *twice], prog_name="cvbench")
    assert max(param.opts, key=len) in str(caught.value)


def test_the_walk_finds_the_options() -> None:
    assert {(("report",), "--store"), (("transfer", "finetune"), "--backbone"), (("plan",), "--limit")} <= {*SCALAR}
    assert len(SCALAR) > 200


def test_help_is_help_however_often_an_option_is_given() -> None:
    done = CliRunner().invoke(app, ["report", "--store", "a", "--store", "b", "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output


WITH_FOLDER = [words for words, command in COMMANDS.items() if any(param.name == "out" for param in command.params)]


@pytest.mark.parametrize("words", WITH_FOLDER, ids=" ".join)
@pytest.mark.parametrize(
    ("out", "kind"), [("taken", ResourceError), ("taken/below", ResourceError), ("s3://b/r", UsageError)]
)
def test_a_folder_that_cannot_be_made_is_found_before_the_work(
    words: tuple[str, ...], out: str, kind: type[CvbenchError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("a file")
    command = COMMANDS[words]
    without = next(param for param in command.params if param.name == "out")
    with pytest.raises(kind, match="--out"):
        ROOT.main([*words, *needed(command, without), "--out", out], prog_name="cvbench")
    assert os.listdir() == ["taken"]


def test_folders_that_would_be_made_are_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["report", "--store", "none.zarr", "--out", "a/b/c"])
    assert isinstance(done.exception, CvbenchError)
    assert "no feature store" in str(done.exception)
    assert os.listdir() == []


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which `cvbench` is this program."""
    program = " ".join((sys.executable, "-c", "'from cvbench.cli import main; main()'"))
    text = f'cvbench() {{ {program} "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", text], capture_output=True, text=True, timeout=300, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--help", 0),
        ("datasets ls", 0),
        ("extract --help", 0),
        ("datasets ls --format json", 0),
        ("store info --store none.zarr", 3),
    ],
)
def test_a_reader_that_left_changes_no_exit_code(words: str, code: int, unbuffered: str) -> None:
    done = shell(f"cvbench {words} | true; exit ${{PIPESTATUS[0]}}", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["--help", "--version", "datasets ls", "datasets ls --format json"])
def test_output_that_a_disk_does_not_take_is_an_error(words: str, unbuffered: str) -> None:
    done = shell(f"cvbench {words} > /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 6, done.stderr
    assert "the output cannot be written" in done.stderr
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("line", ["datasets ls >&-", "datasets ls 2>/dev/full", "datasets ls 2>&-"])
def test_a_closed_stream_stops_nothing(line: str) -> None:
    done = shell(f"cvbench {line}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verbose", ["-v", "--verbose"])
def test_verbose_keeps_the_exit_code_and_adds_the_traceback(start: Start, verbose: str, tmp_path: Path) -> None:
    done = start([verbose, "analyze", "cka", "--store", str(tmp_path / "none.zarr")])
    said = done.communicate(300)[1]
    assert done.returncode == 3
    assert "Traceback" in said
    assert said.count("cvbench: there is no feature store") == 1


@pytest.mark.parametrize(
    "words",
    [
        "extract --dataset folder:s3://bucket/birds",
        "extract --dataset digits --weights s3://bucket/w.safetensors",
        "extract --dataset digits --weights test_vit=s3://bucket/w.safetensors --backbone test_vit",
        "extract --dataset cub200 --data-root s3://bucket",
        "transfer finetune --dataset digits --backbone test_vit --out here --weights s3://bucket/w.safetensors",
        "analyze cam --dataset folder:s3://bucket/birds",
        "datasets verify folder:s3://bucket/birds",
    ],
)
def test_a_url_where_only_a_path_is_read_is_refused(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    address = ["--address", "none"] if words.startswith(("extract", "analyze")) else []
    done = CliRunner().invoke(app, [*words.split(), *address])
    assert isinstance(done.exception, UsageError), (done.output, done.exception)
    assert "this machine" in str(done.exception)
    assert "s3://bucket" in str(done.exception)
    assert os.listdir() == []


TIDIES_BADLY = """
import importlib, signal, sys, types
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background has it ignore
from cvbench.cli.command import command
from cvbench.errors import CvbenchError

app = importlib.import_module("cvbench.cli.app")

def waits() -> None:
    try:
        print("ready", flush=True)
        sys.stdin.read()
    finally:
        raise {error}

module = types.ModuleType("cvbench.cli.waits")
module.waits = command("waits", [], waits)
sys.modules[module.__name__] = module
app.COMMANDS["waits"] = (module.__name__, "waits", "Wait.")
app.main()
"""


@pytest.mark.parametrize("error", ["OSError(9, 'Bad file descriptor')", "CvbenchError('cannot tidy')"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_is_one_whatever_fails_for_it_on_the_way_out(number: int, code: int, error: str) -> None:
    words = [sys.executable, "-c", TIDIES_BADLY.format(error=error), "waits"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        said = process.communicate(timeout=300)[1].decode()
    assert process.returncode == code, said
    assert "the same command goes on from there" in said
    assert "Traceback" not in said


def test_an_error_without_an_interrupt_stays_one() -> None:
    words = [sys.executable, "-c", TIDIES_BADLY.format(error="CvbenchError('cannot tidy')"), "waits"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert (done.returncode, "cannot tidy" in done.stderr) == (CvbenchError.exit_code, True)


@pytest.mark.parametrize("verbose", ["", "-v"])
def test_memory_that_is_refused_is_an_error_of_ours(verbose: str) -> None:
    words = [sys.executable, "-c", TIDIES_BADLY.format(error="MemoryError('cannot allocate 9 GiB')"), *verbose.split()]
    done = subprocess.run([*words, "waits"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert done.returncode == 6, done.stderr
    assert "the memory of this machine does not suffice" in done.stderr
    assert "why: cannot allocate 9 GiB" in done.stderr
    assert "it resumes" in done.stderr
    assert ("Traceback" in done.stderr) == bool(verbose)
