"""`cvbench analyze similarity` and `cvbench analyze maps` as a user types them."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from typer.testing import Result

from cvbench.errors import CvbenchError
from cvbench.jobs.analyses.similarity import QUANTITIES
from tests.commands import run
from tests.jobs.images import write_folder

INTERVAL = re.compile(r"-?\d+\.\d+ \[-?\d+\.\d+, -?\d+\.\d+\]")


def analyze(name: str, store: Path, *arguments: str) -> Result:
    return run("analyze", name, "--store", str(store), "--address", "none", "--resamples", "50", *arguments)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Maps of 16 images through both small backbones."""
    folder = tmp_path_factory.mktemp("cli-similarity")
    pets = write_folder(folder / "pets", 16)
    common = ("extract", "--dataset", f"folder:{pets}", "--store", str(folder / "store.zarr"), "--address", "none")
    sizes = ("--weights", "random", "--image-size", "64", "--batch-size", "8", "--unit", "8", "--view", "maps")
    result = run(*common, *sizes, "--backbone", "test_vit", "--backbone", "test_convnext")
    assert result.exit_code == 0, result.output
    return folder / "store.zarr"


class TestSimilarity:
    def test_json(self, store: Path) -> None:
        result = analyze("similarity", store, "--format", "json", "--image", "class-0/004.png")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert found["schema_version"] == 2
        whole, images = found["results"]
        attrs = whole["attributes"]
        assert (whole["dataset"], attrs["samples"], attrs["common_grid"]) == ("folder-pets", 16, [2, 2])
        vit = [layer for layer in attrs["layers"] if layer["backbone"].startswith("test_vit")]
        assert (vit[0]["grid"], vit[0]["stride"]) == ([4, 4], 16)
        differences = [row for row in found["rows"] if row["kind"] == "difference"]
        assert len(differences) == 8
        assert {row["run"] for row in differences} == {whole["run"]}
        assert [one["run"].split("/")[3] for one in (whole, images)] == ["similarity", "similarity-images"]
        named = [row for row in found["rows"] if row["run"] == images["run"]]
        assert {row["factor"] for row in named} == {"class-0/004.png"}

    def test_csv_table_and_figures(self, store: Path, tmp_path: Path) -> None:
        result = analyze("similarity", store, "--format", "csv", "--taps", "blocks.1")
        rows = list(csv.DictReader(io.StringIO(result.stdout)))
        assert {row["metric"] for row in rows} == {
            f"{name}, {version}" for name in QUANTITIES.values() for version in ("raw", "centred")
        }
        assert {row["layer"] for row in rows} == {"blocks.1"}
        chosen = ("--taps", "blocks.5", "--taps", "stages.3.*", "--image", "class-0/004.png")
        result = analyze("similarity", store, "--out", str(tmp_path), *chosen)
        assert result.exit_code == 0, result.output
        assert "16 images" in result.stdout
        heading, _, first = result.stdout.splitlines()[:3]
        assert heading == "difference of mean patch similarity, raw, folder-pets/all"
        assert re.fullmatch(
            r"test_convnext@64/\S+ less test_vit@64/blocks\.5  common grid 2x2  -?0\.\d{4}  \[-?0\.\d{4}, -?0\.\d{4}\]"
            r"  \S+  (not resolved|too few images to resolve)  16",
            first,
        )
        assert "grid 2x2" in result.stdout
        contrast = result.stdout.split("neighbour contrast, centred")[1].split("\n\n")[0]
        assert "stages.3" not in contrast  # 2x2 is too small
        assert "blocks.5" in contrast
        assert "not measurable below a 4x4 grid (here 2x2), so not printed: length" in result.stdout
        assert "with fewer than 30 the intervals of very skewed numbers are too narrow" in result.stdout
        names = sorted(path.name for path in tmp_path.iterdir())
        both = ("similarity-folder-pets-all", "similarity-images-folder-pets-all")
        assert names == sorted(f"{name}.{suffix}" for name in both for suffix in ("csv", "png", "svg"))


class TestMaps:
    def test_json(self, store: Path) -> None:
        result = analyze("maps", store, "--format", "json", "--image", "class-0/004.png", "--measure", "abs")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        (about,) = found["results"]
        assert about["attributes"]["measure"] == "abs"
        assert about["coordinates"]["image"] == ["class-0/004.png"]
        assert {row["metric"] for row in found["rows"]} == {"outlier-token rate"}
        assert any("no boxes" in note for note in about["notes"])

    def test_csv_table_and_figure(self, store: Path, tmp_path: Path) -> None:
        rows = list(csv.DictReader(io.StringIO(analyze("maps", store, "--format", "csv").stdout)))
        assert {row["kind"] for row in rows} == {"value", "difference"}
        assert any(row["factor"].startswith("common grid") for row in rows)
        source = ("--source", f"folder:{store.parent / 'pets'}", "--taps", "blocks.5")
        result = analyze("maps", store, "--out", str(tmp_path), *source)
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines()[0] == "outlier-token rate, folder-pets/all"
        assert "drawn: class-" in result.stdout
        assert "without the images" not in result.stdout
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == [f"maps-folder-pets-all.{suffix}" for suffix in ("csv", "png", "svg")]

    def test_what_no_grid_is_large_enough_for_is_drawn_without_numbers(self, store: Path, tmp_path: Path) -> None:
        result = analyze("maps", store, "--taps", "stages.3.*", "--out", str(tmp_path))
        assert result.exit_code == 0, result.output
        assert "not measurable below a 4x4 grid" in result.output
        assert (tmp_path / "maps-folder-pets-all.svg").is_file()


@pytest.mark.parametrize("name", ["similarity", "maps"])
@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        (("--format", "xml"), 2, "json"),
        (("--backbone", "resnet18"), 2, "the store holds test_"),
        (("--dataset", "folder-pet"), 2, "did you mean: folder-pets"),
        (("--taps", "stem"), 2, "unknown tap in this store: 'stem'"),
        (("--taps", "blocks.*", "--taps", "stem"), 2, "unknown tap in this store: 'stem'"),
        (("--taps", "blocks.*", "--backbone", "test_vit", "--backbone", "test_convnext"), 2, "no tap of test_convnext"),
        (("--image", "class-0/04.png"), 2, "did you mean: class-0/0"),
    ],
)
def test_bad_input(store: Path, name: str, changed: tuple[str, ...], code: int, said: str) -> None:
    result = analyze(name, store, *changed)
    assert isinstance(result.exception, CvbenchError)
    assert result.exception.exit_code == code
    assert said in str(result.exception)
