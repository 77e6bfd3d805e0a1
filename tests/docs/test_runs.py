"""What README and docs mark to be run does run: each page in a folder of its own, its blocks in order."""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cvbench.cli.app import app
from tests.docs.pages import ROOT, Block, blocks, blocks_of, pages

START = "docs/start.md"
RUN = [str(page.relative_to(ROOT)) for page in pages() if any(block.runs for block in blocks_of(page))]


def run_command(command: str, place: str) -> None:
    """Run one line: cvbench in this process, a script of the repository in one of its own."""
    first, *words = shlex.split(command)
    if first == "python":
        script = [sys.executable, str(ROOT / words[0]), *words[1:]]
        ran = subprocess.run(script, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert ran.returncode == 0, f"{place}: {command}\n{ran.stderr}"
        return
    assert first == "cvbench", f"{place}: {command}: only cvbench and python are run"
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, f"{place}: {command}\n{done.output}\n{done.exception!r}"


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


def run_page(page: str) -> None:
    """Run the marked blocks of a page here, in the working directory."""
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(ROOT / page):
        if block.runs:
            run_block(block, names)


@pytest.mark.parametrize("page", [page for page in RUN if page != START])
def test_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CVBENCH_ADDRESS", "none")  # the first page is run on Ray, see test_start.py
    monkeypatch.setattr(sys, "path", [*sys.path])  # a command puts the working directory there
    run_page(page)


def test_pages_run() -> None:
    assert {START, "README.md", "docs/store.md", "docs/studies.md", "docs/how/model.md", "docs/how/images.md"} <= {*RUN}


@pytest.mark.parametrize(
    "block", [one for one in blocks() if one.language == "python"], ids=lambda one: f"{one.page}:{one.line}"
)
def test_python_is_python(block: Block) -> None:
    ast.parse(block.code)


def test_an_error_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match="page:7"):
        run_block(Block("page", 7, "sh", "cvbench store info --store none.zarr\n", True, ""), {})
    with pytest.raises(ZeroDivisionError):
        run_block(Block("page", 7, "python", "1 / 0\n", True, ""), {})
