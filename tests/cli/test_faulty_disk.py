"""Every n-th store call of a small run fails, the disk fills, the process ends: the same command ends with the same
bytes, whatever the command (I1, F1, F7, F9)."""

from __future__ import annotations

import contextlib
import random
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.errors import CvbenchError, ResourceError
from tests.cli.faulty_disk import FaultyDisk, Killed
from tests.jobs.images import write_folder
from tests.jobs.study.studies import write_study
from tests.storage.small_store import flip_bit

KINDS = ("read", "full", "killed", "sync")
SEED = 20


def words_of(command: str, folder: Path) -> list[str]:
    """The command line on the store of a folder."""
    on = ["--store", str(folder / "s.zarr")]
    here = ["--address", "none", "--device", "cpu"]
    net = ["--backbone", "test_vit", "--weights", "random", "--image-size", "64", "--batch-size", "4", "--unit", "4"]
    pets = ["--dataset", f"folder:{folder / 'pets'}"]
    return {
        "extract": ["extract", *pets, *net, *on, *here, "--view", "maps", "--view", "head", "--taps", "blocks.[45]"],
        "cka": ["analyze", "cka", *on, "--view", "maps", *here],
        "cam": ["analyze", "cam", "--dataset", "folder-pets", *net, *on, *here, "--resamples", "20"],
        "repair": ["store", "repair", *on],
        "report": ["report", *on, "--out", str(folder / "report")],
        "run": ["run", str(folder / "study.yaml")],
    }[command]


def run(command: str, folder: Path) -> BaseException | None:
    """What it ended with, None if all was well. A kill ends it anywhere."""
    done = CliRunner().invoke(app, words_of(command, folder))
    assert done.exception is None or isinstance(done.exception, CvbenchError), done.exception
    return done.exception


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the store, by path; what killed writers left is swept by the next."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images and a store with features of them."""
    folder = tmp_path_factory.mktemp("made")
    write_folder(folder / "pets", 12)
    assert run("extract", folder) is None
    assert run("cka", shutil.copytree(folder, folder / "with-results")) is None  # which a report is of
    return folder


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
    return FaultyDisk(monkeypatch)


def begun(command: str, made: Path, folder: Path) -> Path:
    """A folder in which the command has its work before it."""
    shutil.copytree(made / "pets", folder / "pets")
    if command == "run":
        write_study(folder, datasets=[{"dataset": f"folder:{folder / 'pets'}", "limit": 12}])
    elif command != "extract":
        shutil.copytree(made / ("with-results" if command == "report" else ".") / "s.zarr", folder / "s.zarr")
    if command == "repair":
        for path in sorted((folder / "s.zarr").glob("folder-pets/**/c.*"))[:2]:
            path.write_bytes(flip_bit(path.read_bytes(), 77))
    return folder


def store_of(command: str, folder: Path) -> dict[str, bytes]:
    store = contents(folder / ("study.zarr" if command == "run" else "s.zarr"))
    # A study's journal and the logs of runs say when they ran.
    timed = ("ledger/study", "studies", "ledger/_runs/")
    return {key: data for key, data in store.items() if not any(part in key for part in timed)}


SHORT = ("extract", "cka")
LONG = ("cam", "repair", "report", "run")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("command", "points"),
    [
        *((name, 2) for name in SHORT),
        *(pytest.param(name, 6, marks=pytest.mark.slow, id=f"{name}-more") for name in (*SHORT, *LONG)),
    ],
)
def test_a_command_that_fails_at_any_call_ends_right_when_run_again(
    disk: FaultyDisk, made: Path, tmp_path: Path, command: str, points: int, kind: str
) -> None:
    place = tmp_path / "work"  # one path for all: results name the data set that they are of
    folder = begun(command, made, place)
    disk.fail(0, kind)
    assert run(command, folder) is None
    expected, total = store_of(command, folder), disk.calls
    rng = random.Random(f"{SEED} {command} {kind}")
    for number in sorted(rng.sample(range(1, total + 1), min(points, total))):
        print(f"{command}: {kind} at call {number} of {total}")
        shutil.rmtree(place)
        begun(command, made, place)
        disk.fail(number, kind)
        with contextlib.suppress(Killed):
            ended = run(command, folder)
            # A report goes on without a result that it cannot read, and says so: exit code 5.
            assert ended is None or isinstance(ended, ResourceError) or command in ("report", "run"), ended
        assert disk.failed or kind == "full"
        disk.fail(0, kind)
        assert run(command, folder) is None
        assert store_of(command, folder) == expected, number
