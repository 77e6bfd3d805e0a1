"""Two trainings of one architecture in one store, by names of one's own; networks of other libraries, end to end."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import cvbench
from cvbench.cli.app import app
from cvbench.engine.models.backbones import BackboneSpec, resolve_spec
from cvbench.engine.models.weights import build_model, weights_digest
from cvbench.errors import CvbenchError, FingerprintMismatchError, UnknownNameError, UsageError
from cvbench.jobs.extraction.backbones import specs_of
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.again import extract_again
from cvbench.jobs.reading.selection import stored_name
from cvbench.storage.features import FeatureStore

SIZES = ("--limit", "32", "-b", "16", "--unit", "32", "--address", "none")


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(words))
    if code and isinstance(result.exception, CvbenchError):
        assert result.exception.exit_code == code
        return str(result.exception)
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result.output


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training checkpoint of test_vit at 32 pixels."""
    path = tmp_path_factory.mktemp("tuned") / "tuned.pth"
    state = build_model(BackboneSpec("test_vit", "random", seed=5, image_size=32)).state_dict()
    torch.save({"model": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 9}, path)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tuned: Path) -> str:
    url = str(tmp_path_factory.mktemp("named") / "s.zarr")
    views = ("--view", "pooled", "--view", "logits", "--view", "maps")
    said = run(
        "extract", "-d", "digits", "--split", "test", *SIZES, "--image-size", "32", *views, "--store", url,
        "--backbone", "before=test_vit", "--backbone", "after=test_vit",
        "--weights", "before=random", "--weights", f"after={tuned}",
    )  # fmt: skip
    assert said.count("after@32: of tuned.pth took model; took the names behind module.") == 1
    return url


def test_two_trainings_stand_in_one_store(store: str, tuned: Path) -> None:
    opened = FeatureStore.open(store)
    made = {group.backbone: opened.fingerprint(group)["fingerprint"] for group in opened.groups()}
    assert made.keys() == {"before@32", "after@32"}
    assert {one["model"] for one in made.values()} == {"test_vit"}
    digests = {name: one["weights_digest"] for name, one in made.items()}
    spec = BackboneSpec("test_vit", str(tuned), image_size=32)
    assert digests["after@32"] == weights_digest(build_model(spec)) != digests["before@32"]
    group = next(group for group in opened.groups() if group.backbone == "after@32")
    provenance = opened.commits(group)[0].provenance
    assert provenance["weights"] == "tuned.pth"
    assert "took model" in provenance["weights_changed"]


def test_they_are_compared_mapped_and_reported(store: str, tuned: Path, tmp_path: Path) -> None:
    words = ["analyze", "cka", "--store", store, "--format", "json", "--address", "none"]
    found = json.loads(CliRunner().invoke(app, words).stdout)
    assert {"before@32", "after@32"} <= {row[key] for row in rows(found) for key in ("backbone", "backbone_b")}
    said = run(
        "analyze", "cam", "--store", store, "-d", "digits", "--split", "test", "--limit", "32", "--address", "none",
        "--weights", "before=random", "--weights", f"after={tuned}",
    )  # fmt: skip
    assert "after@32" in said
    run("report", "--store", store, "--out", str(tmp_path / "report"))
    page = next((tmp_path / "report").glob("*.html")).read_text()
    assert "--backbone before=test_vit" in page
    assert "--backbone after=test_vit" in page
    assert "--weights after=PATH/tuned.pth" in page


def rows(document: Any) -> list[dict[str, Any]]:
    if isinstance(document, dict):
        if "backbone_b" in document:
            return [document]
        return [row for value in document.values() for row in rows(value)]
    return [row for value in document for row in rows(value)] if isinstance(document, list) else []


def test_the_printed_command_makes_them_again(store: str, tuned: Path) -> None:
    opened = FeatureStore.open(store)
    again = extract_again(opened, ("digits", "test"), view=["pooled"], limit=32)
    assert "--backbone before=test_vit --backbone after=test_vit" in again.replace("'", "") or (
        "--backbone after=test_vit --backbone before=test_vit" in again.replace("'", "")
    )
    words = shlex.split(again.replace("PATH/tuned.pth", str(tuned)))[1:]
    said = run(*words, "--address", "none")
    assert "nothing to do" in said


def test_names_are_found_in_the_store(store: str) -> None:
    held = ["before@32", "after@32"]
    assert stored_name("after", held) == "after@32"
    assert stored_name("after=test_vit", held) == "after@32"
    with pytest.raises(UnknownNameError):
        stored_name("test_vit", held)
    result = cvbench.analyze.spectra(cvbench.open_store(store), backbones=["after"], address="none")
    assert {layer["backbone"] for layer in result.attrs["layers"]} == {"after@32"}


def test_what_names_refuse(tuned: Path) -> None:
    def specs(*backbones: str, weights: tuple[str, ...] = ("random",)) -> list[str]:
        return [spec.key for spec in specs_of(ExtractOptions("digits", backbones, weights=weights))]

    assert specs("a=test_vit", "test_vit", "b=torchvision:resnet18") == ["a", "test_vit", "b"]
    with pytest.raises(UsageError, match=r"given twice[\s\S]*NAME=test_vit"):
        specs("test_vit", "test_vit")
    with pytest.raises(UsageError, match="given twice"):
        specs("a=test_vit", "a=test_convnext")
    with pytest.raises(UnknownNameError, match="backbone in --weights"):
        specs("a=test_vit", weights=("b=random",))
    with pytest.raises(UsageError, match="'a@64' is no name for a backbone"):
        specs("a@64=test_vit")
    assert specs("torchvision:resnet18", weights=("torchvision:resnet18=random",)) == ["torchvision.resnet18"]


def test_other_weights_for_a_name_that_is_there_are_offered_a_second_one(tuned: Path, tmp_path: Path) -> None:
    url = str(tmp_path / "s.zarr")
    made = [
        "extract",
        "-d",
        "digits",
        "--split",
        "test",
        *SIZES,
        "--image-size",
        "32",
        "--view",
        "head",
        "--store",
        url,
    ]
    for first, second in (("test_vit", "test_vit-2"), ("other=test_vit", "other-2")):
        run(*made, "--backbone", first, "--weights", "random")
        refused = CliRunner().invoke(app, [*made, "--backbone", first, "--weights", str(tuned)])
        assert isinstance(refused.exception, FingerprintMismatchError)
        fix = str(refused.exception.fix)
        assert fix.startswith(f"--backbone {second}=test_vit --weights {second}="), fix
        run(*made, *shlex.split(fix.partition(" keeps")[0]))
        assert f"{second}@32" in {group.backbone for group in FeatureStore.open(url).groups()}
    third = CliRunner().invoke(app, [*made, "--backbone", "test_vit", "--weights", str(tuned)])
    assert "--backbone test_vit-3=test_vit" in str(third.exception)


def test_a_study_has_names(tmp_path: Path, tuned: Path) -> None:
    from cvbench.jobs.study.study import read_study

    path = tmp_path / "study.yaml"
    path.write_text(
        f"store: {tmp_path / 's.zarr'}\nbackbones:\n"
        "  - {name: before, model: test_vit, weights: random, image_size: 32}\n"
        f"  - {{name: after, model: test_vit, weights: {tuned}, image_size: 32}}\n"
        "  - {model: test_vit, weights: random, image_size: 32}\n"
        "datasets:\n  - {dataset: digits, split: test, view: pooled, limit: 32}\nanalyses: [cka]\n"
    )
    study = read_study(str(path))
    (options,) = study.extractions(study.images[0])
    assert [spec.key for spec in specs_of(options)] == ["before@32", "after@32", "test_vit@32"]
    assert [spec.weights for spec in specs_of(options)] == ["random", str(tuned), "random"]


def test_a_network_of_transformers_goes_through_every_command(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder, url = tmp_path / "tiny-vit", str(tmp_path / "s.zarr")
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        num_labels=10,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    name = f"hf:{folder}"
    of = ("-d", "digits", "--split", "test", "--backbone", name, "--store", url)
    assert "hf.tiny-vit" in run("plan", *of, "--limit", "32", "--view", "pooled")
    run("extract", *of, *SIZES, "--view", "pooled", "--view", "head", "--view", "logits")
    opened = FeatureStore.open(url)
    (made,) = {json.dumps(opened.fingerprint(group)["fingerprint"]["model"]) for group in opened.groups()}
    assert made == '"hf:tiny-vit"'  # and no path of this machine
    assert "hf:PATH/tiny-vit" in extract_again(opened, ("digits", "test"))
    run("analyze", "cam", *of, "--limit", "32", "--address", "none")
    with pytest.raises(AssertionError, match="lies in a folder, which no store may name"):
        run("analyze", "cam", "-d", "digits", "--split", "test", "--store", url, "--address", "none")
    run(
        "transfer", "finetune", "-d", "digits", "--backbone", name, "--out", str(tmp_path / "out"), "--epochs", "1",
        "--batch-size", "64", "--address", "none",
    )  # fmt: skip
    (file,) = (tmp_path / "out").glob("*.safetensors")
    run("extract", *of[:4], "--backbone", f"tuned={name}", "--weights", str(file), "--store", url, *SIZES)
    run("report", "--store", url, "--out", str(tmp_path / "report"))


def test_a_store_is_moved_to_a_folder_of_the_same_weights(tmp_path: Path) -> None:
    """Of a folder the fingerprint has the name alone: a copy elsewhere goes on."""
    keys = [BackboneSpec(f"hf:{tmp_path}/{at}/net").key for at in "ab"]
    assert keys == ["hf.net", "hf.net"]
    save_file({"a": torch.ones(1)}, tmp_path / "x.safetensors")
    assert resolve_spec("n=test_vit", weights="random").key == "n"
