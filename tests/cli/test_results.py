"""`cvbench results` and `cvbench store rm`: what a store has found is listed, shown, compared and removed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cvbench.errors import CvbenchError
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results
from tests.commands import run
from tests.jobs.images import write_folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with features of two networks, two CKA results and one of the similarity."""
    folder = tmp_path_factory.mktemp("results")
    write_folder(folder / "pets", 16)
    store, alone = str(folder / "s.zarr"), ["--address", "none"]
    made = ["--dataset", f"folder:{folder / 'pets'}", "--weights", "random", "--image-size", "64", "--unit", "8"]
    nets = ["--backbone", "test_vit", "--backbone", "test_convnext", "--batch-size", "4", "--view", "maps"]
    for words in (
        ["extract", *made, *nets, "--view", "pooled", *alone],
        ["analyze", "cka", "--view", "pooled", "--cka-batch", "4", *alone],
        ["analyze", "cka", "--view", "pooled", "--cka-batch", "8", *alone],
        ["analyze", "similarity", "--backbone", "test_vit@64", "--resamples", "20", *alone],
    ):
        done = run(*words, "--store", store)
        assert done.exit_code == 0, done.output
    return Path(store)


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(whole, tmp_path / "s.zarr"))


def digests(store: str, analysis: str = "") -> list[str]:
    keys = list_results(FeatureStore.open(store))
    return [key.digest for key in keys if analysis in (key.analysis, "")]


def test_a_list_tells_results_apart(store: str) -> None:
    done = run("results", "ls", "--store", store)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    heads = [line for line in lines if not line.startswith(" ")][:-1]
    assert [line.split()[1] for line in heads] == ["similarity", "cka", "cka"], "by figure"
    assert all("folder-pets/all" in line and " UTC  " in line and "numbers" in line for line in heads)
    assert any("--cka-batch 4" in line for line in lines)
    assert any("--cka-batch 8" in line for line in lines)
    assert lines[-1] == "3 results"
    found = json.loads(run("results", "ls", "--store", store, "--format", "json").stdout)
    assert sorted(one["digest"] for one in found["results"]) == sorted(digests(store))
    assert all(one["made"].startswith("20") and one["main"]["value"] is not None for one in found["results"])


def test_what_a_store_holds_names_results_as_the_list_does(store: str) -> None:
    said = run("store", "info", "--store", store).stdout.partition("3 results\n")[2].splitlines()
    assert [line.split() for line in said[1:]] == [
        [one.short, one.analysis, "folder-pets/all"] for one in list_results(FeatureStore.open(store))
    ]
    assert run("results", "show", said[1].split()[0], "--store", store).exit_code == 0


def test_a_result_is_shown_as_its_command_showed_it(store: str) -> None:
    (digest,) = digests(store, "similarity")
    words = ["--backbone", "test_vit@64", "--resamples", "20", "--address", "none", "--store", store]
    there = run("analyze", "similarity", *words, "--format", "json")
    shown = run("results", "show", digest[:6], "--store", store, "--format", "json")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["rows"] == json.loads(there.stdout)["rows"]
    table = run("results", "show", digest[:6], "--store", store)
    assert "made by: cvbench analyze similarity" in table.stdout


def test_two_results_are_compared_number_by_number(store: str) -> None:
    one, two = digests(store, "cka")
    found = json.loads(run("results", "diff", one, two, "--store", store, "--format", "json").stdout)
    assert {found["settings"]["batch_size"][side] for side in ("first", "second")} == {4, 8}
    numbers = [number for number in found["numbers"] if number["difference"] is not None]
    assert numbers
    assert all(number["difference"] == number["second"] - number["first"] for number in numbers)
    done = run("results", "diff", one, two, "--store", store)
    assert done.exit_code == 0, done.output
    assert f"{sum(n['first'] != n['second'] for n in found['numbers'])} of {len(found['numbers'])} numbers differ" in (
        done.stdout
    )
    (other,) = digests(store, "similarity")
    wrong = run("results", "diff", one, other, "--store", store)
    assert isinstance(wrong.exception, CvbenchError)
    assert "no numbers in common" in str(wrong.exception)


def test_what_is_removed_is_said_and_is_no_more_on_the_page(store: str, tmp_path: Path) -> None:
    one, two = digests(store, "cka")
    before = run("results", "rm", one[:8], "--store", store, "--dry-run")
    assert "would be removed" in before.stdout
    assert len(digests(store)) == 3
    done = run("results", "rm", one[:8], "--store", store)
    assert done.exit_code == 0, done.output
    assert f"result  results/folder-pets/all/cka/{one}" in done.stdout
    assert digests(store, "cka") == [two]
    assert run("report", "--store", store, "--out", str(tmp_path / "page")).exit_code == 0
    page = (tmp_path / "page" / "report.html").read_text()
    assert two[:8] in page
    assert one[:8] not in page
    assert run("store", "verify", "--deep", "--store", store).exit_code == 0


def test_with_features_go_the_results_that_are_of_them(store: str) -> None:
    done = run("store", "rm", "folder-pets/all/test_convnext@64", "--store", store, "--format", "json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert {path.split("/")[2] for path in told["layers"]} == {"test_convnext@64"}
    assert sorted(path.split("/")[-1] for path in told["results"])  # both were of the pair
    assert digests(store, "cka") == []
    assert len(digests(store, "similarity")) == 1  # of the other network
    assert {group.backbone for group in FeatureStore.open(store).groups()} == {"test_vit@64"}


def test_a_view_takes_its_results_along(store: str) -> None:
    assert run("store", "rm", "folder-pets/all/test_vit@64/maps", "--store", store).exit_code == 0
    assert len(digests(store, "cka")) == 2
    assert digests(store, "similarity") == []


def test_a_data_set_goes_whole(store: str) -> None:
    assert run("store", "rm", "folder-pets", "--store", store).exit_code == 0
    left = FeatureStore.open(store)
    assert (left.groups(), left.splits(), digests(store)) == ([], [], [])
    assert run("results", "ls", "--store", store).stdout == "0 results\n"


def test_a_name_that_fits_nothing_or_several_is_refused(store: str) -> None:
    wrong = run("results", "rm", "zzzz", "--store", store)
    assert isinstance(wrong.exception, CvbenchError)
    assert wrong.exception.exit_code == 2
    assert "results ls" in str(wrong.exception.fix)
    assert len(digests(store)) == 3
    paths = ["results/folder-pets/all/cka/" + digest for digest in digests(store, "cka")]
    assert run("results", "rm", *paths, "--store", store).exit_code == 0
    assert digests(store, "cka") == []
