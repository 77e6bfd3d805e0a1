"""A node with other packages than the command's: refused, with both versions, before anything is computed.

What is there then is the plan alone: the driver's sample table and fingerprints.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import cvbench
from tests.cluster.nodes import LoopbackCluster, loopback
from tests.cluster.test_kills import pets as pets  # a fixture
from tests.cluster.test_kills import words_of

pytestmark = [pytest.mark.ray, pytest.mark.skipif(sys.platform != "linux", reason="process groups of Linux")]
DEADLINE = 400
OTHER = "0.0.7"


@pytest.fixture(scope="module")
def cluster() -> Iterator[LoopbackCluster]:
    with loopback() as found:
        yield found


def installed(package: str, folder: Path) -> str:
    """An environment in which a package has another version: a folder that comes before all others."""
    folder.mkdir()
    if package == "cvbench":  # another cvbench indeed: the workers import it from there
        shutil.copytree(Path(cvbench.__file__).parent, folder / "cvbench")
        file = folder / "cvbench" / "__init__.py"
        file.write_text(file.read_text().replace(f'"{cvbench.__version__}"', f'"{OTHER}"'))
    else:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        here = Path(spec.origin).parent
        for beside in (here, here.parent / f"{package}.libs", here.parent / "nvidia"):
            if beside.exists():
                (folder / beside.name).symlink_to(beside)
        about = folder / f"{package}-{OTHER}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {OTHER}\n")
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.mark.parametrize("package", ["cvbench", "torch", "numpy"])
def test_a_node_of_other_versions_computes_nothing(
    package: str, pets: Path, tmp_path: Path, cluster: LoopbackCluster
) -> None:
    here = cvbench.__version__ if package == "cvbench" else version(package).partition("+")[0]
    node = cluster.add(more={"PYTHONPATH": installed(package, tmp_path / "other")})
    store = tmp_path / "store.zarr"
    process = cluster.start(words_of(pets, store, "auto"))
    _, said = process.communicate(timeout=DEADLINE)
    node.kill()
    assert process.returncode == 8, said
    assert os.uname().nodename in said
    assert f"{package} {OTHER} instead of {here}" in said
    assert "constraints.txt" in said
    assert "--wheel" in said
    assert "Traceback" not in said
    written = [path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file()]
    computed = [name for name in written if "/c." in name and "/samples/" not in name]
    assert computed == [name for name in written if "/commits/" in name] == []
