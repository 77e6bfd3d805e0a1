"""What no file may do: type a command, change a worker, keep an array that can be written, write to the terminal."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.sources import FOLDERS, ROOT, imports, package_of, parse, sources, walk


def worker_faults(text: str) -> list[str]:
    """Where a class with `run(self, task)` sets something of itself outside `__init__`: two threads share a worker."""
    return [
        f"{node.lineno}: {found.name}.{part.name} changes self.{node.attr}"
        for found in walk(parse(text))
        if isinstance(found, ast.ClassDef) and _is_worker(found)
        for part in found.body
        if isinstance(part, ast.FunctionDef) and part.name != "__init__"
        for node in walk(part)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del)
        if isinstance(node.value, ast.Name) and node.value.id == "self"
    ]


def _is_worker(found: ast.ClassDef) -> bool:
    runs = [part for part in found.body if isinstance(part, ast.FunctionDef) and part.name == "run"]
    takes_task = any("task" in {given.arg for given in part.args.args} for part in runs)
    return takes_task or any(isinstance(base, ast.Name) and base.id.endswith("Worker") for base in found.bases)


def typed_commands(text: str) -> Iterator[str]:
    """Texts that begin as a command of cvbench and were not made by `hints.command`: they are pasted."""
    tree = parse(text)
    prose = {id(node.value) for node in walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    constants = [node for node in walk(tree) if isinstance(node, ast.Constant) and id(node) not in prose]
    for node in constants:
        if isinstance(node.value, str) and re.match(r"`?cvbench [a-z]+ ", node.value):
            yield f"{node.lineno}: {node.value[:60]}"


def test_printed_commands_come_from_one_builder() -> None:
    """Else one of them lacks the store, a quote or an option some day."""
    faults = [
        f"{path.relative_to(ROOT)}:{fault}"
        for path in sources(*FOLDERS)
        for fault in typed_commands(path.read_text())
        if "cvbench datasets ls" not in fault and path.name != "provenance.py"  # phrases of a long one, each quoted
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("fix = 'cvbench store gc --orphans'", 1),
        ("fix = f'cvbench store info --store {url}'", 1),
        ("fix = '`cvbench extract --analyze cka` measures them'", 1),
        ("def f():\n    'cvbench run and more.'", 0),
        ("fix = command('store gc', orphans=True)", 0),
    ],
)
def test_the_reader_sees_a_command_that_is_typed(text: str, faults: int) -> None:
    assert len([*typed_commands(text)]) == faults


def test_no_worker_changes_after_it_is_built() -> None:
    # The executor's own actor builds its worker on the first task, under a lock.
    faults = [
        f"{path.relative_to(ROOT)}:{fault}"
        for path in sources("jobs")
        for fault in worker_faults(path.read_text())
        if "_Actor.run changes self._worker" not in fault
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "change", ["self.x = task", "self.x += 1", "del self.x", "self.x, y = task", "self.x: int = 1"]
)
def test_the_reader_sees_a_worker_that_changes(change: str) -> None:
    assert worker_faults(f"class A:\n    def run(self, task):\n        {change}")
    assert worker_faults(f"class A(MeasureWorker):\n    def prepare(self, unit):\n        {change}")
    assert not worker_faults(f"class A:\n    def __init__(self, task):\n        {change}\n    def run(self, task): ...")


def test_a_cache_of_arrays_is_read_only() -> None:
    """In the kernels and analyses `lru_cache` stands nowhere by itself: `engine.arrays.array.table` makes what it keeps
    so."""
    faults = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources("engine/arrays", "engine/analyses")
        if path.name not in {"array.py", "cuda.py", "threads.py"}  # `table` itself; no arrays
        for name, node in imports(parse(path.read_text()), package_of(path))
        if name in {"functools.lru_cache", "functools.cache"}
    ]
    assert not faults, faults


def test_one_file_alone_writes_to_the_terminal() -> None:
    """Names of files and classes may hold what a terminal obeys: `cvbench.cli.say` writes it as codes."""
    for path in sources("cli"):
        if path.name == "say.py":
            continue
        called = {ast.unparse(node.func) for node in walk(parse(path.read_text())) if isinstance(node, ast.Call)}
        assert not called & {"typer.echo", "typer.secho", "click.echo", "sys.stdout.write"}, path
        assert "print" not in called or path.name == "display.py", path  # JSON lines, in ASCII
