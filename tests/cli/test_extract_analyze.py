"""`cvbench extract`, `plan` and `analyze cka` as a user types them: output, exit codes, messages."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.errors import AccessError, CvbenchError
from tests.commands import check_refused, run
from tests.forks import Start
from tests.jobs.images import write_folder

SIZES = ("--image-size", "64", "--batch-size", "8", "--unit", "16")
SMALL = ("--backbone", "test_vit", "--backbone", "test_convnext", "--weights", "random", *SIZES)


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("cli") / "pets", 40)


@pytest.fixture(scope="module")
def store(pets: Path) -> Path:
    path = pets.parent / "store.zarr"
    result = run("extract", "--dataset", f"folder:{pets}", "--store", str(path), "--address", "none", *SMALL)
    assert result.exit_code == 0, result.output
    assert "40 samples, 21 layers, 40 samples computed" in result.stdout
    assert "cvbench analyze cka" in result.stdout
    return path


def test_again_there_is_nothing_to_do(pets: Path, store: Path) -> None:
    result = run(
        *("extract", "--dataset", f"folder:{pets}", "--store", str(store), "--address", "none", "--format", "json"),
        *SMALL,
    )
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["computed"] == 0
    assert report["samples"] == 40
    assert report["schema_version"] == 1


def test_a_finished_store_opens_with_plain_zarr_and_xarray(store: Path) -> None:
    import xarray

    root = zarr.open_group(store, mode="r")
    array = root["folder-pets/all/test_vit/pooled/blocks.3".replace("test_vit", _vit(store))]
    assert isinstance(array, zarr.Array)
    assert array.shape == (40, 64)
    assert array.metadata.dimension_names[0] == "sample"  # type: ignore[union-attr, index]
    assert np.isfinite(np.asarray(array[:])).all()
    ids = root["folder-pets/all/samples/id"]
    assert isinstance(ids, zarr.Array)
    assert len(set(np.asarray(ids[:]).tolist())) == 40
    data = xarray.open_zarr(store, group=f"folder-pets/all/{_vit(store)}/pooled", consolidated=False)
    assert data["blocks.3"].dims[0] == "sample"


def _vit(store: Path) -> str:
    return next(path.name for path in (store / "folder-pets" / "all").iterdir() if path.name.startswith("test_vit"))


def test_cka_prints_the_promised_json(store: Path) -> None:
    result = run("analyze", "cka", "--store", str(store), "--address", "none", "--format", "json", "--cka-batch", "8")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["schema_version"] == 2
    (about,) = found["results"]
    assert (about["analysis"], about["dataset"], about["view"]) == ("cka", "folder-pets", "pooled")
    attrs = about["attributes"]
    assert (attrs["estimator"], attrs["batch_size"], attrs["batches"], attrs["samples"]) == ("minibatch", 8, 5, 40)
    layers = [(layer["backbone"], layer["tap"]) for layer in attrs["layers"]]
    assert len(layers) == 15
    of_layers = [row for row in found["rows"] if row["layer"]]
    pairs = {(row["backbone"], row["layer"], row["backbone_b"], row["layer_b"]): row for row in of_layers}
    assert len(pairs) == len(of_layers) == 15 * 16 // 2
    for one, other in itertools.combinations_with_replacement(layers, 2):
        row = pairs[(*one, *other)]
        assert (row["kind"], row["n"], row["run"]) == ("pair", 5, about["run"])
        assert row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9
        assert one != other or row["value"] == pytest.approx(1)
    gaps = [row for row in found["rows"] if row["kind"] == "difference"]
    assert [gap["factor"] for gap in gaps] == ["mean of different layers", "first quarter against last quarter"]
    for gap in gaps:
        assert gap["low"] <= gap["value"] <= gap["high"]
        assert gap["verdict"] in ("resolved", "not resolved")


def test_cka_as_csv_and_as_a_figure(store: Path, tmp_path: Path) -> None:
    result = run(
        *("analyze", "cka", "--store", str(store), "--address", "none", "--cka-batch", "8", "--format", "csv"),
        *("--backbone", "test_vit", "--out", str(tmp_path)),
    )
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len([row for row in rows if row["kind"] == "pair"]) == 6 * 7 // 2
    assert [row["factor"] for row in rows if row["kind"] == "value"] == [
        "mean of different layers",
        "first quarter against last quarter",
    ]
    assert {path.suffix for path in tmp_path.iterdir()} == {".svg", ".png", ".csv"}


def test_plan_says_bytes_and_the_bottleneck_and_makes_nothing(pets: Path, tmp_path: Path) -> None:
    target = tmp_path / "none.zarr"
    arguments = ("plan", "--dataset", f"folder:{pets}", "--store", str(target), "--view", "maps", "--maps", "16")
    result = run(*arguments, *SMALL, "--format", "json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    maps = [layer for layer in report["layers"] if layer["view"] == "maps" and layer["tap"] == "blocks.0"]
    assert maps[0]["shape"] == [4, 4, 64]  # 64 pixels in patches of 16
    assert maps[0]["bytes"] == 16 * 4 * 4 * 64 * 2
    assert report["bytes_total"] == sum(layer["bytes"] for layer in report["layers"])
    assert report["bottleneck"] in report["hours"]
    assert report["units_done"] == 0
    assert "to write" in run(*arguments, *SMALL).stdout
    assert not target.exists()


def test_plan_of_the_reference_pair_needs_no_weights(pets: Path, tmp_path: Path) -> None:
    """The Base pair's block outputs: 12.96 MB per image in float16."""
    result = run(
        *("extract", "--plan", "--dataset", f"folder:{pets}", "--store", str(tmp_path / "none.zarr")),
        *("--view", "maps", "--maps", "all", "--format", "json"),
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    maps = sum(layer["bytes"] for layer in report["layers"] if layer["view"] == "maps")
    convnext = 3 * 56 * 56 * 128 + 3 * 28 * 28 * 256 + 27 * 14 * 14 * 512 + 3 * 7 * 7 * 1024
    assert maps == 40 * 2 * (convnext + 12 * 196 * 768)
    assert len(report["layers"]) == 36 + 12 + 12  # the class tokens apart


def test_plan_sees_what_is_done(pets: Path, store: Path) -> None:
    result = run("plan", "--dataset", f"folder:{pets}", "--store", str(store), *SMALL, "--format", "json")
    report = json.loads(result.stdout)
    assert (report["units_done"], report["units_total"], report["bytes_total"]) == (3, 3, 0)


def test_taps_list(pets: Path) -> None:
    result = run("extract", "--dataset", f"folder:{pets}", "--taps", "list", *SMALL)
    assert result.exit_code == 0, result.output
    assert any(line.split("\t")[1:] == ["blocks.0.attn", "4x4x64"] for line in result.stdout.splitlines())


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        (("--dataset", "cub20"), 2, "did you mean: cub200"),
        (("--backbone", "test_vitt"), 2, "did you mean: test_vit"),
        (("--taps", "block"), 2, "blocks"),
        (("--view", "poled"), 2, "did you mean: pooled"),
        (("--dataset", "cub200", "--data-root", "/nonexistent"), 3, "CUB_200_2011"),
        (("--max-bytes", "20kB"), 6, "a smaller unit"),
        (("--precision", "fp8"), 2, "fp16"),
        (("--dtype", "float64"), 2, "float16 or float32"),
        (("--codec", "bitround20"), 2, "from 1 to 10"),
        (("--decoder", "jpeg"), 2, "fast or pil"),
        (("--device", "gpu"), 2, "cuda"),
        (("--limit", "0"), 2, "positive"),
        (("--format", "xml"), 2, "json"),
        (("--keep-bits", "99"), 2, "keep-bits"),
    ],
)
def test_bad_input_has_a_message_and_an_exit_code(
    pets: Path, tmp_path: Path, changed: tuple[str, ...], code: int, said: str
) -> None:
    """In this process, for speed; the mapping of errors to exit codes is the next test's."""
    given = ["--store", str(tmp_path / "s.zarr"), "--address", "none", "--weights", "random"]
    given += [] if "--dataset" in changed else ["--dataset", f"folder:{pets}"]
    given += [] if "--backbone" in changed else ["--backbone", "test_vit"]
    result = run("extract", *given, *changed)
    check_refused(result, code, said)
    assert not (tmp_path / "s.zarr").exists() or code == 6


def test_several_data_sets_are_looked_at_before_the_first_is_begun(pets: Path, tmp_path: Path) -> None:
    target = ("--store", str(tmp_path / "s.zarr"), "--address", "none", *SMALL)
    first = ("extract", "--dataset", f"folder:{pets}")
    result = run(*first, "--dataset", "digitz", *target)
    assert isinstance(result.exception, CvbenchError)
    assert "did you mean: digits" in str(result.exception)
    other = write_folder(tmp_path / "other", 12)
    size = json.loads(run("plan", "--dataset", f"folder:{pets}", *target, "--format", "json").stdout)["bytes_total"]
    # The first alone would fit, and so would the second.
    result = run(*first, "--dataset", f"folder:{other}", *target, "--max-bytes", str(size))
    assert isinstance(result.exception, CvbenchError)
    assert "for 2 data sets together" in str(result.exception)
    assert not (tmp_path / "s.zarr").exists()


def test_several_data_sets_make_one_json_document(pets: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", 12)
    given = ["--dataset", f"folder:{pets}", "--dataset", f"folder:{other}", "--limit", "8", *SMALL]
    given += ["--store", str(tmp_path / "s.zarr"), "--format", "json"]
    for command in (("plan",), ("extract", "--address", "none")):
        result = run(*command, *given)
        assert result.exit_code == 0, result.output
        assert [part["dataset"] for part in json.loads(result.stdout)] == ["folder-pets", "folder-other"]


def test_a_line_typed_for_extract_fits_plan(pets: Path, tmp_path: Path) -> None:
    line = ["--dataset", f"folder:{pets}", "--store", str(tmp_path / "s.zarr"), *SMALL, "--precision", "bf16"]
    line += ["--codec", "zstd", "--seed", "3", "--address", "none", "--device", "cpu", "--rate", "10"]
    result = run("plan", *line)
    assert result.exit_code == 0, result.output
    assert re.search(r"to write: \S+ kB \(pooled \S+ kB, cls \S+ kB\); free", result.stdout)
    assert re.search(r"expected: (\d+ s|below 1 s), as the stages overlap", result.stdout)
    assert run("extract", "--plan", *line).stdout == result.stdout


def test_analyze_takes_what_extract_took_and_says_what_it_left_out(pets: Path, store: Path) -> None:
    base = ("analyze", "cka", "--store", str(store), "--address", "none", "--dataset", f"folder:{pets}")
    result = run(*base, "--cka-batch", "12")
    assert result.exit_code == 0, result.output
    assert "8 readable samples fill no batch of 12" in result.stdout
    for given, code, said in (
        (("--view", "mapz"), 2, "did you mean: maps?"),
        (("--view", "maps"), 3, f"--weights random --image-size 64 --view maps --store {store}"),
        (("--taps", "nothing.like.it"), 2, "known are"),
        (("--cka-batch", "3"), 2, "at least 4"),
    ):
        failed = run(*base, *given).exception
        assert isinstance(failed, CvbenchError)
        assert failed.exit_code == code
        assert said in str(failed)


def test_errors_reach_the_shell_without_a_traceback(start: Start, pets: Path, tmp_path: Path) -> None:
    """In a process: exit code and stderr are the root's work, which `CliRunner` goes around."""

    def said(*words: str) -> tuple[int | None, str, str]:
        process = start(words)
        out, err = process.communicate(300)
        return process.returncode, out, err

    code, out, err = said("extract", "--dataset", "cub20", "--store", str(tmp_path / "s.zarr"))
    assert (code, out) == (2, "")
    assert err.startswith("cvbench: unknown data")
    assert "Traceback" not in err
    code, _, err = said("analyze", "cka", "--store", str(tmp_path / "s.zarr"))
    assert code == 3
    assert "fix: cvbench extract" in err
    assert said("extract")[0] == 2
    # Where no Ray runs already, which would be used whatever the address.
    given = ("extract", "--dataset", f"folder:{pets}", "--store", str(tmp_path / "s.zarr"), *SMALL)
    code, _, err = said(*given, "--address", "127.0.0.1:1")
    assert code == 8
    assert "--address local" in err


def test_an_empty_folder_and_a_foreign_store(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run("extract", "--dataset", f"folder:{tmp_path / 'empty'}", "--store", str(tmp_path / "s"), *SMALL)
    assert isinstance(result.exception, CvbenchError)
    assert result.exception.exit_code == 3
    zarr.open_group(tmp_path / "foreign.zarr", mode="w")
    result = run("analyze", "cka", "--store", str(tmp_path / "foreign.zarr"))
    assert isinstance(result.exception, CvbenchError)
    assert result.exception.exit_code == 4


def test_a_damaged_chunk_is_named_by_the_analysis(store: Path, tmp_path: Path) -> None:
    import shutil

    damaged = shutil.copytree(store, tmp_path / "damaged.zarr")
    victim = next((damaged / "folder-pets" / "all" / _vit(store) / "pooled" / "blocks.2").glob("c*"))
    data = bytearray(victim.read_bytes())
    data[100] ^= 1
    victim.write_bytes(data)
    # A batch size of its own: what was measured before is not read again.
    result = run("analyze", "cka", "--store", str(damaged), "--address", "none", "--cka-batch", "5")
    assert isinstance(result.exception, CvbenchError)
    assert result.exception.exit_code == 4
    assert "pooled/blocks.2" in str(result.exception)
    result = run("store", "verify", "--store", str(damaged), "--deep")
    assert result.exit_code == 4
    assert "pooled/blocks.2" in result.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="sets a limit of another process")
def test_a_full_disk_is_said_and_resumed(start: Start, pets: Path, tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for a full disk: the write fails in the kernel, in the middle of a file."""
    target = tmp_path / "s.zarr"
    arguments = ["extract", "--dataset", f"folder:{pets}", "--store", str(target), "--address", "none", *SMALL]
    arguments += ["--dtype", "float32", "--view", "maps"]
    process = start(arguments)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (9000, 9000))  # Python ignores the signal that goes with it
    _, said = process.communicate(timeout=300)
    assert process.returncode == 6, said
    assert "Traceback" not in said
    again = run(*arguments)
    assert again.exit_code == 0, again.output
    assert run("store", "verify", "--store", str(target), "--deep").exit_code == 0


def test_plan_of_images_that_are_not_here_reckons_with_the_published_number(tmp_path: Path) -> None:
    words = ["plan", "--dataset", "cub200", "--backbone", "test_vit", "--store", str(tmp_path / "s.zarr")]
    done = CliRunner().invoke(app, [*words, "--data-root", str(tmp_path), "--gpus", "2"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "cub200/test: 5794 samples as published: the images are not here"
    assert lines[3].startswith("expected: ")  # what decides comes before the layers
    assert any("of a V100 in fp16" in line for line in lines)
    named = CliRunner().invoke(app, [*words, "--data-root", str(tmp_path), "--gpus", "2", "--card", "h100"])
    assert "of a H100 in bf16" in " ".join(named.stdout.split())
    alike = [line for line in lines if line.startswith("test_vit ")]
    assert len(alike) == 2  # six layers alike are one row, of each view
    assert all("  blocks.0 to blocks.5 (6)  " in line for line in alike)
    assert "0.0 min" not in done.stdout
    long = CliRunner().invoke(app, [*words, "--data-root", str(tmp_path), "--long"])
    assert sum(line.startswith("test_vit ") for line in long.stdout.splitlines()) == 12
    other = CliRunner().invoke(app, ["extract", *words[1:], "--data-root", str(tmp_path), "--address", "none"])
    assert isinstance(other.exception, CvbenchError)
    assert other.exception.exit_code == 3
    assert not (tmp_path / "s.zarr").exists()


def test_a_plan_needs_no_credentials_of_the_store(monkeypatch: pytest.MonkeyPatch, pets: Path, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    line = ("--dataset", f"folder:{pets}", "--store", "s3://bucket/x", *SMALL, "--address", "none")
    planned = run("plan", *line)
    assert planned.exit_code == 0, planned.exception
    assert "planned as for a new store" in " ".join(planned.stdout.split())
    (note,) = json.loads(run("plan", *line, "--format", "json").stdout)["notes"]
    assert "set AWS_ACCESS_KEY_ID" in note
    assert "note: planned as for a new store" in run("cluster", "plan", *line).stdout
    local = run("plan", *line[:2], *SMALL, "--store", str(tmp_path / "s.zarr"), "--format", "json")
    assert json.loads(local.stdout)["notes"] == []
    refused = run("extract", *line)
    assert isinstance(refused.exception, AccessError)
