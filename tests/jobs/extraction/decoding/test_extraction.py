"""Whole extractions whose images processes decode: the store of threads, also on the pretended card, and on Ray."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cvbench.errors import UnknownNameError
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Advanced, Event, Failed
from tests.jobs.extraction.decoding.test_feed import check_gone
from tests.jobs.extraction.test_extract import contents, options
from tests.jobs.images import write_folder
from tests.standin.plug import plugged


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> ExtractOptions:
    folder = tmp_path_factory.mktemp("decoding")
    write_folder(folder / "pets", 40, broken=(7,))
    return options(folder, max_unreadable=0.1, decode_in="threads", unit=8)


@pytest.fixture(scope="module")
def expected(asked: ExtractOptions) -> dict[str, str]:
    extract(asked, Cluster("none"))
    return contents(asked.store)


def in_processes(asked: ExtractOptions, store: Path) -> ExtractOptions:
    return replace(asked, store=str(store), decode_in="processes", decode_threads=2)


def test_the_store_of_threads(asked: ExtractOptions, expected: dict[str, str], tmp_path: Path) -> None:
    report = extract(in_processes(asked, tmp_path / "store.zarr"), Cluster("none"))
    assert [sample.reason for sample in report.unreadable] == ["truncated"]
    assert contents(tmp_path / "store.zarr") == expected
    again = extract(in_processes(asked, Path(asked.store)), Cluster("none"))
    assert again.computed == 0  # who decodes is no part of what a store is


def test_on_the_pretended_card(asked: ExtractOptions, tmp_path: Path) -> None:
    card = Cluster("none", "cuda")
    with plugged():
        extract(replace(asked, store=str(tmp_path / "threads.zarr")), card)
        extract(in_processes(asked, tmp_path / "processes.zarr"), card)
    assert contents(tmp_path / "processes.zarr") == contents(tmp_path / "threads.zarr")


def is_actor(process: psutil.Process) -> bool:
    try:
        return any(word.startswith("ray::_Actor") for word in process.cmdline()[:1])
    except psutil.Error:
        return False


@pytest.mark.slow
def test_an_actor_that_is_killed_leaves_no_decoder(
    asked: ExtractOptions, expected: dict[str, str], tmp_path: Path, ray_here: None
) -> None:
    """It is killed when its first unit is in the store and others, of which it has two at a time, are not given out."""
    seen: list[int] = []
    failed: list[str] = []

    def kill(event: Event) -> None:
        if isinstance(event, Failed):
            failed.append(event.what)
        if isinstance(event, Advanced) and not seen:
            for actor in filter(is_actor, psutil.Process().children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):  # one of a test before, on its way out
                    seen.extend(child.pid for child in actor.children(recursive=True))
                    actor.kill()

    extract(in_processes(asked, tmp_path / "store.zarr"), Cluster("local", actors=1), kill)
    assert len(seen) >= 3  # the nursery and two decoders
    assert failed
    check_gone(seen)
    assert contents(tmp_path / "store.zarr") == expected


def test_another_word_is_refused(asked: ExtractOptions, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="decode-in"):
        extract(replace(asked, store=str(tmp_path / "s.zarr"), decode_in="threats"), Cluster("none"))  # type: ignore[arg-type]
