"""What a user installs: the public names, one literal version, and a wheel of real files."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import cvbench

ROOT = Path(__file__).parents[1]
FOLDERS = ("api", "cli", "engine", "jobs", "storage")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return loaded


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy, so that the working tree stays as it is."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for folder in (*FOLDERS, "src"):
        shutil.copytree(
            ROOT / folder, copy / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    out = copy / "dist"
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_exported_names_are_sorted_and_real() -> None:
    assert cvbench.__all__ == sorted(cvbench.__all__)
    missing = [name for name in cvbench.__all__ if not hasattr(cvbench, name)]
    assert missing == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_folder_is_a_package_with_a_purpose(folder: str) -> None:
    module = importlib.import_module(f"cvbench.{folder}")
    assert module.__doc__


def test_version_is_a_literal_and_a_release() -> None:
    tree = ast.parse((ROOT / "src/cvbench/__init__.py").read_text())
    literals = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and [t.id for t in node.targets if isinstance(t, ast.Name)] == ["__version__"]
    ]
    assert literals == [cvbench.__version__]
    assert re.fullmatch(r"\d+\.\d+\.\d+", cvbench.__version__)


def test_the_changelog_has_this_version() -> None:
    assert f"## {cvbench.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_wheel_holds_every_source_file_as_a_real_file(wheel: zipfile.ZipFile) -> None:
    expected = {
        f"cvbench/{path.relative_to(ROOT)}": path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")
    } | {f"cvbench/{path.name}": path for path in (ROOT / "src/cvbench").glob("*.py*")}
    held = set(wheel.namelist())
    assert not expected.keys() - held
    for name, path in expected.items():
        info = wheel.getinfo(name)
        assert (info.external_attr >> 28) != 0xA, f"{name} is a link"
        assert wheel.read(info) == path.read_bytes()


def test_the_wheel_puts_only_cvbench_into_an_environment(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"cvbench", f"cvbench-{cvbench.__version__}.dist-info"}


def test_the_wheel_is_typed_licensed_and_has_the_command(wheel: zipfile.ZipFile) -> None:
    info = f"cvbench-{cvbench.__version__}.dist-info"
    assert "cvbench/py.typed" in wheel.namelist()
    assert b"Apache License" in wheel.read(f"{info}/licenses/LICENSE")
    assert b"cvbench = cvbench.cli:main" in wheel.read(f"{info}/entry_points.txt")
    assert f"Version: {cvbench.__version__}\n".encode() in wheel.read(f"{info}/METADATA")


def test_the_wheel_works_without_an_install(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = "import cvbench, cvbench.errors; print(cvbench.__version__, cvbench.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    version, file = done.stdout.split()
    assert version == cvbench.__version__
    assert Path(file).is_relative_to(tmp_path)


def test_every_dependency_has_a_tested_version_within_its_range(project: dict[str, Any]) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    extras = project["project"]["optional-dependencies"]
    for text in [*project["project"]["dependencies"], *extras["dev"], *extras["docs"]]:
        wanted = Requirement(text)
        if wanted.name == "cvbench":  # an extra that is in another
            continue
        pin = pins.get(canonicalize_name(wanted.name))
        assert pin is not None, f"{wanted.name} has no pin"
        assert wanted.specifier.contains(pin), f"{wanted} excludes the tested {pin}"


def test_the_lock_has_every_tested_version_with_a_hash() -> None:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    found = [re.fullmatch(r"([a-z0-9-]+==\S+) --hash=sha256:([0-9a-f]{64})", line) for line in lines]
    assert all(found), "a line is no package with its hash"
    locked = {one[1]: one[2] for one in found if one}
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    versions = {canonicalize_name(name): version for name, version in (pin.split("==") for pin in pins)}
    held = dict(pin.split("==") for pin in locked)
    assert {name: held.get(name) for name in versions} == versions
    beside = held.keys() - versions.keys()
    assert all(name.startswith(("nvidia-", "cuda-")) or name == "triton" for name in beside), beside
    assert len(set(locked.values())) == len(lines), "two packages with one hash"
    assert "://" not in (ROOT / "requirements.lock").read_text(), "it names no index"


def test_what_is_pinned_runs_on_the_oldest_python(project: dict[str, Any]) -> None:
    """Else pip looks for other versions that fit together, without end: Debian 12 has 3.11.2."""
    oldest = project["project"]["requires-python"].removeprefix(">=") + ".0"
    installed = {canonicalize_name(one.name): one for one in distributions()}
    pins = (line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#"))
    wanted = {
        # Of one that states none, `[]` gives None here and raises once a backport of the library is imported.
        pin: ",".join(installed[name].metadata.get_all("Requires-Python") or [])
        for pin in pins
        if (name := canonicalize_name(pin.split("==")[0])) in installed
    }
    assert [pin for pin, asked in wanted.items() if not SpecifierSet(asked).contains(oldest)] == []


def test_floors_exclude_releases_with_known_holes(project: dict[str, Any]) -> None:
    floors = {Requirement(text).name: Requirement(text).specifier for text in project["project"]["dependencies"]}
    assert not floors["ray"].contains("2.53.0")  # CVE-2026-27482
    assert not floors["torch"].contains("2.5.1")  # CVE-2025-32434
    assert not floors["pillow"].contains("12.2.0")  # CVE-2026-55380


def test_volta_fits_the_declared_range(project: dict[str, Any]) -> None:
    """The README promises V100 clusters, whose last torch in the registry is 2.10."""
    torch = next(r for r in map(Requirement, project["project"]["dependencies"]) if r.name == "torch")
    assert torch.specifier.contains("2.10.0")
