"""SIGKILL of drivers and actors at random points: whatever dies, the same command ends with the same bytes.

A kill falls when the store has grown by a random number of files, so it hits every phase: before the first chunk,
between chunks and their commit, between commits.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from cvbench.jobs.catalogue.store import gc
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.running.cluster import Cluster
from tests.forks import Forked, Start
from tests.jobs.extraction.test_extract import contents
from tests.jobs.images import write_folder
from tests.jobs.transfer.holding import TOTAL, Training
from tests.waiting import looks

DEADLINE = 150  # seconds for one command
ATTEMPTS = 5
"""How often a run may be over before this process, which others may hold up, has looked at its store."""

FEW, MANY = 104, 192
"""Images that are enough for a kill or two, and for many, or for nodes, which are slow to die.

A store begins with four hundred files that say what will be in it; a tenth of all is more than that: units are written.
"""


class Stopped(NamedTuple):
    """A command that the system has stopped, and its store."""

    process: Forked
    store: Path


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("few") / "pets", FEW, broken=(50,))


@pytest.fixture(scope="module")
def few_undisturbed(few: Path) -> dict[str, str]:
    """The bytes of the run over few images that nobody disturbs."""
    return reference(few)


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("kills") / "pets", MANY, broken=(50,))


@pytest.fixture(scope="module")
def undisturbed(pets: Path) -> dict[str, str]:
    """The bytes of the run over all images that nobody disturbs."""
    return reference(pets)


def reference(pets: Path) -> dict[str, str]:
    """The bytes of a run in this process."""
    store = pets.parent / "reference.zarr"
    options = ExtractOptions(
        dataset=f"folder:{pets}",
        backbones=("test_vit", "test_convnext"),
        store=str(store),
        weights=("random",),
        views=("pooled", "maps"),
        maps=None,
        taps=("blocks.*", "stages.*.blocks.0"),
        batch_size=4,
        unit=4,
        image_size=32,
    )
    extract(options, Cluster(address="none"))
    return contents(store)


def words_of(pets: Path, store: Path, address: str) -> list[str]:
    given = "--weights random --view pooled --view maps --maps all --taps blocks.* --taps stages.*.blocks.0"
    sizes = "--batch-size 4 --unit 4 --image-size 32 --backbone test_vit --backbone test_convnext"
    return [
        *("extract", "--dataset", f"folder:{pets}"),
        *("--store", str(store), "--address", address, *given.split(), *sizes.split()),
    ]


def files(store: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(store))


def wait_for_growth(process: Forked | subprocess.Popen[str], store: Path, grown: int) -> bool:
    """Wait until the store has `grown` more files; False if the command ended before."""
    goal = files(store) + grown
    for _ in looks(DEADLINE):
        if process.poll() is not None:
            return False
        if files(store) >= goal:
            return True
    raise AssertionError


def started_by(process: Forked) -> list[psutil.Process]:
    """What a command has started and is there; nothing once the command has ended."""
    try:
        return [*psutil.Process(process.pid).children(recursive=True)]
    except psutil.Error:
        return []


def actors_of(process: Forked) -> Iterator[psutil.Process]:
    for child in started_by(process):
        try:
            if "".join(child.cmdline()[:1]).startswith("ray::_Actor"):
                yield child
        except psutil.Error:
            continue


def is_stopped(process: Forked) -> bool:
    """Whether the system has stopped a command."""
    try:
        return bool(psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def stopped(start: Start, words: Callable[[Path], list[str]], folder: Path, grown: int, whole: int) -> Stopped:
    """A command that the system has stopped in the middle of its work: it goes on at SIGCONT.

    One that came to its end before a look at its store is begun anew, with another store.

    Args:
        start: Starts commands.
        words: Those of the command, for a store.
        folder: Of the stores.
        grown: Files that the store has by then, at least.
        whole: Files of a store that is complete.
    """
    for attempt in range(ATTEMPTS):
        store = folder / f"store-{attempt}.zarr"
        process = start(words(store))
        if wait_for_growth(process, store, grown):
            process.send_signal(signal.SIGSTOP)
            for _ in looks(DEADLINE):
                if process.poll() is not None or is_stopped(process):
                    break
            if process.poll() is None and files(store) < whole:
                return Stopped(process, store)
            process.send_signal(signal.SIGCONT)
        _, said = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, said
    raise AssertionError(f"{ATTEMPTS} runs were over before they could be stopped")


def tidy(store: Path) -> dict[str, str]:
    """What is in the store once the temporary files of the killed are swept."""
    gc(str(store))
    return contents(store)


def finish(start: Start, pets: Path, store: Path) -> None:
    process = start(words_of(pets, store, "none"))
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, said


def test_a_driver_killed_at_random_points_resumes_to_the_same_bytes(
    start: Start, few: Path, few_undisturbed: dict[str, str], tmp_path: Path
) -> None:
    assert kill_drivers(start, few, few_undisturbed, tmp_path / "lane", 3, 0) >= 3


@pytest.mark.slow
def test_drivers_killed_side_by_side_resume_to_the_same_bytes(
    start: Start, pets: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    kills = 12
    with ThreadPoolExecutor(2) as lanes:  # one decodes while the other writes
        runs = [
            lanes.submit(kill_drivers, start, pets, undisturbed, tmp_path / str(lane), kills // 2, lane)
            for lane in range(2)
        ]
        assert sum(run.result() for run in runs) >= kills


def kill_drivers(start: Start, pets: Path, undisturbed: dict[str, str], folder: Path, kills: int, seed: int) -> int:
    """So many kills, on stores of their own; how many there were."""
    rng = random.Random(seed)
    folder.mkdir()
    store, killed, total = folder / "store-0.zarr", 0, len(undisturbed)
    while killed < kills:
        process = start(words_of(pets, store, "none"))
        # The driver alone is killed, as a lost machine; what it started must end by itself or do no harm.
        if wait_for_growth(process, store, rng.randrange(1, total // 4)) and process.kill():
            killed += 1
        else:  # it was faster than the kill: compare, and go on with a new store
            assert process.returncode == 0, process.communicate()[1]
            assert tidy(store) == undisturbed
            store = folder / f"store-{killed}.zarr"
    finish(start, pets, store)
    assert tidy(store) == undisturbed
    return killed


@pytest.mark.ray
def test_a_killed_driver_and_killed_actors_on_ray_end_with_the_same_bytes(
    start: Start, few: Path, few_undisturbed: dict[str, str], tmp_path: Path
) -> None:
    kill_on_ray(start, few, few_undisturbed, tmp_path, 1, 1)


@pytest.mark.ray
@pytest.mark.slow
def test_many_killed_actors_and_drivers_on_ray_end_with_the_same_bytes(
    start: Start, pets: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    kill_on_ray(start, pets, undisturbed, tmp_path, 3, 8)


def kill_on_ray(
    start: Start, pets: Path, undisturbed: dict[str, str], tmp_path: Path, drivers: int, actors: int
) -> None:
    """Kill so many drivers of one run, and then so many actors of this and further runs."""
    rng = random.Random(2)
    store, total = tmp_path / "store.zarr", len(undisturbed)
    one_actor = ["--threads", "2"] if drivers == 1 else []  # on two cores
    for _ in range(drivers):
        process = start([*words_of(pets, store, "local"), *one_actor])
        if wait_for_growth(process, store, rng.randrange(total // 10, total // 4)):
            alone = not [*actors_of(process)]
            killed_driver = process.kill()
            assert not (alone and killed_driver), "the driver is alone"
    killed, round_ = 0, 0
    while killed < actors:
        process = start(words_of(pets, store, "local"))
        while killed < actors and wait_for_growth(process, store, rng.randrange(10, total // 12)):
            victims = list(actors_of(process))
            if victims:
                with suppress(psutil.NoSuchProcess):  # it ended with the run
                    rng.choice(victims).kill()
                    killed += 1
        _, said = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, said
        assert tidy(store) == undisturbed
        round_ += 1
        assert round_ < 6, "the runs end before an actor can be killed"
        store = tmp_path / f"store-{round_}.zarr"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("address", ["none", pytest.param("local", marks=pytest.mark.ray)])
def test_an_interrupt_says_that_the_same_command_resumes(
    start: Start,
    few: Path,
    few_undisturbed: dict[str, str],
    tmp_path: Path,
    address: str,
    number: signal.Signals,
    code: int,
) -> None:
    whole = len(few_undisturbed)
    # Stopped, so that it cannot come to its end before the signal comes to it.
    process, store = stopped(start, lambda store: words_of(few, store, address), tmp_path, whole // 10, whole)
    assert (address == "local") == bool([*actors_of(process)])
    os.killpg(process.pid, number)  # as a terminal does: driver, Ray and actors
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == code, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    finish(start, few, store)
    assert tidy(store) == few_undisturbed


@pytest.mark.ray
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_comes_again_while_all_is_shut_down_changes_nothing(
    start: Start, few: Path, few_undisturbed: dict[str, str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    whole, one_actor = len(few_undisturbed), ("--threads", "2")  # on two cores
    process, _ = stopped(
        start, lambda store: [*words_of(few, store, "local"), *one_actor], tmp_path, whole // 10, whole
    )
    assert [*actors_of(process)], "there is no Ray to be shut down"
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    for _ in range(7):
        process.send_signal(number)  # to the driver alone, as a scheduler does
        time.sleep(0.2)
    _, said = process.communicate(timeout=DEADLINE)
    # While Ray takes its own handler away, a termination has the system's effect: to a shell the same code.
    assert process.returncode in (code, -number), said
    assert "Traceback" not in said


@pytest.mark.ray
def test_fine_tuning_on_ray_train_ends_at_each_signal_and_resumes(start: Start, tmp_path: Path) -> None:
    """An interrupt, a termination of the run that goes on from there, and the end of the third."""
    training = Training(start, tmp_path, 5, 10)
    for step, number, code in ((5, signal.SIGINT, 130), (10, signal.SIGTERM, 143)):
        process = training.begin("local")
        training.wait_for(step, process)
        process.send_signal(number)
        _, said = process.communicate(timeout=DEADLINE)
        assert process.returncode == code, said
        assert "the same command goes on" in said
        assert "Traceback" not in said
    again = training.begin("local")
    _, said = again.communicate(timeout=DEADLINE)
    assert again.returncode == 0, said
    assert training.steps() == [*range(1, TOTAL)], "a step was done twice, or left out"
    assert training.weights()
