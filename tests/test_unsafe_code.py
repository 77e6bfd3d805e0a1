"""No file runs code from the bytes it reads, and what reads text of others ends in an error of ours."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.sources import FOLDERS, ROOT, bound_names, dotted, imports, package_of, parse, sources, walk

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


def test_nothing_reads_bytes_that_could_run() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{fault}"
        for path in [*sources(*FOLDERS), *(ROOT / "src/cvbench").glob("*.py")]
        for fault in danger_faults(path.read_text(), package_of(path), str(path.relative_to(ROOT)))
    ]
    assert not faults, "\n".join(faults)


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


OWN_JSON = {
    "storage/features/fingerprint.py",
    "jobs/transfer/finetune_progress.py",
    "jobs/transfer/finetune_ray.py",
    "jobs/running/messages.py",
}
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
