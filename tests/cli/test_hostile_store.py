"""A store from somebody else: no command touches anything outside it, waits for ever, or falls over."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from cvbench.errors import CvbenchError
from cvbench.storage.features.keys import JOURNAL
from cvbench.storage.features.ledger import seal
from tests.commands import run
from tests.jobs.images import write_folder

SECONDS = 60  # a pipe or a device would be waited for, or read, without an end


def extract(place: Path) -> tuple[str, ...]:
    options = ("--dataset", f"folder:{place / 'pets'}", "--store", str(place / "s.zarr"), "--address", "none")
    network = (
        "--backbone",
        "test_vit",
        "--weights",
        "random",
        "--image-size",
        "64",
        "--batch-size",
        "8",
        "--unit",
        "16",
    )
    return ("extract", *options, *network)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile") / "made"
    place.mkdir()
    write_folder(place / "pets", 40)
    for arguments in (extract(place), ("analyze", "cka", "--store", str(place / "s.zarr"), "--address", "none")):
        done = run(*arguments)
        assert done.exit_code == 0, done.output
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the store, `s.zarr`; beside it `outside`, which nobody may touch."""
    shutil.copytree(made / "s.zarr", tmp_path / "s.zarr")
    (tmp_path / "pets").symlink_to(made / "pets")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious.txt").write_text("years of work")
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    yield tmp_path
    signal.alarm(0)


def _too_long(number: int, frame: object) -> None:
    raise AssertionError("it does not end")


def first(place: Path, pattern: str) -> Path:
    return sorted((place / "s.zarr").glob(pattern))[0]


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a record, and seal it again: it is sound in itself."""
    record = json.loads(path.read_text())["record"]
    change(record)
    path.write_bytes(seal(record))


def commit_names(name: str) -> Callable[[Path], str]:
    """A commit record that names something else for its first object; returns what the message must hold."""

    def make(place: Path) -> str:
        path = first(place, "ledger/*/*/test_vit*/pooled/commits/*.json")

        def change(record: dict[str, Any]) -> None:
            objects = next(iter(record["taps"].values()))["objects"]
            value = objects.pop(next(iter(objects)))
            objects[name.format(outside=place / "outside")] = {**value, "size": 0 if "zero" in name else value["size"]}

        rewrite(path, change)
        return path.name

    return make


def array_names(place: Path) -> str:
    path = first(place, "ledger/*/*/test_vit*/pooled/arrays/*.json")
    rewrite(path, lambda record: record["node"].update(key="../outside/precious.txt"))
    return path.name


def split_names(place: Path) -> str:
    value = {"size": 13, "blake3": "0" * 64}
    path = first(place, "ledger/*/*/split.json")
    rewrite(path, lambda record: record["objects"].update({"../outside/precious.txt": value}))
    return path.name


def split_columns(place: Path) -> str:
    path = first(place, "ledger/*/*/split.json")
    rewrite(path, lambda record: record["columns"].append("../../../../outside"))
    return path.name


def result_names(place: Path) -> str:
    path = first(place, "ledger/results/*/*/cka/*.json")
    value = {"size": 13, "blake3": "0" * 64}
    rewrite(path, lambda record: record["objects"].update({"../outside/precious.txt": value}))
    return path.name


def journal_names(place: Path) -> str:
    steps = [["../outside/precious.txt", None], [f"{place}/outside/precious.txt", None]]
    (place / "s.zarr" / JOURNAL).write_bytes(seal({"format": 1, "remove": steps, "write": []}))
    return JOURNAL


def replaced(pattern: str, by: str) -> Callable[[Path], str]:
    """Something else in the place of an object, or of a folder."""

    def make(place: Path) -> str:
        path = first(place, pattern)
        if by == "linked folder":  # what it held lies outside now, as if it had been put there to save space
            shutil.move(path, place / "outside" / "moved")
            path.symlink_to(place / "outside" / "moved")
        else:
            path.unlink()
            if by == "link":
                path.symlink_to(place / "outside" / "precious.txt")
            elif by == "pipe":
                os.mkfifo(path)
            elif by == "link to a device":
                path.symlink_to("/dev/zero")
        return path.name

    return make


CASES: dict[str, Callable[[Path], str]] = {
    "commit names ..": commit_names("../outside/precious.txt"),
    "commit names an absolute path": commit_names("{outside}/precious.txt"),
    "commit names a device": commit_names("/dev/zero"),
    "commit names .. below itself": commit_names("folder-pets/all/x/../../../../outside/precious.txt"),
    "commit names another's object": commit_names("zarr.json"),
    "array record names ..": array_names,
    "split record names ..": split_names,
    "split record has a column outside": split_columns,
    "result names ..": result_names,
    "journal names ..": journal_names,
    "chunk is a link": replaced("folder-pets/all/test_vit*/pooled/*/c.*", "link"),
    "chunk is a link to a device": replaced("folder-pets/all/test_vit*/pooled/*/c.*", "link to a device"),
    "chunk is a pipe": replaced("folder-pets/all/test_vit*/pooled/*/c.*", "pipe"),
    "record is a pipe": replaced("ledger/*/*/test_vit*/pooled/commits/*.json", "pipe"),
    "record is a link": replaced("ledger/*/*/test_vit*/pooled/fingerprint.json", "link"),
    "features are a linked folder": replaced("folder-pets", "linked folder"),
    "records are a linked folder": replaced("ledger/*/*/test_vit*", "linked folder"),
}
LOOKING = ("verify", "verify --deep", "info", "repair --dry-run", "gc --orphans --dry-run")
HEAVY = ("extract", "analyze cka", "report", "eval accuracy", "claims", "run", "status")
FOR_HEAVY = (
    "commit names ..",
    "split record has a column outside",
    "journal names ..",
    "chunk is a pipe",
    "record is a link",
    "features are a linked folder",
    "records are a linked folder",
)


def arguments_of(command: str, place: Path) -> tuple[str, ...]:
    store = str(place / "s.zarr")
    if command == "extract":
        return extract(place)
    if command == "export":
        group = next(iter(sorted((place / "s.zarr").glob("folder-pets/all/test_vit*/pooled"))))
        return ("store", "export", str(group.relative_to(store)), "--out", str(place / "out"), "--store", store)
    if command in ("run", "status"):
        return (command, str(study(place)))
    if command == "claims":
        return ("claims", "--store", store)
    if command.split()[0] in ("analyze", "eval", "report"):
        near = ("--address", "none") if command.startswith("analyze") else ()
        return (*command.split(), "--store", store, "--out", str(place / "out"), *near)
    return ("store", *command.split(), "--store", store)


def study(place: Path) -> Path:
    """A study of what the store holds."""
    path = place / "study.yaml"
    document = {
        "store": str(place / "s.zarr"),
        "address": "none",
        "backbones": [{"model": "test_vit", "weights": "random", "image_size": 64}],
        "datasets": [{"dataset": f"folder:{place / 'pets'}"}],
        "extract": {"batch_size": 8, "unit": 16},
        "analyses": ["cka"],
        "report": {"out": str(place / "out")},
    }
    path.write_text(json.dumps(document))
    return path


def outside(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((place / "outside").rglob("*")) if path.is_file()}


def ends_well(done: Result) -> None:
    assert done.exception is None or isinstance(done.exception, CvbenchError | SystemExit), repr(done.exception)


@pytest.mark.parametrize("case", CASES)
def test_nothing_outside_is_touched_by_what_looks_after_a_store(case: str, place: Path) -> None:
    name = CASES[case](place)
    before = outside(place)
    for command in (*LOOKING, "export", "gc --orphans", "repair"):
        done = run(*arguments_of(command, place))
        ends_well(done)
        assert outside(place) == before, command
        if command == "verify --deep":
            assert done.exit_code == 4 or getattr(done.exception, "exit_code", 0) == 4
            assert name in done.output + str(done.exception)


@pytest.mark.parametrize("command", HEAVY)
@pytest.mark.parametrize("case", FOR_HEAVY)
def test_nothing_outside_is_touched_by_what_uses_a_store(case: str, command: str, place: Path) -> None:
    CASES[case](place)
    before = outside(place)
    ends_well(run(*arguments_of(command, place)))
    assert outside(place) == before


def test_repair_and_the_same_extract_make_it_whole(place: Path) -> None:
    CASES["commit names .."](place)
    done = run(*arguments_of("repair", place))
    assert done.exit_code == 0, done.output
    done = run(*extract(place))
    assert done.exit_code == 0, (done.output, done.exception)
    assert run(*arguments_of("verify --deep", place)).exit_code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_finished_analysis_of_a_read_only_store_is_printed(place: Path) -> None:
    store = str(place / "s.zarr")
    if subprocess.run(["mount", "--bind", store, store], check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", store], check=True)
        for command in ("extract", "verify --deep"):
            assert run(*arguments_of(command, place)).exit_code == 0
        done = run("analyze", "cka", "--store", store, "--address", "none")
        assert done.exit_code == 0, done.exception
        assert "result: results/folder-pets/all/cka/" in done.stdout
    finally:
        subprocess.run(["umount", store], check=True)
