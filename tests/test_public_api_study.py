"""A study through the public API."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cvbench
from cvbench.errors import IncompleteError
from tests.commands import cli
from tests.jobs.study.studies import write_study


def test_a_study_runs_and_its_status_is_told(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    before = cvbench.status(path)
    assert {step.state for step in before.steps} == {"missing"}
    assert not before.done
    study = cvbench.run(path, set={"analyses": [{"spectra": {"resamples": 20}}]})
    assert study.done
    assert [step.name for step in study.steps] == ["extract digits/test", "analyze spectra digits/test", "report"]
    (spectra,) = study.results
    assert study.steps[1].paths == spectra.paths
    assert (tmp_path / "report" / "report.html").exists()
    listed = json.loads(cli(f"cvbench status {path} --format json --set 'analyses=[spectra: {{resamples: 20}}]'"))
    after = cvbench.status(path, set=["analyses=[spectra: {resamples: 20}]"])
    assert [step.state for step in after.steps] == [step["state"] for step in listed["steps"]] == ["done"] * 3
    assert repr(after) == f"Study({str(path)!r}: 3 steps, 3 done)"
    assert list(after.to_pandas()["state"]) == ["done"] * 3


def test_a_study_with_a_failing_step_raises_or_says_so(tmp_path: Path) -> None:
    path = write_study(tmp_path, datasets=[{"dataset": f"folder:{tmp_path}/none"}])
    with pytest.raises(IncompleteError, match="1 of 3 steps failed"):
        cvbench.run(path)
    study = cvbench.run(path, check=False)
    assert [step.state for step in study.steps] == ["failed", "skipped", "skipped"]
    assert study.steps[0].error["code"] == "data-unavailable"
    assert not study.done
