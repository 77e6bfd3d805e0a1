"""The source files as trees: their imports, their names, and the modules of the package."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("engine", "jobs", "storage", "cli", "api")

parse = functools.cache(ast.parse)
"""Text -> its tree. Every file is read by many of these tests, and none changes what it reads."""


@functools.cache
def walk(tree: ast.AST) -> tuple[ast.AST, ...]:
    """Every node of a tree."""
    return tuple(ast.walk(tree))


def sources(*tops: str) -> list[Path]:
    """Every Python file under these folders of the repository."""
    return sorted(path for top in tops for path in (ROOT / top).rglob("*.py"))


def imports(tree: ast.AST, package: str) -> Iterator[tuple[str, ast.stmt]]:
    """(absolute name of an imported module or member, statement), wherever in the file it stands."""
    for node in walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield from ((f"{base}.{alias.name}", node) for alias in node.names)


def package_of(path: Path) -> str:
    """The dotted package that relative imports of this file start from."""
    return ".".join(["cvbench", *path.relative_to(ROOT).parent.parts])


def package_modules() -> dict[str, Path]:
    """Dotted name -> file of every module of the package; a folder's name stands for its `__init__`."""
    files = {path: path.relative_to(ROOT) for path in sources(*FOLDERS)}
    files |= {path: path.relative_to(ROOT / "src/cvbench") for path in (ROOT / "src/cvbench").glob("*.py")}
    names = {".".join(["cvbench", *place.with_suffix("").parts]): path for path, place in files.items()}
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """`a.b.c` of a called expression, its first name resolved through the file's imports; "" if it is none."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([names.get(node.id, node.id), *reversed(parts)])


def bound_names(tree: ast.AST) -> dict[str, str]:
    """Names that absolute imports bind in the file, and what they stand for: {"np": "numpy", "load": "torch.load"}."""
    names: dict[str, str] = {}
    for node in walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names
