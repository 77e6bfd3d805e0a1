"""The public names of `import cvbench`: which there are, what they take, and what importing them costs."""

from __future__ import annotations

import ast
import inspect
import os
import pydoc
import subprocess
import sys
from collections.abc import Callable
from dataclasses import MISSING
from inspect import Parameter
from pathlib import Path
from typing import Any

import pytest

import cvbench
from cvbench.api import stubs
from cvbench.api.entries import GROUPS, call_of, names
from cvbench.api.extraction import call_of as extraction
from cvbench.cli.app import app
from cvbench.errors import CvbenchError, UnknownNameError, UsageError
from cvbench.jobs.registry import ENTRIES
from tests.cli.test_startup import HEAVY, modules_after

ROOT = Path(__file__).parents[1]
NAMES = {
    "": [
        *("Claims", "Extracted", "Layer", "Plan", "Result", "Rows", "Step", "Store", "Study", "__version__"),
        *(
            "analyze",
            "claims",
            "datasets",
            "errors",
            "evaluate",
            "extract",
            "open_store",
            "plan",
            "report",
            "reproduce",
            "results",
            "run",
        ),
        *("status", "taps", "torch_dataset", "transfer"),
    ],
    "analyze": [
        "attention",
        "cam",
        "cka",
        "faithfulness",
        "maps",
        "norms",
        "randomisation",
        "receptive_field",
        "residual",
        "silhouette",
        "similarity",
        "spectra",
        "tsne",
        "two_way",
    ],
    "evaluate": [
        *(
            "accuracy",
            "calibration",
            "corruptions",
            "factorial",
            "imagenet_x",
            "import_predictions",
            "invariance",
            "pug",
        ),
        *("robustness", "shape_bias"),
    ],
    "transfer": ["dense", "finetune", "probe"],
}
"""All that a script may rely on. A name that is taken away or renamed breaks scripts: say so in the changelog."""
MEMBERS = {
    "Store": [
        *("backbones", "datasets", "export", "gc", "layer", "layers", "repair", "results", "rm"),
        *("rm_results", "samples", "to_pandas", "url", "verify", "views"),
    ],
    "Layer": [
        *("backbone", "dataset", "dims", "dtype", "factors", "ids", "labels", "name", "shape", "to_numpy"),
        *("to_xarray", "view"),
    ],
    "Result": [
        *("analysis", "attrs", "command", "figure", "headline", "notes", "parts", "paths", "save", "sentences"),
        *("table", "to_dict", "to_pandas", "to_xarray", "verdicts"),
    ],
    "Rows": ["count", "index", "to_pandas"],
    "Plan": ["advice", "bytes", "command", "fits", "hours", "reports", "samples", "to_pandas"],
    "Extracted": ["command", "computed", "notes", "reports", "results", "store"],
    "Claims": ["outcomes", "rule", "to_pandas", "unknown"],
    "Study": ["done", "file", "out", "results", "steps", "store", "to_pandas", "url"],
    "Step": ["command", "error", "name", "paths", "said", "seconds", "state"],
}
CALLS = [("", "extract"), ("", "plan"), *((module, name) for module in GROUPS for name in NAMES[module])]


def call(module: str, name: str) -> Any:
    return call_of(module, name) if module else extraction(name)


def function(module: str, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(getattr(cvbench, module) if module else cvbench, name)
    return found


def test_the_public_names_are_these() -> None:
    assert cvbench.__all__ == NAMES[""]
    assert {name for name in dir(cvbench) if not name.startswith("__")} == {*NAMES[""]} - {"__version__"}
    for module in GROUPS:
        own = [name for name in names(module) if module != "analyze" or name.replace("_", "-") in ENTRIES]
        assert sorted(own) == NAMES[module] == sorted({*dir(getattr(cvbench, module))} & {*own})


@pytest.mark.parametrize("kind", MEMBERS)
def test_the_members_of_the_public_classes_are_these(kind: str) -> None:
    found = getattr(cvbench, kind)
    source = ast.parse((ROOT / "api" / f"{found.__module__.rpartition('.')[2]}.py").read_text())
    (own,) = (node for node in source.body if isinstance(node, ast.ClassDef) and node.name == kind)
    targets = (node for node in ast.walk(own) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
    members = {node.attr for node in targets} | {*dir(found)} | {*getattr(found, "__annotations__", ())}
    assert sorted(name for name in members if not name.startswith("_") and name != "of_kept") == MEMBERS[kind]


def test_importing_the_package_is_light() -> None:
    heavy = {*HEAVY, "pandas", "pydantic", "rich", "typer", "yaml", "obstore"}
    _, modules = modules_after("import cvbench\nassert 'cka' in dir(cvbench.analyze)\ncvbench.extract, dir(cvbench)")
    assert modules.isdisjoint(heavy), sorted(modules & heavy)
    _, modules = modules_after("import cvbench\nhelp(cvbench.analyze.cka)\ncvbench.errors.UsageError")
    assert modules.isdisjoint(HEAVY), sorted(modules & {*HEAVY})


@pytest.mark.parametrize(("module", "name"), CALLS)
def test_a_function_takes_the_options_of_its_command(module: str, name: str) -> None:
    """One parameter for each option of the command line, no more, with the same default."""
    made = call(module, name)
    parameters = dict(inspect.signature(function(module, name)).parameters)
    parameters.pop("progress", None)
    offered = {one.key: one for form in made.forms for one in form.fields()}
    assert len(offered) == len(parameters)
    command = [*made.words.split()]
    typed = _command_options(command) - {
        "--plan",
        "--format",
        "--out",
        "--long",
        "--rate",
        "--card",
        "--disk-mb-s",
        "--help",
    }
    held = {one.name for one in offered.values() if not one.option.alone} - {"--rate", "--card", "--disk-mb-s", "--out"}
    assert held == typed
    for argument in made.arguments.values():
        default = parameters[argument.name].default
        if argument.field.default is MISSING:
            assert default is Parameter.empty
        elif argument.field.key == "address":
            assert default is None
        else:
            assert argument.field.value(argument.typed(default)) == argument.field.value(argument.field.default)


def _command_options(words: list[str]) -> set[str]:
    import typer

    command: Any = typer.main.get_command(app)
    for word in words:
        command = command.get_command(typer.Context(command), word)
    return {max(param.opts, key=len) for param in command.params if param.param_type_name == "option"}


@pytest.mark.parametrize(("module", "name"), CALLS)
def test_a_function_explains_each_of_its_parameters(module: str, name: str) -> None:
    found = function(module, name)
    doc = inspect.getdoc(found) or ""
    for parameter in inspect.signature(found).parameters:
        assert f"\n    {parameter}: " in doc
    place = ".".join(filter(None, ("cvbench", module)))
    assert (found.__module__, found.__name__) == (place, name)
    assert f"`cvbench {call(module, name).words}`" in doc
    assert name in pydoc.render_doc(found)


def test_the_stubs_say_what_the_functions_take() -> None:
    """They are made: `python -m cvbench.api.stubs`."""
    folder = Path(cvbench.__file__).parent
    for name, text in stubs.stubs().items():
        assert ast.dump(ast.parse((folder / name).read_text())) == ast.dump(ast.parse(text)), name


SCRIPT = """
from pathlib import Path

import cvbench
from cvbench.errors import CvbenchError

store = cvbench.open_store(Path("a.zarr"))
try:
    made = cvbench.extract(["digits"], backbones=["test_vit"], views="head", maps="all", store=store)
except CvbenchError as error:
    print(error.fix)
else:
    print(made.computed + 1)
result = cvbench.analyze.cka(store, dataset="digits", batch=8)
reveal_type(result)
reveal_type(result.table[0].value)
reveal_type(store.layer("digits/test", "test_vit", "blocks.0").to_numpy())
reveal_type(cvbench.run("study.yaml", set={"extract.limit": 3}).done)
names: list[str] = store.layers()
cvbench.analyze.cka(store, batch=8.5)
cvbench.evaluate.accuracy(store, per_clas=True)
cvbench.transfer.finetune("digits")
cvbench.nothing
"""


CONFIG = """
[mypy]
strict = true
follow_imports = silent
ignore_missing_imports = true
[mypy-torch.*,torchvision.*,timm.*,ray.*,xarray.*,dask.*,zarr.*,pydantic.*,pandas.*,matplotlib.*,scipy.*,PIL.*]
follow_imports = skip
[mypy-cvbench.engine.*,cvbench.storage.*,cvbench.jobs.*]
follow_imports = skip
[mypy-cvbench.jobs.results.*]
follow_imports = silent
"""
"""Packages and rooms whose types the script does not use are left out: reading them takes mypy a minute."""


def test_a_typed_script_is_checked(tmp_path: Path) -> None:
    """What is right passes mypy with its types; what is wrong does not."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    (tmp_path / "mypy.ini").write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "script.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    code = SCRIPT.splitlines()
    said = [line.split(":", 3) for line in done.stdout.splitlines() if line.startswith("script.py:")]
    revealed = [text.partition("Revealed type is ")[2].strip('"') for *_, text in said if "Revealed" in text]
    assert [text.partition("[")[0] for text in revealed] == [
        "cvbench.api.result.Result",
        "float | None",
        "numpy.ndarray",
        "bool",
    ], done.stdout + done.stderr
    wrong = [code[int(number) - 1] for _, number, kind, _ in said if kind == " error"]
    assert wrong == [line for line in code if line.startswith("cvbench.")]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"backbone": "test_vit"}, "did you mean: backbones?"),
        ({"cka_batch": 8}, "did you mean: batch?"),
        ({"estimater": "biased"}, "did you mean: estimator?"),
        ({"batch": "some"}, "batch='some': give a positive number or 'auto'"),
        ({"batch": 2.5}, "batch=2.5: give an int"),
        ({"batch": True}, "batch=True: give an int"),
        ({"taps": 3.0j}, "taps=3j: give text"),
        ({"gpus": 0}, "gpus=0: the least is 1"),
        ({"view": None}, "view=None: give a str"),
    ],
)
def test_a_wrong_argument_is_refused_in_the_words_of_python(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        cvbench.analyze.cka("nowhere.zarr", **given)
    assert said in str(caught.value)
    assert "--" not in str(caught.value)


def test_what_lacks_or_is_too_much_is_refused() -> None:
    with pytest.raises(UsageError, match=r"missing a required argument: 'dataset'") as caught:
        cvbench.extract()  # type: ignore[call-arg]
    assert caught.value.fix == "help(cvbench.extract)"
    with pytest.raises(UsageError, match="too many positional"):
        cvbench.extract("digits", "test_vit")  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="no data set"):
        cvbench.plan([])
    with pytest.raises(UsageError, match="taps='list'"):
        cvbench.plan("digits", taps="list")
    with pytest.raises(UnknownNameError) as unknown:
        cvbench.plan("digits", decoder="fats")  # type: ignore[arg-type]
    assert unknown.value.did_you_mean == ("fast",)


def test_an_unknown_name_is_an_attribute_error_with_neighbours() -> None:
    with pytest.raises(AttributeError, match="did you mean 'spectra'"):
        cvbench.analyze.spektra()
    with pytest.raises(AttributeError, match="it has accuracy, "):
        cvbench.evaluate.zzz()  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="module 'cvbench' has no attribute 'extrct'"):
        cvbench.extrct  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(cvbench.analyze, "__wrapped__")


def test_values_are_read_as_the_command_line_reads_them(tmp_path: Path) -> None:
    (form,), hardware = extraction("extract").forms[:1], extraction("extract").made({"dataset": "digits"})[1]
    given = {"dataset": tmp_path, "max_bytes": "2GB", "maps": "all", "views": ["head", "head"], "batch_size": None}
    (options,), _ = extraction("extract").made(given)
    assert (options.dataset, options.max_bytes, options.maps) == (str(tmp_path), 2 * 10**9, None)
    assert (options.views, options.batch_size) == (("head",), None)
    assert form.each == "dataset"
    assert hardware.address == "none"
    assert call("evaluate", "accuracy").made({"masked": False})[1].masked is False
    assert call("evaluate", "invariance").made({"grid": [1.5, "8,0"]})[1].grid == ("1.5", "8,0")
    assert call("analyze", "silhouette").made({"metrics": "cosine"})[2].metrics == ("cosine",)


def test_the_address_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, given, address in ((None, None, "none"), ("auto", None, "auto"), ("auto", "local", "local")):
        if variable is None:
            monkeypatch.delenv("CVBENCH_ADDRESS", raising=False)
        else:
            monkeypatch.setenv("CVBENCH_ADDRESS", variable)
        options = {} if given is None else {"address": given}
        assert call("analyze", "cka").made(options)[-1].address == address


def test_errors_are_those_of_the_package(tmp_path: Path) -> None:
    for work in (
        lambda: cvbench.open_store(tmp_path / "none.zarr"),
        lambda: cvbench.analyze.spectra(tmp_path / "none.zarr"),
        lambda: cvbench.results(tmp_path / "none.zarr"),
        lambda: cvbench.claims(tmp_path / "none.zarr"),
        lambda: cvbench.report(tmp_path / "none.zarr", tmp_path / "out"),
        lambda: cvbench.run(tmp_path / "none.yaml"),
        lambda: cvbench.taps("no_such_model"),
    ):
        with pytest.raises(CvbenchError):
            work()
    assert not [*tmp_path.iterdir()]
