"""Where a command runs that says nothing of it, and on which device of a cluster."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.running import place
from cvbench.jobs.running.device import choose
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.place import settle
from cvbench.jobs.running.places import unpacked, wheel_file
from cvbench.jobs.running.supply import cores_for_each, places


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def with_gpus(patch: pytest.MonkeyPatch, count: int) -> None:
    patch.setattr("cvbench.jobs.running.place.may_have_gpu", lambda: True)
    patch.setattr(torch.cuda, "is_available", lambda: count > 0)
    patch.setattr(torch.cuda, "device_count", lambda: count)


def test_torch_is_asked_only_where_a_driver_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr("cvbench.jobs.running.place.sys.platform", "linux")
    monkeypatch.setattr("cvbench.jobs.running.place._DRIVERS", (str(tmp_path / "nvidiactl"),))
    assert settle("auto", "auto", None) == "none"
    assert choose("auto", "none").device == "cpu"
    (tmp_path / "nvidiactl").touch()
    assert settle("auto", "auto", None) == "local"
    (tmp_path / "nvidiactl").unlink()
    monkeypatch.setattr("cvbench.jobs.running.place.sys.platform", "win32")
    assert settle("auto", "auto", None) == "local"


@pytest.mark.parametrize(
    ("gpus", "device", "actors", "meant"),
    [
        (0, "auto", None, "none"),
        (1, "auto", None, "none"),
        (1, "cuda", None, "none"),
        (4, "auto", None, "local"),
        (4, "auto", 1, "none"),
        (4, "cpu", None, "none"),
        (0, "cpu", 2, "local"),
    ],
)
def test_this_process_unless_there_is_more_than_it_could_use(
    monkeypatch: pytest.MonkeyPatch, gpus: int, device: str, actors: int | None, meant: str
) -> None:
    with_gpus(monkeypatch, gpus)
    assert settle("auto", device, actors) == meant
    assert Hardware(device=device, gpus=actors).settled().address == meant


@pytest.mark.parametrize("gpus", [0, 4])
def test_the_cluster_that_the_environment_names(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    with_gpus(monkeypatch, gpus)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.7:6379")
    assert settle("auto", "auto", None) == "10.0.0.7:6379"
    for said in ("none", "local", "10.0.0.8:6379"):  # what is typed goes before
        assert settle(said, "auto", None) == said
    monkeypatch.setenv("RAY_ADDRESS", " ")
    assert settle("auto", "cpu", None) == "none"


def test_the_page_of_a_cluster_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(UsageError, match="is the page of a cluster") as caught:
        settle("auto", "auto", None)
    assert "ray job submit -- cvbench" in str(caught.value.fix)


def test_only_who_says_nothing_may_spill(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 0)
    monkeypatch.setattr(place, "cores_here", lambda: 8)
    assert Hardware().cluster().spills
    said = (Hardware("none"), Hardware(threads=3), Hardware("local"), Hardware(gpus=1))
    assert not any(one.cluster().spills for one in said)
    assert [one.cluster().threads for one in said] == [1, 3, 1, 1]
    monkeypatch.setattr(place, "cores_here", lambda: 1)
    assert not Hardware().cluster().spills


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 0)
    assert choose("auto", "none").device == "cpu"
    assert choose("cpu", "10.0.0.1:6379").device == "cpu"  # nothing is asked of the cluster
    for address in ("local", "10.0.0.1:6379"):
        with pytest.raises(UnknownNameError, match="gpu"):
            choose("gpu", address)


def test_what_fits_on_nodes() -> None:
    nodes: list[dict[str, float]] = [{"CPU": 8.0}, {"CPU": 32.0, "GPU": 4.0}, {"CPU": 6.0, "GPU": 1.0, "memory": 1e9}]
    assert cores_for_each(nodes) == 6
    assert cores_for_each(nodes[:1]) is None
    assert places({"GPU": 1, "CPU": 6}, nodes) == 5
    assert places({"GPU": 1, "CPU": 0}, nodes) == 5
    assert places({"GPU": 1, "CPU": 16}, nodes) == 2
    assert places({"CPU": 4}, nodes) == 2 + 8 + 1


def test_a_wheel_is_a_file(tmp_path: Path) -> None:
    assert wheel_file(None) is None
    wheel = tmp_path / "cvbench-1-py3-none-any.whl"
    with pytest.raises(UsageError, match="no wheel"):
        wheel_file(str(wheel))
    wheel.touch()
    assert wheel_file(str(wheel)) == str(wheel)
    with pytest.raises(UsageError, match="cannot be read"), unpacked(str(wheel)):
        pass
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("other/__init__.py", "")
    with pytest.raises(UsageError, match="no package cvbench"), unpacked(str(wheel)):
        pass
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("cvbench/__init__.py", "cvbench/../../out.py", "cvbench-1.dist-info/METADATA"):
            archive.writestr(name, "")
    with unpacked(str(wheel)) as package:
        assert [path.name for path in package.parent.iterdir() if path.name != "cvbench"] in ([], ["out.py"])
        assert not (package.parent.parent / "out.py").exists()
    assert not package.exists()
