"""The arrows between the folders, and what no file may do, read from the imports and calls of every file."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("engine", "jobs", "storage", "cli", "api")

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

RUNS_CODE_MODULES = {"joblib", "cPickle", "dill", "marshal", "shelve", "jsonpickle"}
RUNS_CODE_CALLS = {
    "eval",
    "exec",
    "os.system",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "cloudpickle.load",
    "cloudpickle.loads",
    "torch.load",
    "yaml.load",
    "yaml.full_load",
    "yaml.unsafe_load",
    "yaml.load_all",
    "pandas.read_pickle",
}


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


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """`a.b.c` of a called expression, its first name resolved through the file's imports; "" if it is none."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([names.get(node.id, node.id), *reversed(parts)])


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


def has_restricted_unpickler(tree: ast.AST, names: dict[str, str]) -> bool:
    """Whether the file defines a subclass of pickle's Unpickler with its own `find_class`."""
    return any(
        isinstance(node, ast.ClassDef)
        and "pickle.Unpickler" in {dotted(base, names) for base in node.bases}
        and any(isinstance(part, ast.FunctionDef) and part.name == "find_class" for part in node.body)
        for node in walk(tree)
    )


READS_CHECKPOINTS = "engine/models/checkpoints.py"
"""The one file that may call `torch.load`, and only with its restricted unpickler, said in so many words."""


def is_restricted_load(call: ast.Call, called: str) -> bool:
    """Whether a call is `torch.load(..., weights_only=True)`, the constant itself."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    only = given.get("weights_only")
    return called == "torch.load" and None not in given and isinstance(only, ast.Constant) and only.value is True


def danger_faults(text: str, package: str, file: str = "") -> list[str]:
    """Calls and imports that can run code from the bytes they read.

    `pickle` itself may be imported only where a restricted unpickler is defined.
    """
    tree = parse(text)
    names = bound_names(tree)
    banned = RUNS_CODE_MODULES | (set() if has_restricted_unpickler(tree, names) else {"pickle"})
    faults = [f"{at.lineno}: imports {name}" for name, at in imports(tree, package) if name.partition(".")[0] in banned]
    for node in walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func, names)
        if called in RUNS_CODE_CALLS and not (file == READS_CHECKPOINTS and is_restricted_load(node, called)):
            faults.append(f"{node.lineno}: calls {called}")
        for keyword in node.keywords:
            off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg in {"allow_pickle", "trust_remote_code", "shell"} and not off:
                faults.append(f"{node.lineno}: {called}({keyword.arg}=...)")
    return faults


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


def test_nothing_reads_bytes_that_could_run() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{fault}"
        for path in [*sources(*FOLDERS), *(ROOT / "src/cvbench").glob("*.py")]
        for fault in danger_faults(path.read_text(), package_of(path), str(path.relative_to(ROOT)))
    ]
    assert not faults, "\n".join(faults)


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


def unguarded(text: str) -> Iterator[str]:
    """Calls whose errors at hostile bytes are not all caught around them, by `try` or `suppress`."""
    needed = {
        "json.loads": {"RecursionError"},
        "csv.reader": {"csv.Error"},
        "csv.DictReader": {"csv.Error"},
        "yaml.compose": {"RecursionError"},
    }
    functions = [node for node in walk(parse(text)) if isinstance(node, ast.FunctionDef)]
    for function in functions:
        caught = set()
        for node in walk(function):
            if isinstance(node, ast.ExceptHandler) and node.type is not None:
                caught |= {*ast.unparse(node.type).strip("()").split(", ")}
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("suppress", "contextlib.suppress"):
                caught |= {ast.unparse(argument) for argument in node.args}
        for node in (node for node in walk(function) if isinstance(node, ast.Call)):
            name = ast.unparse(node.func)
            if name in needed and "Exception" not in caught and not needed[name] <= caught:
                yield f"{node.lineno}: {name} in {function.name}, where nothing catches {', '.join(needed[name])}"


OWN_JSON = {"storage/features/fingerprint.py", "jobs/transfer/finetune_ray.py", "jobs/running/messages.py"}
"""Files that read back only what the same process, or one that it started, has written."""


def test_what_reads_text_of_others_ends_in_an_error_of_ours() -> None:
    """Deep nesting is no ValueError, nor is a cell that the csv module finds too long."""
    faults = [
        f"{path.relative_to(ROOT)}:{fault}"
        for path in [*sources(*FOLDERS), *(ROOT / "src/cvbench").glob("*.py")]
        if str(path.relative_to(ROOT)) not in OWN_JSON
        for fault in unguarded(path.read_text())
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("def f(x):\n    try:\n        return json.loads(x)\n    except ValueError: ...", 1),
        ("def f(x):\n    try:\n        return json.loads(x)\n    except (ValueError, RecursionError): ...", 0),
        ("def f(x):\n    with suppress(OSError, RecursionError):\n        return json.loads(x)", 0),
        ("def f(x):\n    return list(csv.reader(x))", 1),
        ("def f(x):\n    try:\n        return list(csv.reader(x))\n    except csv.Error: ...", 0),
    ],
)
def test_the_reader_sees_a_parser_that_is_not_guarded(text: str, faults: int) -> None:
    assert len([*unguarded(text)]) == faults


def test_no_worker_changes_after_it_is_built() -> None:
    # The executor's own actor builds its worker on the first task, under a lock.
    faults = [
        f"{path.relative_to(ROOT)}:{fault}"
        for path in sources("jobs")
        for fault in worker_faults(path.read_text())
        if "_Actor.run changes self._worker" not in fault
    ]
    assert not faults, "\n".join(faults)


def test_the_package_links_to_the_folders() -> None:
    for folder in FOLDERS:
        link = ROOT / "src/cvbench" / folder
        assert link.is_symlink()
        assert link.readlink() == Path("../..") / folder


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
    "change", ["self.x = task", "self.x += 1", "del self.x", "self.x, y = task", "self.x: int = 1"]
)
def test_the_reader_sees_a_worker_that_changes(change: str) -> None:
    assert worker_faults(f"class A:\n    def run(self, task):\n        {change}")
    assert worker_faults(f"class A(MeasureWorker):\n    def prepare(self, unit):\n        {change}")
    assert not worker_faults(f"class A:\n    def __init__(self, task):\n        {change}\n    def run(self, task): ...")


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib",
        "import torch\ntorch.load('x')",
        "from torch import load as read\nread('x')",
        "import torch as t\nt.load('x', weights_only=True)",
        "import yaml\nyaml.load('x')",
        "eval('1')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import subprocess\nsubprocess.run('x', shell=True)",
        "import pickle\nclass U(pickle.Unpickler):\n    def find_class(self, m, n): ...\npickle.loads(b'')",
    ],
)
def test_the_reader_sees_what_could_run_code(text: str) -> None:
    assert danger_faults(text, "cvbench.storage")


@pytest.mark.parametrize(
    ("options", "faults"),
    [("weights_only=True", 0), ("weights_only=False", 1), ("weights_only=safe", 1), ("**options", 1), ("", 1)],
)
def test_torch_may_load_tensors_alone_and_in_one_file(options: str, faults: int) -> None:
    text = f"import torch\ntorch.load('x', {options})"
    assert len(danger_faults(text, "cvbench.engine.models", READS_CHECKPOINTS)) == faults
    assert danger_faults(text, "cvbench.engine.models", "engine/models/weights.py")


def test_the_one_file_that_reads_checkpoints_does() -> None:
    """Else its permission stands for nothing."""
    tree = parse((ROOT / READS_CHECKPOINTS).read_text())
    calls = [node for node in walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"]
    assert len(calls) == 1


def test_the_reader_lets_a_restricted_unpickler_pass() -> None:
    text = "import pickle\nclass U(pickle.Unpickler):\n    def find_class(self, m, n): ...\nU(None).load()"
    assert danger_faults(text, "cvbench.storage") == []


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
