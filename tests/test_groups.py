"""Tests are handed to several processes in groups: a file, or all files that ask for what is dear to make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.groups import FIRST, GroupScheduling, group_of, rank


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        ("tests/test_texts.py::test_what_it_would_not_run_stays[a=1]", "tests/test_texts.py"),
        ("tests/test_texts.py::TestOf::test_one[a::b@c]", "tests/test_texts.py"),
        ("src/cvbench/texts.py::cvbench.texts.quoted", "src/cvbench/texts.py"),
        ("tests/jobs/running/test_executor.py::test_devices", "ray_here"),
        ("tests/jobs/analyses/test_cam.py::test_eigencam_needs_no_class_and_says_so", "ray_here"),
        ("tests/cluster/test_kills.py::test_any", "tests/cluster/test_kills.py"),
    ],
)
def test_the_group_of_a_test(nodeid: str, group: str) -> None:
    assert group_of(nodeid) == group
    assert GroupScheduling._split_scope(object.__new__(GroupScheduling), nodeid) == group


def test_long_groups_come_first(request: pytest.FixtureRequest) -> None:
    assert [rank(name) for name in (*FIRST, "tests/test_texts.py")] == [0, 1, 2]
    assert all(name == "ray_here" or (request.config.rootpath / name).is_file() for name in FIRST)


def test_every_file_that_asks_for_the_one_ray_is_in_its_group(request: pytest.FixtureRequest) -> None:
    items: list[Any] = request.session.items
    asking = {item.nodeid for item in items if "ray_here" in getattr(item, "fixturenames", ())}
    assert {group_of(nodeid) for nodeid in asking} <= {"ray_here"}


def test_a_file_in_two_processes_is_an_error(
    only_here: Callable[[str], None], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for _ in range(2):  # its functions, and its doctests
        only_here("this test")
    (tmp_path_factory.getbasetemp().parent / "claimed-elsewhere").touch()
    if not getattr(request.config.option, "loadgroup", False):
        only_here("elsewhere")  # one process: nothing to share, and nothing is refused
        return
    with pytest.raises(AssertionError, match="two processes"):
        only_here("elsewhere")
