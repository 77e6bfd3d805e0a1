"""The arrows between the folders and their rooms, read from the imports of every file; and how long a piece may be."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

from tests.sources import FOLDERS, ROOT, imports, package_modules, package_of, parse, sources, walk

# cli, api -> jobs -> engine, storage. `errors` and the package itself are everybody's.
MAY_IMPORT = {
    "cli": {"cli", "jobs"},
    "api": {"api", "jobs"},
    "jobs": {"jobs", "engine", "storage"},
    "engine": {"engine"},
    "storage": {"storage"},
}
MAY_NOT_IMPORT = {
    "cli": {"ray", "torch", "zarr", "timm", "cupy", "obstore"},
    "api": {"ray", "torch", "zarr", "timm", "cupy", "obstore", "typer", "rich"},
    "jobs": {"typer"},
    "engine": {"ray", "zarr", "obstore", "dask", "xarray", "typer", "rich"},
    "storage": {"ray", "torch", "torchvision", "timm", "cupy", "typer", "rich"},
}
# cli stands at every start: only these (and the standard library) may be imported before a command runs.
CLI_AT_START = {"cvbench", "typer", "click", "rich"}

# The rooms of a folder, floor by floor, the lowest first: a room may import from lower floors and from itself.
FLOORS: dict[str, tuple[set[str], ...]] = {
    "engine": (
        {"arrays", "pictures", "statistics"},
        {"models", "metrics"},
        {"analyses"},
        {"probe", "finetune"},
    ),
    "storage": (
        {"objects", "predictions"},
        {"downloads", "runs"},
        {"datasets"},
        {"features", "annotations"},
        {"results"},
        {"care"},
    ),
    "jobs": (
        {"running"},
        {"reading"},
        {"results"},
        {"extraction", "figures"},
        {"analyses", "evaluation", "transfer", "catalogue"},
        {"registry"},
        {"claims"},
        {"report"},
        {"study"},
    ),
}
MODULE = re.compile(r"(cvbench(?:\.\w+)+)(?::\w+)?")  # "cvbench.jobs.analyses.cka:ENTRY": imported later, by its name


def named_modules(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(module, line) of what is imported by a name in a string, as registries do."""
    for node in walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (found := MODULE.fullmatch(node.value)):
            yield found[1], node.lineno


def module_imports(name: str, text: str, known: Collection[str], *, package: bool) -> dict[str, int]:
    """Modules of `known` that a module needs, each with the line that says so.

    Imports in functions and for types count, and names of modules in strings. Importing `a.b.c` runs `a` and `a.b` too,
    but for a module in them they run already; of them it needs only what it takes by name.

    Args:
        name: Of the module.
        package: Whether it is the `__init__` of a folder.
    """
    tree, found = parse(text), dict[str, int]()
    own = name if package else name.rpartition(".")[0]
    running = {name, *_above(name)}
    taken = [(target, node.lineno) for target, node in imports(tree, own)]
    named = [(target, line) for target, line in named_modules(tree) if target in known and target not in running]
    for target, line in [*taken, *named]:
        ways = [way for way in [*_above(target), target] if way in known]
        for way in ways:
            if way == ways[-1] or way not in running:
                found.setdefault(way, line)
    return found


def _above(name: str) -> list[str]:
    """The packages that a module lies in, the outermost first."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def circles(graph: Mapping[str, Collection[str]]) -> list[list[str]]:
    """The groups of modules that reach each other, and those that import themselves; each sorted."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        reached[start], ahead = set(), list(graph[start])
        while ahead:
            if (name := ahead.pop()) not in reached[start]:
                reached[start].add(name)
                ahead.extend(graph.get(name, ()))
    groups = {tuple(sorted({a, *(b for b in reached[a] if a in reached[b])})) for a in graph if a in reached[a]}
    return sorted(map(list, groups))


def floor_faults(name: str, needs: Mapping[str, int], floors: Mapping[str, tuple[set[str], ...]]) -> list[str]:
    """Imports of a module that stand against the floors of its folder, and a module that is in no room."""
    _, folder, *rest = [*name.split("."), ""]
    if folder not in floors or not rest[0]:
        return []
    level = {room: height for height, rooms in enumerate(floors[folder]) for room in rooms}
    if rest[0] not in level:
        return [f"{name} is in no room"]
    faults = []
    for target, line in needs.items():
        _, other, *inner = [*target.split("."), "", ""]
        room = inner[0]
        if other == folder and room and room != rest[0] and level.get(room, len(level)) >= level[rest[0]]:
            faults.append(f"{name}:{line}: {rest[0]} imports {target}")
    return faults


def import_faults(text: str, folder: str, package: str) -> list[str]:
    """Imports in a file of `folder` that go against the arrows."""
    faults = []
    for name, node in imports(parse(text), package):
        top, _, rest = name.partition(".")
        inner = rest.partition(".")[0]
        against = top == "cvbench" and inner in FOLDERS and inner not in MAY_IMPORT[folder]
        if top in FOLDERS:
            faults.append(f"{node.lineno}: bare import of {name}")
        elif against or top in MAY_NOT_IMPORT[folder]:
            faults.append(f"{node.lineno}: {folder} imports {name}")
    return faults


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_follow_the_arrows(folder: str) -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{fault}"
        for path in sources(folder)
        for fault in import_faults(path.read_text(), folder, package_of(path))
    ]
    assert not faults, "\n".join(faults)


@functools.cache
def _graph() -> dict[str, dict[str, int]]:
    known = package_modules()
    return {
        name: module_imports(name, path.read_text(), known, package=path.name == "__init__.py")
        for name, path in known.items()
    }


def test_no_modules_import_each_other() -> None:
    graph = _graph()
    faults = [
        f"{one}:{line} imports {two}"
        for members in circles(graph)
        for one in members
        for two, line in graph[one].items()
        if two in members
    ]
    assert not faults, "\n".join(faults)


def test_rooms_import_from_lower_floors() -> None:
    faults = [fault for name, needs in _graph().items() for fault in floor_faults(name, needs, FLOORS)]
    assert not faults, "\n".join(faults)


def test_cli_imports_only_typer_before_a_command_runs() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {name}"
        for path in sources("cli")
        for statement in parse(path.read_text()).body
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for name, node in imports(ast.Module([statement], []), package_of(path))
        if name.partition(".")[0] not in CLI_AT_START | set(sys.stdlib_module_names)
    ]
    assert not faults, "\n".join(faults)


def test_nobody_imports_a_folder_by_its_bare_name() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {name}"
        for path in [*sources("tests", "bench"), *(ROOT / "src/cvbench").glob("*.py")]
        for name, node in imports(parse(path.read_text()), package_of(path))
        if name.partition(".")[0] in FOLDERS
    ]
    assert not faults, "\n".join(faults)


def test_the_package_links_to_the_folders() -> None:
    for folder in FOLDERS:
        link = ROOT / "src/cvbench" / folder
        assert link.is_symlink()
        assert link.readlink() == Path("../..") / folder


LONGEST_FUNCTION, LONGEST_FILE = 60, 400
"""Lines, decorators and docstring among them."""


def long_functions(text: str, most: int = LONGEST_FUNCTION) -> Iterator[str]:
    """Functions with more lines than that."""
    for node in walk(parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min(part.lineno for part in (node, *node.decorator_list))
            lines = (node.end_lineno or first) - first + 1
            if lines > most:
                yield f"{first}: {node.name} has {lines} lines, {most} at most: give one of its steps or values a name"


def test_no_function_is_long() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{fault}"
        for path in [*sources(*FOLDERS, "tests", "bench"), *(ROOT / "src/cvbench").glob("*.py")]
        for fault in long_functions(path.read_text())
    ]
    assert not faults, "\n".join(faults)


def test_no_file_is_long() -> None:
    lengths = {
        path: len(path.read_text().splitlines())
        for path in [*sources(*FOLDERS, "tests", "bench"), *(ROOT / "src/cvbench").glob("*.py")]
    }
    faults = [
        f"{path.relative_to(ROOT)} has {lines} lines, {LONGEST_FILE} at most: which of its ideas is a file of its own?"
        for path, lines in lengths.items()
        if lines > LONGEST_FILE
    ]
    assert not faults, "\n".join(faults)


# The reader itself: each rule finds what it is there for.


@pytest.mark.parametrize(
    ("folder", "text"),
    [
        ("engine", "import zarr"),
        ("engine", "def f():\n    import ray"),
        ("engine", "from cvbench.storage import features"),
        ("engine", "from ..storage import features"),
        ("engine", "from cvbench import storage"),
        ("storage", "import torch.nn as nn"),
        ("storage", "from cvbench.engine.models.views import pooled"),
        ("storage", "import ray"),
        ("jobs", "from cvbench.cli import main"),
        ("jobs", "import storage"),
        ("cli", "from cvbench.storage.features import FeatureStore"),
        ("cli", "import ray"),
        ("api", "from cvbench.cli import main"),
        ("api", "from cvbench.storage.features import FeatureStore"),
        ("jobs", "from cvbench.api.result import Result"),
    ],
)
def test_the_reader_sees_a_wrong_import(folder: str, text: str) -> None:
    assert import_faults(text, folder, f"cvbench.{folder}")


@pytest.mark.parametrize(
    ("folder", "text"),
    [
        ("jobs", "import ray\nfrom cvbench.storage import features\nfrom cvbench.engine import views"),
        ("engine", "import torch\nfrom .views import pooled\nfrom ..errors import UsageError"),
        ("cli", "import typer\nfrom cvbench.jobs import extract\nfrom cvbench import errors"),
    ],
)
def test_the_reader_lets_a_right_import_pass(folder: str, text: str) -> None:
    assert import_faults(text, folder, f"cvbench.{folder}") == []


KNOWN = {"cvbench", "cvbench.a", "cvbench.b", "cvbench.p", "cvbench.p.x", "cvbench.p.y"}


@pytest.mark.parametrize(
    ("name", "text", "needs"),
    [
        ("cvbench.a", "import cvbench.b", {"cvbench.b"}),
        ("cvbench.a", "def f():\n    from cvbench.b import g", {"cvbench.b"}),
        ("cvbench.a", "if TYPE_CHECKING:\n    from .b import T", {"cvbench.b"}),
        ("cvbench.a", "PLACES = {'b': 'cvbench.b:THING', 'c': 'cvbench.b.unknown'}", {"cvbench.b"}),
        ("cvbench.a", "from cvbench import __version__", {"cvbench"}),
        ("cvbench.a", "from cvbench.p import x", {"cvbench.p", "cvbench.p.x"}),
        ("cvbench.a", "from cvbench.p.x import f", {"cvbench.p", "cvbench.p.x"}),
        ("cvbench.p.x", "from cvbench.p.y import f", {"cvbench.p.y"}),
        ("cvbench.p.x", "from . import y", {"cvbench.p.y"}),
        ("cvbench.p.x", "from cvbench.p import f", {"cvbench.p"}),
        ("cvbench.p.x", "TEMPLATES = 'cvbench.p'", set()),
        ("cvbench.p", "from cvbench.p import x", {"cvbench.p.x"}),
        ("cvbench.a", "import json, numpy.linalg", set()),
    ],
)
def test_the_reader_sees_what_a_module_needs(name: str, text: str, needs: set[str]) -> None:
    assert set(module_imports(name, text, KNOWN, package=name == "cvbench.p")) == needs


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"a": "b", "b": "c", "c": ""}, []),
        ({"a": "bc", "b": "c", "c": ""}, []),
        ({"a": "b", "b": "a", "c": "a"}, [["a", "b"]]),
        ({"a": "b", "b": "c", "c": "a", "d": "d"}, [["a", "b", "c"], ["d"]]),
        ({"a": "b", "b": "ac", "c": "d", "d": "c"}, [["a", "b"], ["c", "d"]]),
    ],
)
def test_circles_are_found(graph: dict[str, str], found: list[list[str]]) -> None:
    assert circles(graph) == found


@pytest.mark.parametrize(
    ("name", "needs", "refused"),
    [
        ("cvbench.jobs.high.x", {"cvbench.jobs.low.y", "cvbench.jobs.high.z", "cvbench.engine.high"}, 0),
        ("cvbench.jobs.low.y", {"cvbench.jobs.high.x", "cvbench.jobs.beside", "cvbench.jobs"}, 2),
        ("cvbench.jobs.low", {"cvbench.jobs.stray"}, 1),
        ("cvbench.jobs.stray", set(), 1),
        ("cvbench.jobs", {"cvbench.jobs.high"}, 0),
        ("cvbench.engine.stray", {"cvbench.engine.other"}, 0),
    ],
)
def test_the_reader_sees_an_import_from_a_higher_floor(name: str, needs: set[str], refused: int) -> None:
    floors = {"jobs": ({"low", "beside"}, {"high"})}
    assert len(floor_faults(name, dict.fromkeys(needs, 1), floors)) == refused


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("def f():\n    a = 1\n    return a", 0),
        ("def f():\n    a = 1\n    b = 2\n    return a", 1),
        ("@cache\ndef f():\n    a = 1\n    return a", 1),
        ("class A:\n    async def f(self):\n        a = 1\n        b = 2\n        return a", 1),
        ("class A:\n    a = 1\n    b = 2\n    c = 3\n    d = 4", 0),
    ],
)
def test_the_reader_sees_a_long_function(text: str, faults: int) -> None:
    assert len([*long_functions(text, most=3)]) == faults
