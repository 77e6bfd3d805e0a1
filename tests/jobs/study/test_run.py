"""Studies that run: whole, again, after a failure, after a kill at any point, and on one Ray."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cvbench.errors import IncompleteError, ResourceError, UnknownNameError, UsageError
from cvbench.jobs.catalogue.store import gc
from cvbench.jobs.report.collect import collect
from cvbench.jobs.running import session
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Event, Listener, Started
from cvbench.jobs.study.journal import FILE
from cvbench.jobs.study.outcomes import StepOutcome, check_outcomes
from cvbench.jobs.study.run import run_study
from cvbench.jobs.study.states import states_of
from cvbench.jobs.study.study import Study, read_study
from cvbench.storage.features import FeatureStore
from tests.forks import Start
from tests.jobs.extraction.test_extract import contents
from tests.jobs.images import write_folder
from tests.jobs.study.studies import TAPS, write_study
from tests.waiting import looks

DEADLINE = 150


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def states(study: Study) -> dict[str, str]:
    return {one.name: one.state for one in states_of(study)}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[StepOutcome]]:
    """A folder with a study that has run."""
    folder = tmp_path_factory.mktemp("done")
    study = read_study(str(write_study(folder)))
    assert {*states(study).values()} == {"missing"}
    return folder, run_study(study)


def test_a_study_runs_from_its_file_to_its_report(done: tuple[Path, list[StepOutcome]]) -> None:
    folder, ended = done
    assert [(one.name, one.state) for one in ended] == [
        ("extract digits/test", "done"),
        ("analyze spectra digits/test", "done"),
        ("report", "done"),
    ]
    check_outcomes(ended)
    (result,) = ended[1].left
    assert result in (folder / "report" / "report.html").read_text()
    assert not (folder / "report" / FILE).exists()


def test_what_is_there_is_told_by_the_store(done: tuple[Path, list[StepOutcome]]) -> None:
    folder, ended = done
    path = str(folder / "study.yaml")
    found = states_of(read_study(path))
    assert [one.state for one in found] == ["done"] * 3
    assert (found[0].units_done, found[0].units_total, found[0].bytes) == (4, 4, 0)
    assert found[1].results == ended[1].left
    more = states_of(read_study(path, ["datasets.0.limit=64"]))
    assert [one.state for one in more] == ["partly", "partly", "done"]
    assert (more[0].units_done, more[0].units_total) == (4, 8)
    assert more[0].bytes
    others = (["analyses.0.spectra.resamples=51"], ["analyses.spectra.taps=blocks.0"], ["backbones=[test_vit]"])
    for given in others:
        study = read_study(path, given)
        assert states_of(study)[1].state == "missing", given


def test_again_nothing_is_computed_and_the_report_is_the_same(done: tuple[Path, list[StepOutcome]]) -> None:
    folder, _ = done
    store, page = contents(folder / "study.zarr"), files(folder / "report")
    events: list[Event] = []

    @contextmanager
    def hear() -> Iterator[Listener]:
        yield events.append

    check_outcomes(run_study(read_study(str(folder / "study.yaml")), hear))
    started = [event for event in events if isinstance(event, Started)]
    assert [event.job for event in started] == ["extract", "analyze spectra", "report"]
    assert [event.units for event in started[:2]] == [0, 0]
    assert contents(folder / "study.zarr") == store
    assert files(folder / "report") == page


def test_the_commands_of_the_steps_make_the_same_store(done: tuple[Path, list[StepOutcome]], tmp_path: Path) -> None:
    import shlex

    from typer.testing import CliRunner

    from cvbench.cli.app import app

    folder, ended = done
    for one in ended[:2]:
        words = shlex.split(one.command.replace(str(folder), str(tmp_path)))[1:]
        assert CliRunner().invoke(app, words).exit_code == 0
    assert contents(tmp_path / "study.zarr") == contents(folder / "study.zarr")


def test_a_step_that_fails_stops_only_what_needs_it(tmp_path: Path) -> None:
    datasets = [
        {"dataset": f"folder:{tmp_path}/birds", "limit": 8},
        {"dataset": "digits", "split": "test", "limit": 8},
    ]
    one = {"image_size": 32, "unit": 8, "batch_size": 8, "view": "maps", "taps": ["blocks.0"]}  # a small figure
    few = {"backbones": [{"model": "test_vit", "weights": "random"}], "extract": one}
    study = read_study(str(write_study(tmp_path, datasets=datasets, **few)))
    ended = run_study(study)
    birds, digits = f"folder:{tmp_path}/birds/all", "digits/test"
    assert {one.name: one.state for one in ended} == {
        f"extract {birds}": "failed",
        f"extract {digits}": "done",
        f"analyze spectra {birds}": "skipped",
        f"analyze spectra {digits}": "done",
        "report": "done",
    }
    with pytest.raises(IncompleteError) as caught:
        check_outcomes(ended)
    said = str(caught.value)
    assert said.startswith("1 of 5 steps failed, 1 were skipped")
    assert "the folder of images is not there" in said
    assert f"again: {ended[0].command}" in said
    assert f"analyze spectra {birds}: skipped, as it needs extract {birds}" in said
    assert (tmp_path / "report" / FILE).is_file()
    assert states(study)[f"extract {birds}"] == "failed"

    write_folder(tmp_path / "birds", 8)
    check_outcomes(run_study(study))
    assert not (tmp_path / "report" / FILE).exists()
    assert {*states(study).values()} == {"done"}
    table = tmp_path / "report" / "results.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))  # as of a store with a number less
    assert states(study)["report"] == "partly"


def test_a_bug_in_one_step_is_told_and_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any) -> Any:
        raise ZeroDivisionError("by \x1b[2J nothing")

    monkeypatch.setattr("cvbench.jobs.analyses.spectra.spectra", broken)
    study = read_study(str(write_study(tmp_path, datasets=[{"dataset": "digits", "limit": 8}])))
    ended = run_study(study)
    assert [one.state for one in ended] == ["done", "failed", "failed"]  # there is no result to report
    assert ended[1].error["code"] == "bug"
    assert "ZeroDivisionError" in ended[1].error["what"]
    assert [one.state for one in states_of(study)] == ["done", "failed", "failed"]


def test_an_interrupt_is_no_failure_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: Any) -> Any:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise RuntimeError("while tidying up") from None

    monkeypatch.setattr("cvbench.jobs.analyses.spectra.spectra", interrupted)
    study = read_study(str(write_study(tmp_path, datasets=[{"dataset": "digits", "limit": 8}])))
    with pytest.raises(RuntimeError):
        run_study(study)
    assert not (tmp_path / "report").exists()


def test_what_cannot_be_is_refused_before_the_first_step(tmp_path: Path) -> None:
    path = write_study(tmp_path, backbones=["test_vitt", {"model": "test_vit", "weights": "model.pkl"}])
    with pytest.raises(UsageError, match="2 things are wrong") as caught:
        run_study(read_study(str(path)))
    assert "test_vit" in str(caught.value)
    (tmp_path / "taken").write_text("")
    with pytest.raises(ResourceError):
        run_study(read_study(str(write_study(tmp_path, report={"out": str(tmp_path / "taken")}))))
    assert not (tmp_path / "study.zarr").exists()


def test_a_damaged_journal_is_no_journal(done: tuple[Path, list[StepOutcome]], tmp_path: Path) -> None:
    study = read_study(str(done[0] / "study.yaml"), [f"report.out={tmp_path}"])
    for text in ("{", "[]", '{"a": 1}', "\xff"):
        (tmp_path / FILE).write_bytes(text.encode("latin-1"))
        assert states(study)["report"] == "missing"


def test_all_steps_share_the_ray_that_the_first_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    said: list[str] = []
    alive = {"now": False}

    def start(session: Any, ray: Any) -> None:
        said.append("start")
        alive["now"] = True

    def stop() -> None:
        said.append("stop")
        alive["now"] = False

    monkeypatch.setattr(session.RaySession, "_start_local", start)
    monkeypatch.setattr(ray, "is_initialized", lambda: alive["now"])
    monkeypatch.setattr(ray, "shutdown", stop)
    local = Cluster(address="local")
    with session.shared_ray():
        assert said == []
        for _ in range(3):
            with session.RaySession(local):
                pass
        assert said == ["start"]
    assert said == ["start", "stop"]
    with session.RaySession(local):
        pass
    assert said == ["start", "stop"] * 2
    with session.shared_ray():
        pass
    assert said == ["start", "stop"] * 2


@pytest.mark.ray
@pytest.mark.usefixtures("ray_here")
def test_a_study_on_ray_is_the_study_in_this_process(done: tuple[Path, list[StepOutcome]], tmp_path: Path) -> None:
    ended = run_study(read_study(str(write_study(tmp_path, address="local"))))
    check_outcomes(ended)
    assert ended[1].left == done[1][1].left
    assert contents(tmp_path / "study.zarr") == contents(done[0] / "study.zarr")


def grown(*folders: Path) -> int:
    return sum(len(names) for folder in folders for _, _, names in os.walk(folder))


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_study_killed_at_random_points_ends_with_the_same_report(
    start: Start, done: tuple[Path, list[StepOutcome]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    """A kill falls when store and report together have grown by so many files, so in every step."""
    # The report names the store: both runs are of the same words, in folders of their own.
    here = {"store": "study.zarr", "report": {"out": "report"}}
    rng = random.Random(kills)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
        write_study(folder, **here)
    shutil.copytree(done[0] / "study.zarr", whole / "study.zarr")
    monkeypatch.chdir(whole)
    check_outcomes(run_study(read_study("study.yaml")))
    total = grown(whole / "study.zarr", whole / "report")
    monkeypatch.chdir(cut)
    for point in sorted(rng.sample(range(1, total), kills)):
        process = start(["run", "study.yaml"])
        for _ in looks(DEADLINE):
            if process.poll() is not None or grown(cut / "study.zarr", cut / "report") >= point:
                break
        process.kill()
    process = start(["run", "study.yaml"])
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, said
    assert files(cut / "report") == files(whole / "report")
    gc(str(cut / "study.zarr"))
    assert contents(cut / "study.zarr") == contents(whole / "study.zarr")


def test_results_of_one_analysis_are_told_apart_by_what_was_typed(tmp_path: Path) -> None:
    """Both are of last layers only, of all that the patterns choose."""
    cells = ["a@32=vit,one", "b@32=vit,two", "c@32=convnext,one", "d@32=convnext,two"]
    models = zip("abcd", ("test_vit", "test_vit", "test_convnext", "test_convnext"), strict=True)
    backbones = [{"model": f"{name}={model}", "weights": "random"} for name, model in models]

    def study(*asked: tuple[str, list[str]]) -> Study:
        analyses = [{"two-way": {"of": of, "cell": cells, "taps": taps}} for of, taps in asked]
        return read_study(str(write_study(tmp_path, backbones=backbones, analyses=analyses)))

    run_study(study(("spectra", TAPS)))
    assert {*states(study(("spectra", TAPS))).values()} == {"done"}
    assert [*states(study(("spectra", TAPS), ("similarity", TAPS))).values()][:3] == ["done", "done", "missing"]
    assert [*states(study(("spectra", TAPS[:2]))).values()][1] == "missing"
    cells[0] = "zz=vit,one"
    with pytest.raises(UnknownNameError, match="backbone of the study in a cell: 'zz'") as caught:
        states(study(("spectra", TAPS)))
    assert "study.yaml:" in str(caught.value.where)


def test_layers_without_a_grid_make_no_step_that_is_never_done(tmp_path: Path) -> None:
    """At 32 pixels the last stage of the one network is a single position, which a spectrum leaves out."""
    extract = {"image_size": 32, "unit": 8, "batch_size": 8, "view": "maps"}
    study = read_study(str(write_study(tmp_path, extract=extract)))
    run_study(study)
    assert {*states(study).values()} == {"done"}
    (item,) = collect(FeatureStore.open(str(tmp_path / "study.zarr")), "study.zarr")
    taps = {layer["tap"] for layer in item.result.attrs["layers"]}
    assert "stages.2.blocks.0" in taps
    assert "stages.3.blocks.0" not in taps
    assert "--taps" not in item.command
