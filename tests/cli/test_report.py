"""`cvbench report` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from cvbench.cli.app import app
from cvbench.errors import CvbenchError
from cvbench.storage.features import FeatureStore
from tests.jobs.report_store import foreign, put, small_cka


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["report", *arguments])


def store(name: str) -> str:
    opened = FeatureStore.open(f"memory://cli-{name}", mode="a")
    put(opened, small_cka({"vit": 2, "cnn": 2}), "a1")
    return opened.url


def test_it_names_what_it_wrote(tmp_path: Path) -> None:
    result = run("--store", store("plain"), "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == f"page:    {tmp_path / 'out/report.html'}"
    written = [Path(line.split(maxsplit=1)[1]) for line in lines[:-1]]
    assert {path for path in (tmp_path / "out").rglob("*") if path.is_file()} == set(written)
    assert lines[-1] == "1 result, 17 numbers"  # 10 pairs of 4 layers, 7 summary numbers


def test_json(tmp_path: Path) -> None:
    result = run("--store", store("json"), "--out", str(tmp_path), "--format", "json")
    made = json.loads(result.stdout)
    assert made["schema_version"] == 1
    assert (made["results"], made["numbers"], made["raw"]) == (1, 17, [])
    assert [Path(path).name for path in made["tables"]] == ["results.parquet", "results.csv", "results.json"]
    assert all(Path(path).is_file() for path in [made["page"], *made["tables"], *made["figures"]])


def test_figures_as_pdf_too(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert run("--store", store("pdf"), "--out", str(tmp_path / name), "--pdf").exit_code == 0
    first, second = (list((tmp_path / name).rglob("*.pdf")) for name in ("one", "two"))
    assert len(first) == 1
    assert first[0].read_bytes()[:5] == b"%PDF-"
    assert first[0].read_bytes() == second[0].read_bytes()
    assert f"figures/{first[0].name}" in (tmp_path / "one" / "report.html").read_text()


def test_a_result_that_cannot_be_read_ends_in_exit_code_5_after_the_page(tmp_path: Path) -> None:
    url = store("raw")
    put(FeatureStore.open(url, mode="a"), foreign("x"), "a2")
    result = run("--store", url, "--out", str(tmp_path))
    assert isinstance(result.exception, CvbenchError)
    assert result.exception.exit_code == 5
    assert "results/birds/test/unheard-of/a2" in str(result.exception)
    assert (tmp_path / "report.html").is_file()


def test_bad_input(tmp_path: Path) -> None:
    for arguments, code, said in (
        (("--store", str(tmp_path / "none.zarr")), 3, "cvbench extract"),
        (("--store", store("format"), "--format", "pdf"), 2, "--format table, json"),
        (("--store", store("out"), "--out", str(Path(__file__) / "x")), 6, "another --out"),
    ):
        result = run(*arguments)
        assert isinstance(result.exception, CvbenchError), result.output
        assert result.exception.exit_code == code
        assert said in str(result.exception)
        assert result.stdout == ""
