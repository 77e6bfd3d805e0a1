"""What `cvbench datasets` does, without its command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cvbench.errors import DataUnavailableError, UnknownNameError
from cvbench.jobs.catalogue.datasets import Problem, describe_dataset, list_datasets, verify
from cvbench.jobs.running.progress import Advanced, Ended, Event, Started
from cvbench.storage.datasets import dataset_names
from tests.storage.datasets.cifar_tree import PER_FILE, write_cifar
from tests.storage.datasets.cub_tree import relative, write_cub
from tests.storage.datasets.dataset_suite import jpeg


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    for k, name in enumerate(["jay/a.jpg", "jay/b.jpg", "owl/c.jpg"]):
        path = tmp_path / "birds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(k))
    return tmp_path / "birds"


def kinds(problems: tuple[Problem, ...]) -> dict[str, str]:
    return {problem.where: problem.kind for problem in problems}


def test_list_has_every_data_set_and_where_it_is(tmp_path: Path) -> None:
    write_cub(tmp_path / "cub200")
    rows = {row.info.name: row for row in list_datasets(tmp_path)[0]}
    assert sorted(rows) == dataset_names()
    assert rows["cub200"].found == str(tmp_path / "cub200")
    assert rows["cifar10"].found is None
    json.dumps([row.as_dict() for row in rows.values()])


def test_describe_an_unknown_data_set() -> None:
    with pytest.raises(UnknownNameError):
        describe_dataset("cub201")


def test_verify_digits_finds_nothing_wrong() -> None:
    report = verify("digits", deep=True)
    assert report.ok
    assert report.splits[0].images == report.splits[0].expected == report.splits[0].decoded == 1_797
    assert report.splits[0].bytes == 1_797 * 64
    assert json.loads(json.dumps(report.as_dict()))["ok"] is True


def test_verify_compares_the_counts_with_the_published_ones(tmp_path: Path) -> None:
    write_cub(tmp_path)
    report = verify("cub200", tmp_path)
    assert [(p.kind, p.message) for p in report.problems] == [
        ("count", "8 images, 11,788 were published"),
        ("classes", "3 classes, 200 were published"),
    ]
    assert report.splits[0].split == "all"


def test_verify_takes_every_split_or_the_one_that_is_given(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    assert [(row.split, row.images) for row in verify("cifar10", tmp_path).splits] == [
        ("train", 5 * PER_FILE),
        ("test", PER_FILE),
    ]
    assert [row.split for row in verify("cifar10", tmp_path, "test").splits] == ["test"]


def test_verify_names_every_missing_and_empty_file(tmp_path: Path) -> None:
    write_cub(tmp_path)
    (tmp_path / "images" / relative(3)).unlink()
    (tmp_path / "images" / relative(9)).unlink()
    (tmp_path / "images" / relative(5)).write_bytes(b"")
    found = kinds(verify("cub200", tmp_path).problems)
    assert found[relative(3)] == found[relative(9)] == "missing"
    assert found[relative(5)] == "empty"


def test_only_a_deep_verify_finds_what_cannot_be_decoded(birds: Path) -> None:
    (birds / "jay" / "a.jpg").write_bytes(jpeg(0)[:-300])
    (birds / "jay" / "b.jpg").write_text("<html>404</html>")
    shallow, deep = verify(f"folder:{birds}"), verify(f"folder:{birds}", deep=True, threads=2)
    assert shallow.ok
    assert kinds(deep.problems) == {"jay/a.jpg": "truncated", "jay/b.jpg": "not-an-image"}
    assert deep.splits[0].decoded == 3
    assert deep.splits[0].expected is None


def test_a_deep_verify_tells_how_far_it_is() -> None:
    heard: list[Event] = []
    report = verify("digits", deep=True, threads=2, listen=heard.append)
    started = [event for event in heard if isinstance(event, Started)]
    advanced = [event for event in heard if isinstance(event, Advanced)]
    assert [event.title for event in started] == [f"digits/{row.split}" for row in report.splits]
    assert [event.total for event in started] == [row.images for row in report.splits]
    assert [event.units for event in started] == [len(advanced)]
    assert sum(event.samples for event in advanced) == sum(event.total for event in started)
    assert isinstance(heard[-1], Ended)
    quiet: list[Event] = []
    verify("digits", listen=quiet.append)
    assert not quiet


def test_a_deep_verify_goes_on_past_missing_files(birds: Path) -> None:
    (birds / "jay" / "a.jpg").unlink()
    (birds / "jay" / "a.jpg").symlink_to(birds / "nowhere")
    report = verify(f"folder:{birds}", deep=True)
    assert kinds(report.problems) == {"jay/a.jpg": "missing"}
    assert report.splits[0].decoded == 2


def test_verify_of_a_tree_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError):
        verify("cub200", tmp_path)


def test_verify_of_an_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        verify("digits", split="training")
