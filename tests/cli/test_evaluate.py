"""`cvbench eval ...` as a user types it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from cvbench.errors import UsageError
from cvbench.jobs.results.row import COLUMNS
from tests.commands import check_refused, run
from tests.jobs.evaluation.birds import BIRDS, LABELS, LOGITS
from tests.jobs.evaluation.imagenet_logits import imagenet_store
from tests.jobs.logits_store import noisy_logits, write_logits


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("cli")
    write_logits(folder / "s.zarr", LOGITS, LABELS, BIRDS, bad=(3,))
    guess = {"good": noisy_logits(LABELS, 7, 0.0)}
    return write_logits(folder / "s.zarr", guess, LABELS, BIRDS, dataset="noise", units=3)


BOTH = ("--dataset", "birds")


def test_accuracy_in_three_forms(store: str, tmp_path: Path) -> None:
    table = run("eval", "accuracy", "--store", store, *BOTH, "--out", str(tmp_path / "fig"))
    assert table.exit_code == 0, table.output
    lines = table.stdout.splitlines()
    assert lines[0] == "difference of top1, birds/all"
    assert lines[1].split() == ["of", "value", "interval", "p", "verdict", "n", "left", "out"]
    assert lines[2].split()[:3] == ["fair", "less", "good"]
    assert "birds, top1: good is above fair (resolved): +" in table.stdout
    assert "Wilson score, 95 %" in table.stdout
    names = {path.name for path in (tmp_path / "fig").iterdir()}
    assert names == {f"accuracy-birds-all.{suffix}" for suffix in ("svg", "png", "csv")}
    report = json.loads(run("eval", "accuracy", "--store", store, *BOTH, "--format", "json").stdout)
    assert list(report["rows"][0]) == list(COLUMNS)
    (result,) = report["results"]
    assert result["verdicts"][0].startswith("birds, top1: good is above fair")
    assert result["attributes"]["protocol"]["good"] == "all 7 outputs; output i is class i"
    text = run("eval", "accuracy", "--store", store, *BOTH, "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["metric"] for row in rows] == [row["metric"] for row in report["rows"]]
    assert rows[0]["run"] == result["run"]
    assert (rows[0]["n"], rows[0]["n_failed"]) == ("69", "1")


def test_another_headline(store: str) -> None:
    done = run("eval", "accuracy", "--store", store, *BOTH, "--headline", "mean-per-class")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("difference of mean per class, birds/all\n")
    assert "birds, mean per class: good is above fair" in done.stdout


def test_calibration_and_robustness(store: str, tmp_path: Path) -> None:
    which = (*BOTH, "--resamples", "100", "--backbone", "good", "--backbone", "fair")  # another test imports one
    found = run("eval", "calibration", "--store", store, *which, "--bins", "5", "--format", "json")
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    assert report["results"][0]["attributes"]["binning"].startswith("5 bins of equal width")
    assert sum(row["metric"] == "bin accuracy" for row in report["rows"]) == 10
    alone = [row for row in report["rows"] if row["backbone"] == "good" and not row["backbone_b"]]
    whole = {row["metric"]: row for row in alone if not row["factor"]}
    assert (whole["ECE"]["low"], whole["ECE"]["high"]) == (None, None)
    debiased = whole["ECE, debiased"]
    assert 0 <= debiased["low"] <= debiased["value"] <= debiased["high"]
    assert "has no interval" in report["results"][0]["attributes"]["intervals"]
    url, _ = imagenet_store(tmp_path)
    table = run("eval", "robustness", "--store", url, "--partial")
    assert table.exit_code == 0, table.output
    assert "top1 less clean" in table.stdout
    assert "toy" not in table.stdout
    assert "toy" in run("eval", "robustness", "--store", url, "--partial", "--long").stdout


def test_the_command_in_the_result_makes_it_again(store: str) -> None:
    from cvbench.jobs.evaluation.accuracy import ENTRY
    from cvbench.jobs.results.keep import stored_result
    from cvbench.storage.features import FeatureStore
    from cvbench.storage.results.outcomes import list_results

    done = run("eval", "accuracy", "--store", store, *BOTH, "--per-class", "--format", "json")
    path = json.loads(done.stdout)["results"][0]["run"]
    opened = FeatureStore.open(store)
    (key,) = [key for key in list_results(opened) if key.path == path]
    words = ENTRY.command(stored_result(opened, key))
    again = run(*words, "--store", store, "--format", "json")
    assert [one["run"] for one in json.loads(again.stdout)["results"]] == [path]


def test_predictions_are_imported_and_scored(store: str, tmp_path: Path) -> None:
    lines = [f"image-{i:05d}.png,{name}" for i, name in enumerate(np.array(BIRDS)[LABELS])]
    (tmp_path / "p.csv").write_text("file_name,predicted_class\n" + "\n".join(lines) + "\n")
    words = ("--dataset", "birds", "--store", store, "--backbone", "oracle")
    done = run("eval", "import", str(tmp_path / "p.csv"), *words)
    assert done.exit_code == 0, done.output
    assert "birds/all/oracle: 70 of 70 samples, class" in done.stdout
    assert "only the winner is known" in done.stdout
    report = json.loads(run("eval", "accuracy", *words, "--format", "json").stdout)
    top = {row["metric"]: row["value"] for row in report["rows"] if row["kind"] == "value"}
    assert (top["top1"], top["top5"]) == (1.0, None)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("accuracy", "--dataset", "noise"), 5, "48 of the 70 samples"),
        (("accuracy", "--dataset", "noise", "--partial"), 2, "near chance"),
        (("accuracy", "--dataset", "birds", "--format", "xml"), 2, "json"),
        (("accuracy",), 2, "--dataset"),
        (("accuracy", "--dataset", "birds", "--headline", "top5"), 2, "--headline"),
        (("calibration", "--dataset", "birds", "--bins", "0"), 2, "bins"),
        (("robustness",), 2, "no shifted data set"),
        (("imagenet-x", "--annotations", "nowhere"), 3, "annotations of ImageNet-X"),
        (("imagenet-x", "--annotations", "nowhere", "--factors", "all"), 2, "top, multi"),
        (("pug", "--labels", "nowhere"), 3, "annotations of PUG"),
        (("shape-bias",), 2, "cue-conflict"),
        (("import", "nowhere.csv", "--dataset", "birds", "--backbone", "x"), 3, "cannot be read"),
        (("import", "x.csv", "--dataset", "birds", "--backbone", "x", "--values", "odds"), 2, "--values"),
    ],
)
def test_bad_input_has_a_message_and_an_exit_code(store: str, words: tuple[str, ...], code: int, said: str) -> None:
    result = run("eval", *words, "--store", store)
    check_refused(result, code, said)
    assert result.stdout == ""


def test_chance_can_be_reported(store: str) -> None:
    words = ("--dataset", "noise", "--partial", "--allow-chance")
    result = run("eval", "accuracy", "--store", store, *words)
    assert result.exit_code == 0, result.output
    assert "note: partial: 48 of the 70 samples" in result.stdout
    assert "is near chance" in result.stdout


@pytest.mark.parametrize("option", ["--resamples", "--seed"])
@pytest.mark.parametrize("name", ["accuracy", "invariance", "pug", "robustness", "shape-bias"])
def test_nothing_is_drawn_so_nothing_is_asked(store: str, name: str, option: str) -> None:
    words = ("--labels", "x") if name == "pug" else ()
    done = run("eval", name, "--store", store, *words, option, "5")
    assert isinstance(done.exception, UsageError)
    for part in (f"there is no {option}", f"eval {name}", "none of its intervals is drawn", "leave it out"):
        assert part in str(done.exception)


def test_a_drawn_interval_keeps_its_options(store: str) -> None:
    which = ("--backbone", "good", "--backbone", "fair", "--format", "json")
    found = [run("eval", "calibration", "--store", store, *BOTH, *which, "--seed", seed) for seed in "01"]
    first, second = (json.loads(done.stdout)["rows"] for done in found)
    assert [row["metric"] for row in first] == [row["metric"] for row in second]
    assert first != second
    assert "requires an argument" in run("eval", "calibration", "--store", store, "--seed").output
