"""`cvbench datasets ls | info | verify`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cvbench.cli.datasets import app
from cvbench.errors import CvbenchError, DataUnavailableError, IntegrityError, UnknownNameError
from tests.storage.datasets.cub_tree import relative, write_cub
from tests.storage.datasets.dataset_suite import jpeg


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def result(*arguments: str) -> Any:
    """The JSON on stdout of a command that succeeds."""
    outcome = run(*arguments, "--format", "json")
    assert outcome.exit_code == 0, outcome.exception
    return json.loads(outcome.stdout)


def error(*arguments: str) -> CvbenchError:
    """What the command raises for the root of the command line to print."""
    outcome = run(*arguments)
    assert isinstance(outcome.exception, CvbenchError)
    return outcome.exception


@pytest.mark.parametrize("command", ["ls", "list"])
def test_ls_names_each_data_set(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cub(tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    lines = run(command, "--data-root", tmp_path.name).stdout.splitlines()
    assert lines[0].split() == ["name", "classes", "images", "title", "found"]
    names = [line.split()[0] for line in lines[1 : lines.index("")]]
    assert names == sorted(names)
    assert {"cifar10", "cub200", "digits", "folder:PATH", "imagenet-val"} <= set(names)
    found = {line.split()[0]: line.split()[-1] for line in lines[1 : lines.index("")]}
    assert found["cub200"] == str(tmp_path)
    assert found["imagenet-val"] == "-"


def test_ls_names_the_groups() -> None:
    lines = run("ls").stdout.splitlines()
    groups = {line.split()[0]: line for line in lines[lines.index("") + 2 :]}
    assert set(groups) == {"@robustness", "@transfer", "@vtab", "@scenes-robustness", "@scenes-transfer", "@paper"}
    assert "imagenet-a, imagenet-r" in groups["@robustness"]
    assert result("ls")["groups"]["@transfer"][0] == "eurosat"


def test_ls_as_json(tmp_path: Path) -> None:
    write_cub(tmp_path)
    content = result("ls", "--data-root", str(tmp_path))
    assert content["schema_version"] == 1
    found = {row["name"]: row["found"] for row in content["datasets"]}
    assert found["cub200"] == str(tmp_path)
    assert found["cifar10"] is None


def test_the_data_root_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cub(tmp_path)
    monkeypatch.setenv("CVBENCH_DATA", str(tmp_path))
    assert result("info", "cub200")["found"] == str(tmp_path)


def test_info_says_what_is_expected_and_where_to_get_it(tmp_path: Path) -> None:
    text = run("info", "cub200", "--data-root", str(tmp_path)).stdout
    for part in ("test (default)", "11,788", "train_test_split.txt", "vision.caltech.edu", "not under the data root"):
        assert part in text


def test_info_as_json() -> None:
    content = result("info", "digits")
    assert (content["name"], content["classes"], content["counts"]) == (
        "digits",
        10,
        {"all": 1_797, "train": 1_200, "val": 200, "test": 397},
    )


def test_info_of_an_unknown_data_set() -> None:
    caught = error("info", "cub20")
    assert isinstance(caught, UnknownNameError)
    assert caught.did_you_mean == ("cub200",)


def test_verify_a_whole_data_set() -> None:
    outcome = run("verify", "digits", "--deep")
    assert outcome.exit_code == 0
    assert outcome.stdout.splitlines()[1].split() == ["all", "1,797", "1,797", "10", "0.1", "1,797"]
    assert "no problem found" in outcome.stdout


def test_verify_prints_the_report_and_then_fails(tmp_path: Path) -> None:
    write_cub(tmp_path)
    (tmp_path / "images" / relative(3)).unlink()
    arguments = ("verify", "cub200", "--data-root", str(tmp_path), "--split", "test")
    caught = error(*arguments)
    assert isinstance(caught, IntegrityError)
    assert caught.exit_code == 4
    assert "3 problems" in str(caught)
    assert relative(3) in run(*arguments).stdout
    content = json.loads(run(*arguments, "--format", "json").stdout)
    assert content["ok"] is False
    assert [problem["kind"] for problem in content["problems"]] == ["count", "classes", "missing"]


def test_a_long_list_of_problems_is_cut_in_the_table_only(tmp_path: Path) -> None:
    for k in range(30):
        path = tmp_path / "jay" / f"{k:02d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    arguments = ("verify", f"folder:{tmp_path}")
    assert "10 more" in run(*arguments).stdout
    assert len(json.loads(run(*arguments, "--format", "json").stdout)["problems"]) == 30


def test_what_is_left_out_is_shown_and_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "jay").mkdir()
    (tmp_path / "jay" / "a.jpg").write_bytes(jpeg(1))
    (tmp_path / "jay" / "b\x1b.avif").touch()
    line = "files that are no images by their extension: 1 (avif 1): jay/b\\x1b.avif"
    verified = run("verify", f"folder:{tmp_path}")
    assert verified.exit_code == 0
    assert f"all: {line}" in verified.stdout.splitlines()
    assert "no problem found" in verified.stdout
    shown = run("info", f"folder:{tmp_path}").stdout.splitlines()
    assert [row for row in shown if row.startswith(("holds", "left out"))] == [
        "holds     all: 1 images, 1 classes",
        f"left out  all: {line}",
    ]
    entry = result("verify", f"folder:{tmp_path}")["splits"][0]["left_out"][0]
    assert (entry["kind"], entry["count"], entry["why"]) == ("extension", 1, "avif 1")


def test_verify_of_a_missing_tree(tmp_path: Path) -> None:
    caught = error("verify", "cifar10", "--data-root", str(tmp_path))
    assert isinstance(caught, DataUnavailableError)
    assert caught.exit_code == 3


@pytest.mark.parametrize("arguments", [("ls",), ("info", "digits"), ("verify", "digits")])
def test_an_unknown_format_names_the_known_ones(arguments: tuple[str, ...]) -> None:
    caught = error(*arguments, "--format", "jsn")
    assert isinstance(caught, UnknownNameError)
    assert caught.did_you_mean == ("json",)


@pytest.mark.parametrize("command", ["ls", "info", "verify"])
def test_every_command_has_help(command: str) -> None:
    outcome = run(command, "--help")
    assert outcome.exit_code == 0
    assert "--format" in outcome.stdout


def test_importing_the_commands_imports_nothing_heavy() -> None:
    code = (
        "import sys, cvbench.cli.datasets; print(*{'torch', 'numpy', 'ray', 'zarr', 'timm', 'PIL'} & set(sys.modules))"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == ""
