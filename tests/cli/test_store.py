"""`cvbench store ...`: output, JSON and exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cvbench.cli.store import app
from cvbench.errors import DataUnavailableError, IntegrityError, UnknownNameError, UsageError
from cvbench.storage.features import FeatureStore
from cvbench.storage.runs.log import RunLog
from tests.storage.small_store import GROUP, SPECS, UNITS, declare, features, write_unit

run = CliRunner().invoke


@pytest.fixture
def store(tmp_path: Path) -> str:
    store = FeatureStore.open(tmp_path / "s", "a")
    declare(store)
    for unit in UNITS[:2]:
        write_unit(store, unit)
    return store.url


def test_info_shows_what_is_there(store: str) -> None:
    done = run(app, ["info", "--store", store], env={"COLUMNS": "140"})
    assert done.exit_code == 0, done.output
    assert "digits/all: 22 samples, units of 8" in done.stdout
    assert "16/22" in done.stdout
    lines = done.stdout.splitlines()
    assert lines[1] == GROUP.path
    assert [line.split()[0] for line in lines[2:5]] == ["layer", "blocks.0", "blocks.1"]


def test_info_of_a_store_whose_ledger_is_gone(store: str) -> None:
    shutil.rmtree(Path(store) / "ledger")
    done = run(app, ["info", "--store", store])
    assert done.exit_code == 0, done.output
    assert "0 splits, 0 layers, 0 results" in done.stdout
    assert f"the records of the ledger are missing, and {GROUP.path}/blocks." in done.stdout
    assert f"cvbench store gc --orphans --store {store}" in done.stderr
    lost = json.loads(run(app, ["info", "--store", store, "--format", "json"]).stdout)["lost"]
    assert lost.startswith(f"{GROUP.path}/blocks.")
    assert run(app, ["gc", "--orphans", "--store", store]).exit_code == 0  # what it says
    done = run(app, ["info", "--store", store])
    assert (done.stdout, done.stderr) == ("0 splits, 0 layers, 0 results\n", "")


def test_gc_under_a_run_and_when_it_is_told_that_none_is(store: str) -> None:
    RunLog(FeatureStore.open(store).objects).begin()
    done = run(app, ["gc", "--orphans", "--store", store])
    assert isinstance(done.exception, UsageError)
    assert "a run writes to the store" in str(done.exception)
    assert run(app, ["gc", "--orphans", "--force", "--store", store]).exit_code == 0


@pytest.mark.parametrize("lost", ["ledger/digits/all/split.json", "digits/all/samples/id/c.0"])
def test_damage_is_said_with_the_way_back(store: str, lost: str) -> None:
    path = Path(store) / lost
    path.write_bytes(b"{}") if lost.startswith("ledger") else path.unlink()
    done = run(app, ["info", "--store", store])
    assert isinstance(done.exception, IntegrityError)
    assert done.exception.why
    assert "store repair" in (done.exception.fix or "")


def test_info_as_json(store: str) -> None:
    document = json.loads(run(app, ["info", "--store", store, "--format", "json"]).stdout)
    assert document["schema_version"] == 1
    assert document["splits"][0]["samples"] == 22
    assert [(x["tap"], x["shape"], x["committed"]) for x in document["layers"]] == [
        ("blocks.0", [22, 4], 16),
        ("blocks.1", [22, 6], 16),
    ]


def test_verify_of_a_sound_and_a_damaged_store(store: str) -> None:
    done = run(app, ["verify", "--deep", "--store", store])
    assert (done.exit_code, done.stdout[:3]) == (0, "ok:")
    path = Path(store) / GROUP.path / "blocks.0" / "c.1.0"
    data = bytearray(path.read_bytes())
    data[5] ^= 16
    path.write_bytes(data)
    done = run(app, ["verify", "--deep", "--store", store], env={"COLUMNS": "160"})
    assert done.exit_code == 4
    assert f"{GROUP.path}/blocks.0/c.1.0" in done.stdout
    document = json.loads(run(app, ["verify", "--deep", "--store", store, "--format", "json"]).stdout)
    assert document["ok"] is False
    assert [(p["kind"], p["unit"]) for p in document["problems"]] == [("damaged", 1)]


def test_repair_forgets_what_is_damaged(store: str) -> None:
    chunk = next(path for path in sorted(Path(store).rglob("c.*")) if "samples" not in path.parts)
    chunk.write_bytes(b"?" * chunk.stat().st_size)
    assert "store repair --store" in run(app, ["verify", "--store", store, "--deep"]).stderr
    planned = run(app, ["repair", "--store", store, "--dry-run"])
    assert planned.exit_code == 0
    assert "1 records would be forgotten" in planned.stdout
    assert chunk.exists()
    result = run(app, ["repair", "--store", store, "--format", "json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["removed"] == [str(chunk.relative_to(store))]
    assert len(said["forgotten"]) == 1
    assert run(app, ["verify", "--store", store, "--deep"]).exit_code == 0


def test_gc(store: str) -> None:
    (Path(store) / ".tmp-1-a").write_bytes(b"")
    (Path(store) / GROUP.path / "blocks.0" / "c.2.0").write_bytes(b"")
    assert run(app, ["gc", "-n", "--store", store]).stdout == ".tmp-1-a\n1 objects would be removed\n"
    assert run(app, ["gc", "--store", store]).stdout == ".tmp-1-a\n1 objects removed\n"
    removed = json.loads(run(app, ["gc", "--orphans", "--store", store, "--format", "json"]).stdout)["removed"]
    assert removed == [f"{GROUP.path}/blocks.0/c.2.0"]


def test_export(store: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(app, ["export", GROUP.path, "-o", str(out), "--store", store, "-t", "blocks.1", "--format", "json"])
    assert done.exit_code == 0, done.output
    path = json.loads(done.stdout)["files"][0]["path"]
    np.testing.assert_array_equal(np.load(path), features(SPECS[1])[:16])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["info"], DataUnavailableError),
        (["export", "digits/all", "-o", "out"], UsageError),
        (["export", GROUP.path, "-o", "out", "--to", "mat"], UsageError),
    ],
)
def test_errors_reach_the_caller(arguments: list[str], error: type[Exception], tmp_path: Path) -> None:
    done = run(app, [*arguments, "--store", str(tmp_path / "none")])
    assert isinstance(done.exception, error)


def test_a_misspelt_tap_names_its_neighbours(store: str, tmp_path: Path) -> None:
    done = run(app, ["export", GROUP.path, "-o", str(tmp_path / "out"), "--store", store, "-t", "block.0"])
    assert isinstance(done.exception, UnknownNameError)
    assert "blocks.0" in done.exception.did_you_mean


def test_wrong_format_is_a_usage_error(store: str) -> None:
    result = run(app, ["info", "--store", store, "--format", "xml"])
    assert isinstance(result.exception, UnknownNameError)
    assert result.exception.exit_code == 2


def test_every_command_has_help() -> None:
    for command in ("info", "verify", "gc", "export"):
        done = run(app, [command, "--help"])
        assert done.exit_code == 0
        assert "--store" in done.output


def test_importing_the_commands_imports_nothing_heavy() -> None:
    code = (
        "import sys, cvbench.cli.store; print(sorted({'torch', 'ray', 'zarr', 'numpy', 'xarray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
