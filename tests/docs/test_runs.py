"""Commands of README and docs run, and so does marked Python: each page in a folder of its own, its blocks in order."""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cvbench.cli.app import app
from tests.docs.pages import ROOT, Block, blocks, blocks_of, commands, commands_of, pages
from tests.docs.small import ADDED, BEFORE, ENDS, NOT_RUN, small, small_world

START = "docs/start.md"
SHOWN = {command for _, command in commands()}


def is_run(block: Block) -> bool:
    """Whether anything of a block is run: as it stands, or with small data sets and networks in their places."""
    return block.runs or any(command not in NOT_RUN for command in commands_of(block))


RUN = [str(page.relative_to(ROOT)) for page in pages() if any(map(is_run, blocks_of(page)))]


def run_command(command: str, place: str, code: int = 0) -> None:
    """Run one line: cvbench in this process, a script of the repository in one of its own."""
    first, *words = shlex.split(command)
    if first == "python":
        script = [sys.executable, str(ROOT / words[0]), *words[1:]]
        ran = subprocess.run(script, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert ran.returncode == 0, f"{place}: {command}\n{ran.stderr}"
        return
    assert first == "cvbench", f"{place}: {command}: only cvbench and python are run"
    done = CliRunner().invoke(app, words)
    ended = getattr(done.exception, "exit_code", done.exit_code)
    assert ended == code, f"{place}: {command}\n{done.output}\n{done.exception!r}\n{done.exception}"


def run_block(block: Block, names: dict[str, object]) -> None:
    """Run a block here, in the working directory."""
    place = f"{block.page}:{block.line}"
    if block.file:
        Path(block.file).write_text(block.code, encoding="utf-8")
    elif block.language == "python":
        # Lines of the page, so that an error names its own.
        exec(compile("\n" * (block.line - 1) + block.code, str(ROOT / block.page), "exec"), names)
    else:
        assert block.language == "sh", f"{place}: cannot run {block.language!r}"
        for command in block.commands():
            run_command(command, place)


def run_small(block: Block, data: Path) -> None:
    """Run the commands of a block that is not marked, with what stands in for their data sets and networks."""
    for command in commands_of(block):
        if command not in NOT_RUN:
            run_command(small(command, data), f"{block.page}:{block.line}", ENDS.get(command, 0))


def run_page(page: str, data: Path | None = None) -> None:
    """Run the marked blocks of a page here, in the working directory; with `data` the commands of the others too."""
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(ROOT / page):
        if block.runs:
            run_block(block, names)
        elif data is not None:
            run_small(block, data)


@pytest.mark.parametrize("page", [page for page in RUN if page != START])
def test_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("CVBENCH_ADDRESS", "none")  # the first page is run on Ray, see test_start.py
    monkeypatch.setattr(sys, "path", [*sys.path])  # a command puts the working directory there
    with small_world(page, tmp_path) as data:
        for command in BEFORE.get(page, ()):
            run_command(command, f"before {page}")
        run_page(page, data)


def test_what_is_not_run_is_shown() -> None:
    assert {*NOT_RUN, *ENDS} <= SHOWN
    for begin in ADDED:
        assert any(command.startswith(f"cvbench {begin}") for command in SHOWN), begin


def test_the_first_page_is_run_as_it_stands() -> None:
    assert not [block.line for block in blocks_of(ROOT / START) if is_run(block) and not block.runs]


def test_pages_run() -> None:
    assert {START, "README.md", "docs/store.md", "docs/studies.md", "docs/how/model.md", "docs/how/images.md"} <= {*RUN}
    assert {"docs/how/analyses.md", "docs/how/cluster.md", "docs/page.md", "docs/scale.md"} <= {*RUN}
    assert len(SHOWN - NOT_RUN.keys()) >= 85


@pytest.mark.parametrize(
    "block", [one for one in blocks() if one.language == "python"], ids=lambda one: f"{one.page}:{one.line}"
)
def test_python_is_python(block: Block) -> None:
    ast.parse(block.code)


def test_an_error_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match="page:7"):
        run_block(Block("page", 7, "sh", "cvbench store info --store none.zarr\n", True, ""), {})
    with pytest.raises(AssertionError, match="there is no feature store"):
        run_small(Block("page", 7, "sh", "cvbench eval accuracy --store none.zarr\n", False, ""), tmp_path)
    with pytest.raises(ZeroDivisionError):
        run_block(Block("page", 7, "python", "1 / 0\n", True, ""), {})
