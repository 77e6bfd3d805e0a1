"""`cvbench models`: forms of names, names by a pattern, and one backbone."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.errors import UnknownNameError


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["models", *words])
    assert result.exit_code == 0, result.output
    return result.output


def test_forms_are_listed_without_any_library() -> None:
    code = (
        "import sys; from cvbench.cli.app import app; app(['models', 'ls', '--format', 'json'], standalone_mode=False);"
        "print([name for name in ('torch', 'timm', 'torchvision', 'transformers', 'open_clip') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    document, _, heavy = out.rstrip().rpartition("\n")
    assert heavy == "[]"
    forms = {one["form"]: one for one in json.loads(document)["forms"]}
    assert {"NAME", "module:function", "hf:OWNER/NAME", "torchvision:NAME[.WEIGHTS]"} <= forms.keys()
    assert forms["hf:OWNER/NAME"]["installed"] or "cvbench[transformers]" in forms["hf:OWNER/NAME"]["fix"]


def test_a_pattern_is_a_part_or_a_glob() -> None:
    found = {one["name"]: one for one in json.loads(run("ls", "vit dinov2 reg4", "--format", "json"))["models"]}
    assert "vit_small_patch14_reg4_dinov2.lvd142m" in found
    assert found["vit_small_patch14_reg4_dinov2.lvd142m"]["input_size"] == 518
    assert all("dinov2" in name and "reg4" in name for name in found)
    table = run("ls", "torchvision:resnet18*")
    assert [line.split()[0] for line in table.splitlines()[1:]] == [
        "torchvision:resnet18",
        "torchvision:resnet18.IMAGENET1K_V1",
    ]
    assert "224" in table
    assert "torchvision:vgg16.IMAGENET1K_V1" in run("ls", "vgg16")
    result = CliRunner().invoke(app, ["models", "ls", "no-such-net"])
    assert isinstance(result.exception, UnknownNameError)


@pytest.mark.parametrize(
    ("name", "parameters", "classes"), [("test_vit", 371_240, 1000), ("torchvision:resnet18", 11_689_512, 1000)]
)
def test_one_backbone_in_detail(name: str, parameters: int, classes: int) -> None:
    found = json.loads(run("info", name, "--format", "json"))
    assert (found["parameters"], found["classes"], found["schema_version"]) == (parameters, classes, 1)
    assert f"{parameters:,}" in run("info", name)
