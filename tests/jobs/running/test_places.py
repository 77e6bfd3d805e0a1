"""Folders that commands write to, found unfit before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvbench.errors import ResourceError, UsageError
from cvbench.jobs.running.places import check_folder
from cvbench.storage.features import FeatureStore
from tests.storage.small_store import split_info


@pytest.mark.parametrize("inside", ["", "figures", "a/b"])
def test_nothing_else_is_written_into_a_store(tmp_path: Path, inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "s.zarr"
    FeatureStore.open(store, "a").begin(split_info())
    monkeypatch.chdir(tmp_path)
    for out in (store / inside, Path("s.zarr", inside)):
        with pytest.raises(UsageError, match="lies in a feature store") as caught:
            check_folder(str(out))
        assert Path(str(caught.value.where)).resolve() == store
    check_folder("beside")
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"], "nothing stays of a look"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot be written to"):
        check_folder(str(tmp_path / "file" / "out"))
