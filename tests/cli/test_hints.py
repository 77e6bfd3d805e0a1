"""Commands that are printed, pasted: behind "next:" or "fix:" each is parsed by the command line, and run if it can."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cvbench.cli.app import app
from cvbench.errors import CvbenchError
from cvbench.hints import command
from cvbench.jobs.catalogue.download import download
from tests.jobs.images import write_folder

SMALL = "--backbone test_vit --weights random --image-size 32 --batch-size 8 --unit 8 --address none"


FOREIGN = "the classifier has 1,000 outputs"  # all logits are there: what is wrong is the network that was taken


def run(words: str, **paths: object) -> Result:
    return CliRunner().invoke(app, [word.format(**paths) for word in shlex.split(words)])


def said(done: Result) -> str:
    """Everything that a user reads."""
    return done.output + (str(done.exception) if isinstance(done.exception, CvbenchError) else "")


def printed(done: Result, after: str) -> str:
    """The command behind "next:" or "fix:", as it is pasted."""
    found = re.findall(rf"{after}:\s+(cvbench .*)", said(done))
    assert found, said(done)
    return str(found[-1])


def paste(line: str, images: Path, *, here: bool = True) -> Result:
    """Run it as a shell would: comments fall away; what a store does not keep is typed for PATH."""
    words = [word.replace("PATH", str(images)) for word in shlex.split(line, comments=True)]
    assert words[0] == "cvbench"
    address = ["--address", "none"] if here and words[1] in ("extract", "analyze") and "silhouette" not in words else []
    return CliRunner().invoke(app, [*words[1:], *address])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name a shell would take apart, with two splits."""
    folder = tmp_path_factory.mktemp("hints") / "my birds"
    for split in ("train", "test"):
        write_folder(folder / split, 24)
    return folder


@pytest.fixture
def store(images: Path, tmp_path: Path) -> Path:
    return tmp_path / "a store.zarr"


def test_words_are_quoted_and_options_spelled() -> None:
    line = command("extract", dataset=["a b", "c"], data_root=None, weights=[], image_size=32, deep=True, partial=False)
    assert line == "cvbench extract --dataset 'a b' --dataset c --image-size 32 --deep"


def extract(images: Path, store: Path, rest: str) -> Result:
    done = run(f"extract --dataset 'folder:{{images}}' --store '{{store}}' {SMALL} {rest}", images=images, store=store)
    assert done.exit_code == 0, said(done)
    return done


@pytest.mark.parametrize("view", ["logits", "head", "pooled"])
def test_after_an_extraction_with_two_splits(images: Path, store: Path, view: str) -> None:
    extract(images, store, f"--split train --view {view}")
    line = printed(extract(images, store, f"--split test --view {view}"), "next")
    assert "--split test" in line
    done = paste(line, images)
    assert done.exit_code == 0 or FOREIGN in said(done), said(done)


def test_of_a_training_split_no_silhouette_is_offered(images: Path, store: Path) -> None:
    line = printed(extract(images, store, "--split train --view head"), "next")
    assert line == f"cvbench store info --store '{store}'"


def test_a_partly_extracted_folder(images: Path, store: Path) -> None:
    extract(images, store, "--split test --view logits --limit 8")
    asked = f"eval accuracy --store '{store}' --allow-chance"
    line = printed(run(asked), "fix")
    assert f"folder:{images}" in line, "the store keeps where it was"
    done = paste(line, images)
    assert done.exit_code == 0, said(done)
    assert FOREIGN in said(run(asked))


@pytest.mark.parametrize("view", ["maps", "cls"])
def test_a_view_that_is_not_there(images: Path, store: Path, view: str) -> None:
    extract(images, store, "--split test --view head --taps blocks.0")
    asked = f"analyze cka --store '{store}' --view {view} --address none"
    line = printed(run(asked), "fix")
    assert line.endswith("  # and --taps as before")
    done = paste(line, images)
    assert done.exit_code == 0, said(done)
    assert run(asked).exit_code == 0


def test_logits_that_are_not_there_take_no_taps(images: Path, store: Path) -> None:
    extract(images, store, "--split test --view maps --taps blocks.0 --limit 8")
    line = printed(run(f"eval accuracy --store '{store}'"), "fix")
    assert "--view logits" in line
    assert "taps" not in line
    done = paste(line, images)
    assert done.exit_code == 0, said(done)


def test_a_split_that_a_probe_lacks(images: Path, store: Path) -> None:
    extract(images, store, "--split train --view head")
    asked = f"transfer probe --store '{store}' --dataset folder-my-birds --seeds 1 --epochs 1 --device cpu"
    refused = run(asked)
    if "folder" not in said(refused):
        pytest.fail(said(refused))
    done = paste(printed(refused, "fix"), images)
    assert done.exit_code == 0, said(done)
    assert "holds no head features" not in said(run(asked))


def test_variants_that_are_not_there(images: Path, store: Path) -> None:
    extract(images, store, "--split test --view logits")
    line = printed(run(f"eval invariance --store '{store}' --transform scale --grid 2"), "fix")
    assert "--weights random" in line
    assert str(store) in line
    done = paste(line, images)
    assert done.exit_code == 0, said(done)


@pytest.mark.parametrize(
    ("asked", "dataset"),
    [("eval robustness", "imagenetv2-matched-frequency"), ("eval corruptions", "imagenet-c:fog")],
)
def test_shifted_sets_that_are_not_there(asked: str, dataset: str, images: Path, store: Path) -> None:
    extract(images, store, "--split test --view head")
    line = printed(run(f"{asked} --store '{store}'"), "fix")
    made = "--backbone test_vit --weights random --image-size 32 --view logits"
    assert line.partition("  # ")[0] == f"cvbench extract --dataset {dataset} --split test {made} --store '{store}'"
    done = paste(line, images)
    assert isinstance(done.exception, CvbenchError)  # the data set is not here; the options are right
    assert done.exception.exit_code == 3


def test_shifted_sets_are_those_of_what_the_store_has(images: Path, store: Path) -> None:
    made = run(f"extract --dataset scenes --split test --view logits --store '{store}' {SMALL} --limit 8")
    assert made.exit_code == 0, said(made)
    refused = run(f"eval robustness --store '{store}'")
    done = paste(f"{printed(refused, 'fix').partition('  #')[0]} --limit 8", images)
    assert done.exit_code == 0, said(done)
    assert "no shifted data set" not in said(run(f"eval robustness --store '{store}'"))


@pytest.mark.parametrize("transform", ["scale", "resolution"])
def test_invariance_without_logits(transform: str, images: Path, store: Path) -> None:
    extract(images, store, "--split test --view head")
    for chosen in ("", "--dataset folder-my-birds"):
        line = printed(run(f"eval invariance --store '{store}' --transform {transform} {chosen}"), "fix")
        assert "--weights random" in line
        assert ("my birds+scale" in line) == (transform == "scale")
    done = paste(line, images)
    assert done.exit_code == 0, said(done)
    refused = said(run(f"eval invariance --store '{store}' --transform {transform}"))
    assert "holds no logits" not in refused


def test_a_download_keeps_its_data_root(tmp_path: Path) -> None:
    with pytest.raises(CvbenchError) as caught:
        download("cub200", tmp_path / "the data", accepted=False)
    words = shlex.split(str(caught.value.fix))
    assert words[words.index("--data-root") + 1] == str(tmp_path / "the data")
    assert "--accept-licence" in words
    parsed(words)


BESIDE = {
    "none.zarr": "none.zarr",
    "my birds": "my birds-2.zarr",
    "a file": "a file.zarr",
    "a file/in it": "a file.zarr",
    "my store/digits": "my store",
    "my store/ledger/digits": "my store",
    "my store/none": "my store",
}


@pytest.mark.parametrize("place", BESIDE)
def test_a_place_that_is_no_store_has_one_beside_it(place: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "my birds", 4)
    (tmp_path / "my birds.zarr").mkdir()
    (tmp_path / "a file").write_text("")
    made = f"extract --dataset digits {SMALL} --limit 8 --store"
    assert run(f"{made} '{tmp_path}/my store'").exit_code == 0
    asked = ["store info --store"] + ([] if place in ("none.zarr", "my store/none") else [made])
    for one in asked:
        refused = run(f"{one} '{tmp_path}/{place}'")
        assert isinstance(refused.exception, CvbenchError)
        words = shlex.split(str(refused.exception.fix).replace(",", " "))
        assert words[words.index("--store") + 1] == f"{tmp_path}/{BESIDE[place]}"
    done = run(f"{made} '{tmp_path}/{BESIDE[place]}'")
    assert done.exit_code == 0, said(done)


def parsed(words: list[str]) -> None:
    """The command line takes every word; nothing is run."""
    import typer

    group: Any = typer.main.get_command(app)
    context = group.make_context("cvbench", words[1:2], resilient_parsing=True)
    command_, rest = group.get_command(context, words[1]), words[2:]
    while hasattr(command_, "list_commands"):
        command_, rest = command_.get_command(context, rest[0]), rest[1:]
    command_.make_context(words[1], list(rest))


def test_the_hint_of_fine_tuning_tests_unseen_images(tmp_path: Path) -> None:
    options = "--dataset digits --backbone test_vit --weights random --image-size 32 --epochs 1 --address none"
    tuned = run(f"transfer finetune {options} --out '{tmp_path}/my weights'")
    assert tuned.exit_code == 0, said(tuned)
    line = printed(tuned, "next")
    assert "--split test" in line
    assert "--view logits" in line
    extracted = paste(line, tmp_path)
    assert extracted.exit_code == 0, said(extracted)
    told = paste(f"{printed(extracted, 'next')} --allow-chance --format json", tmp_path)
    assert told.exit_code == 0, said(told)
    assert "trained on" not in said(told)


def test_weights_are_told_apart_from_the_images_that_they_saw(tmp_path: Path) -> None:
    options = "--dataset digits --backbone test_vit --image-size 32 --address none"
    first = f"transfer finetune {options} --weights random --epochs 1 --out '{tmp_path}/one'"
    assert run(first).exit_code == 0
    weights = tmp_path / "one" / "test_vit@32-digits.safetensors"
    again = f"transfer finetune {options} --weights '{weights}' --epochs 1 --train-split val --out '{tmp_path}/two'"
    assert run(again).exit_code == 0
    for folder, split, count in (
        ("one", "all", "1,400 of the 1,797 samples (digits/train, digits/val)"),
        ("one", "val", "all 200 samples (digits/train, digits/val)"),
        ("two", "train", "all 1,200 samples (digits/train, digits/val)"),  # by the run before
    ):
        store, file = tmp_path / f"{folder}-{split}.zarr", tmp_path / folder / weights.name
        made = run(f"extract {options} --split {split} --view logits --weights '{file}' --store '{store}'")
        assert made.exit_code == 0, said(made)
        told = run(f"eval accuracy --store '{store}' --allow-chance --format json")
        assert told.exit_code == 0, said(told)
        wanted = f"test_vit@32 was trained on {count}"
        assert wanted in told.stdout  # in the notes of the result
        assert f"warning: {wanted}" in told.stderr
