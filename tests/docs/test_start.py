"""The first page runs as it stands: with a Ray of this machine, which is what commands take if nothing is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.test_runs import START, run_page


@pytest.mark.ray
def test_the_first_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_here: None) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(START)
    assert (tmp_path / "report/report.html").stat().st_size > 100_000
    assert list((tmp_path / "figures").glob("cka-*.svg"))
