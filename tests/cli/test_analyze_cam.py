"""`cvbench analyze cam` as a user types it."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cvbench.cli.app import app
from cvbench.errors import CvbenchError
from cvbench.jobs.analyses.cam.cam import ENTRY
from cvbench.jobs.results.keep import stored_result
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results
from tests.commands import check_refused
from tests.jobs.images import write_folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["analyze", "cam", *arguments])


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a run over 12 images, whose maps are there."""
    folder = tmp_path_factory.mktemp("cli")
    write_folder(folder / "pets", 12)
    words = ["--dataset", f"folder:{folder / 'pets'}", "--store", str(folder / "s.zarr"), "--address", "none"]
    words += ["--backbone", "test_vit", "--backbone", "test_convnext", "--weights", "random", "--resamples", "50"]
    words += ["--image-size", "64", "--batch-size", "4", "--unit", "4"]
    result = run(*words)
    assert result.exit_code == 0, result.output
    return words


def test_the_table_has_every_backbone_grid_and_difference(asked: list[str], tmp_path: Path) -> None:
    result = run(*asked, "--out", str(tmp_path), "--examples", "1")
    assert result.exit_code == 0, result.output
    lines = [re.split("  +", line) for line in result.stdout.splitlines()]
    pair = "test_vit@64/blocks.5.norm1 less test_convnext@64/stages.3.blocks.1"
    assert lines[0][0].startswith(
        "difference of centroid, share of the height, "
    )  # what backbones differ by comes first
    assert lines[1] == ["common grid 2x2, centred maps"]  # of all in the table
    assert lines[2][:3] == ["of", "value", "interval"]
    told = [line for line in lines if line[0] == pair]
    assert len(told) == 2  # 2x2 is too small for all but centres
    assert all("not resolved" in line or "too few images to resolve" in line for line in told)
    places = {line[1] for line in lines if line[0] == "test_vit@64/blocks.5.norm1"}
    assert places == {"common grid 2x2", "common grid 2x2, centred maps"}
    assert "sums to zero over positions by construction" in result.stdout
    assert "Grad-CAM, class predicted; its mean probability: test_vit@64 0." in result.stdout
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"cam-folder-pets-all-cam.gradcam.{kind}" for kind in ("csv", "png", "svg")]


def test_long_has_every_grid_and_says_why_there_is_no_number(asked: list[str]) -> None:
    result = run(*asked, "--long")
    assert result.exit_code == 0, result.output
    lines = [re.split("  +", line) for line in result.stdout.splitlines()]
    assert {line[1] for line in lines if line[0] == "test_vit@64/blocks.5.norm1"} == {
        "common grid 2x2",
        "own grid 4x4",
        "common grid 2x2, centred maps",
    }
    assert sum(" less " in line[0] for line in lines) == 18
    assert sum(line[-1] == "not judged: see centred maps" for line in lines) == 2
    assert any(line[-1] == "not measurable on a 2x2 grid: it needs 3x3" for line in lines)
    assert not any("resolved" in line for line in lines)


def test_with_many_classes_there_are_two_intervals(tmp_path: Path) -> None:
    write_folder(tmp_path / "kinds", 60, classes=30)
    words = ["--dataset", f"folder:{tmp_path / 'kinds'}", "--store", str(tmp_path / "s.zarr"), "--address", "none"]
    words += ["--backbone", "test_vit", "--weights", "random", "--resamples", "50", "--image-size", "64"]
    found = run(*words, "--batch-size", "4", "--unit", "20", "--method", "xgradcam")
    assert found.exit_code == 0, found.output
    lines = [re.split("  +", line) for line in found.stdout.splitlines()]
    assert lines[1][:6] == ["of", "where", "value", "interval", "over classes", "n"]
    assert all(re.fullmatch(r"\[0\.\d{4}, 0\.\d{4}\]", cell) for cell in lines[2][3:5])
    assert lines[2][3] != lines[2][4]
    assert "XGrad-CAM, class predicted; " in found.stdout
    assert "intervals over classes: percentile bootstrap over 30 classes" in found.stdout


def test_json_and_csv_have_the_same_numbers(asked: list[str]) -> None:
    found = run(*asked, "--format", "json")
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    (told,) = report["results"]
    assert (report["schema_version"], told["attributes"]["images"], told["attributes"]["method"]) == (2, 12, "gradcam")
    assert len(told["coordinates"]["example"]) == 6
    table = run(*asked, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    for row, entry in zip(rows, report["rows"], strict=True):
        assert (float(row["value"]) if row["value"] else None) == entry["value"]
        assert row["factor"] == entry["factor"]


def test_the_command_that_a_result_names_makes_it_again(asked: list[str]) -> None:
    store = FeatureStore.open(asked[3])
    keys = [key for key in list_results(store) if key.analysis == "cam"]
    again = run(*ENTRY.command(stored_result(store, keys[0]))[2:], "--store", asked[3], "--address", "none")
    assert again.exit_code == 0, again.output
    assert [key for key in list_results(FeatureStore.open(asked[3])) if key.analysis == "cam"] == keys


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        (("--method", "gradcm"), 2, "gradcam"),
        (("--class", "1000"), 2, "no class 1000"),
        (("--class", "label"), 2, "does not know the labels"),
        (("--correct-only",), 2, "does not know the labels"),
        (("--target", "blocks.5.attn"), 2, "do not depend on the patches"),
        (("--image", "nothing.png"), 2, "unknown sample"),
        (("--precision", "bf16"), 4, "precision"),
        (("--examples", "-1"), 2, "--examples"),
        (("--format", "xml"), 2, "json"),
    ],
)
def test_bad_input_has_a_message_and_an_exit_code(
    asked: list[str], changed: tuple[str, ...], code: int, said: str
) -> None:
    result = run(*asked, *changed)
    check_refused(result, code, said)
    assert result.stdout == ""


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """(options, store) of features of 12 images by two networks, one of them with weights of a file."""
    import torch
    from safetensors.torch import save_file

    from cvbench.engine.models.backbones import BackboneSpec, load_backbone

    folder = tmp_path_factory.mktemp("features")
    write_folder(folder / "pets", 12)
    store = folder / "s.zarr"
    own = load_backbone(BackboneSpec("test_vit", "random", image_size=64), device="cpu")
    state = {name: value.clone().contiguous() for name, value in own.network.state_dict().items()}
    with torch.no_grad():
        state["head.bias"] += 1
    save_file(state, store.parent / "mine.safetensors")
    words = ["--dataset", f"folder:{folder / 'pets'}", "--store", str(store), "--address", "none"]
    made = ["--backbone", "test_vit", "--backbone", "test_convnext", "--image-size", "64", "--unit", "4"]
    made += ["--weights", "random", "--weights", f"test_vit={folder / 'mine.safetensors'}", "--batch-size", "4"]
    done = CliRunner().invoke(app, ["extract", *words, *made])
    assert done.exit_code == 0, done.output
    return [*words, "--resamples", "20"], store


def weights_of(store: Path, view: str) -> dict[str, str]:
    """Backbone -> the digest of the weights of a view."""
    opened = FeatureStore.open(store)
    groups = [group for group in opened.groups() if group.view == view]
    return {group.backbone: opened.fingerprint(group)["fingerprint"]["weights_digest"] for group in groups}


def test_the_backbones_are_those_of_the_store_with_their_weights(features: tuple[list[str], Path]) -> None:
    words, store = features
    before = list_results(FeatureStore.open(store))
    done = run(*words, "--method", "eigencam")
    assert done.exit_code == 0, done.output
    assert "weights: test_convnext@64 random, test_vit@64 mine.safetensors" in done.stdout
    assert weights_of(store, "cam.eigencam") == weights_of(store, "pooled")
    after = list_results(FeatureStore.open(store))
    (key,) = {*after} - {*before}
    again = run(*ENTRY.command(stored_result(FeatureStore.open(store), key))[2:], *words[2:6])
    assert again.exit_code == 0, again.output
    assert list_results(FeatureStore.open(store)) == after


def test_one_backbone_of_the_store_is_named_by_its_key(features: tuple[list[str], Path]) -> None:
    done = run(*features[0], "--backbone", "test_convnext@64")
    assert done.exit_code == 0, done.output
    assert "weights: test_convnext@64 random" in done.stdout
    assert "test_vit" not in done.stdout


@pytest.fixture(scope="module")
def of_one_split(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of features of digits' test split."""
    words = ["--dataset", "digits", "--store", str(tmp_path_factory.mktemp("splits") / "s.zarr")]
    words += ["--address", "none", "--limit", "8"]
    made = ["--split", "test", "--backbone", "test_vit", "--weights", "random", "--image-size", "64"]
    done = CliRunner().invoke(app, ["extract", *words, *made, "--batch-size", "4", "--unit", "8"])
    assert done.exit_code == 0, done.output
    return words


class TestSplits:
    """Of a data set that has several, the store holds features of one."""

    def splits(self, words: list[str], view: str) -> set[str]:
        return {group.split for group in FeatureStore.open(words[3]).groups() if group.view == view}

    def test_the_only_one_is_taken(self, of_one_split: list[str]) -> None:
        done = run(*of_one_split, "--method", "eigencam")
        assert done.exit_code == 0, done.output
        assert self.splits(of_one_split, "cam.eigencam") == {"test"}

    def test_maps_of_another_make_no_features_of_it(self, of_one_split: list[str]) -> None:
        made = ["--split", "train", "--backbone", "test_vit", "--weights", "random", "--image-size", "64"]
        done = run(*of_one_split, *made, "--method", "eigencam", "--batch-size", "4", "--unit", "8")
        assert done.exit_code == 0, done.output
        assert self.splits(of_one_split, "cam.eigencam") == {"test", "train"}
        for name in ("cka", "silhouette"):
            done = CliRunner().invoke(app, ["analyze", name, "--store", of_one_split[3], "--address", "none"])
            assert "data sets of the store fit" not in done.output


def test_weights_whose_file_has_gone_are_asked_for(features: tuple[list[str], Path], tmp_path: Path) -> None:
    words, store = features
    file = store.parent / "mine.safetensors"
    moved = file.rename(tmp_path / "mine.safetensors")
    try:
        done = run(*words, "--method", "layercam")
        assert isinstance(done.exception, CvbenchError)
        assert done.exception.exit_code == 3
        assert done.exception.fix == "--weights test_vit=PATH/mine.safetensors"
        assert run(*words, "--method", "layercam", "--weights", f"test_vit={moved}").exit_code == 0
    finally:
        moved.rename(file)


def test_weights_that_a_study_trained_beside_its_store_are_found(features: tuple[list[str], Path]) -> None:
    words, store = features
    file, folder = store.parent / "mine.safetensors", store.parent / "weights"
    folder.mkdir()
    moved = file.rename(folder / file.name)
    try:
        done = run(*words, "--method", "layercam")
        assert done.exit_code == 0, done.output
        assert "test_vit@64 mine.safetensors" in done.stdout
    finally:
        moved.rename(file)
        folder.rmdir()


def test_a_file_of_the_same_name_with_other_weights_is_refused(
    features: tuple[list[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file, save_file

    words, store = features
    state = load_file(store.parent / "mine.safetensors")
    state["head.bias"] += 1
    save_file(state, tmp_path / "mine.safetensors")
    monkeypatch.chdir(tmp_path)  # it is looked for here first
    before = list_results(FeatureStore.open(store))
    done = run(*words, "--method", "hirescam")
    assert isinstance(done.exception, CvbenchError)
    assert done.exception.exit_code == 4
    assert "not those of its features" in str(done.exception)
    assert list_results(FeatureStore.open(store)) == before
    assert not any(group.view == "cam.hirescam" for group in FeatureStore.open(store).groups())


def test_maps_of_other_weights_than_the_features_say_so(features: tuple[list[str], Path]) -> None:
    named = ["--backbone", "test_vit", "--image-size", "64", "--weights", "random", "--method", "xgradcam"]
    done = run(*features[0], *named)
    assert done.exit_code == 0, done.output
    assert (
        "test_vit@64: the maps are of other weights (random) than the stored features (mine.safetensors)" in done.stdout
    )


@pytest.mark.parametrize(
    ("model", "weights", "said"),
    [("os:getcwd", "random", "which no store may have run"), ("test_vit", "../far/w.safetensors", "by a path")],
)
def test_a_store_chooses_no_code_and_no_path(
    features: tuple[list[str], Path], monkeypatch: pytest.MonkeyPatch, model: str, weights: str, said: str
) -> None:
    from cvbench.jobs.analyses.cam import backbones

    hostile = backbones.Extracted("net", model, None, weights, "0" * 64)
    monkeypatch.setattr(backbones, "extracted", lambda *given: {"net": hostile})
    result = run(*features[0])
    assert said in str(result.exception)


def test_without_backbones_in_the_store_they_must_be_named(tmp_path: Path) -> None:
    done = run("--dataset", "digits", "--store", str(tmp_path / "none.zarr"), "--address", "none")
    assert isinstance(done.exception, CvbenchError)
    assert done.exception.exit_code == 2
    assert "--backbone" in str(done.exception.fix)
    assert not (tmp_path / "none.zarr").exists()
