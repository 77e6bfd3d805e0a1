"""The name under which a store keeps a data set leads back to the spec that opens it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvbench.storage.datasets import READERS, dataset_info, open_dataset, path_of_spec, spec_of_key
from cvbench.storage.datasets.base import Variants
from cvbench.storage.datasets.forms import form_of
from tests.storage.datasets import transfer_trees as trees

FORMS = [
    form_of(reader.info, label, reader.forms)
    for reader in READERS.values()
    if isinstance(reader, Variants)
    for label in reader.forms[:: max(1, len(reader.forms) // 25)]
]
"""Of every reader with forms, some twenty-five of them, or all."""


def test_every_form_leads_back() -> None:
    assert len(FORMS) > 30, "dtd and sun397 alone have 22"
    for form in FORMS:
        assert spec_of_key(form.name) == form.spec
        assert spec_of_key(f"{form.name}.scale-1.25") == f"{form.spec}+scale=1.25"
        assert dataset_info(spec_of_key(form.name)) == dataset_info(form.spec)


@pytest.mark.parametrize("spec", ["dtd", "dtd:2", "dtd:2+scale=2"])
def test_an_opened_data_set_leads_back(tmp_path: Path, spec: str) -> None:
    trees.write_dtd(tmp_path / "dtd" / "dtd")
    opened = open_dataset(spec, data_root=tmp_path)
    assert spec_of_key(opened.name) == opened.spec == spec


@pytest.mark.parametrize("name", [*READERS, "folder-birds", "dtd-1", "dtd-11", "dtd-", "mine.scale-2"])
def test_any_other_name_stays(name: str) -> None:
    assert spec_of_key(name) == name


@pytest.mark.parametrize("spec", ["", "nowhere:{here}", "{here}"])
def test_the_path_of_a_spec_that_is_none_is_not_looked_for(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store of images that are drawn records no spec: its extraction would list the folder it is called in."""
    (tmp_path / "birds").mkdir()
    assert path_of_spec("folder:birds") == "birds"  # and what readers there are is known from here on
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.scandir", lambda path: pytest.fail(f"{path} is listed"))
    monkeypatch.setattr("os.listdir", lambda path: pytest.fail(f"{path} is listed"))
    assert path_of_spec(spec.format(here=tmp_path)) is None
