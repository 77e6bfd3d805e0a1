"""Bars of jobs on a terminal: several at a time share it."""

from __future__ import annotations

import io
import sys

import pytest

from cvbench.cli.display import progress
from cvbench.jobs.running.progress import Advanced, Ended, Started


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_of_two_jobs_stand_below_each_other_and_results_stay_on_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    err, out = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(sys, "stdout", out)
    with progress() as first, progress() as second:
        first(Started("extract", "a", 10, 1, 0))
        second(Started("extract", "b", 20, 2, 0))
        second(Advanced("extract", 0, 5))
        first(Advanced("extract", 0, 10))
        print("a result")
        first(Ended("extract"))
        second(Advanced("extract", 1, 15))
        second(Ended("extract"))
    last = err.getvalue().splitlines()[-3:-1]  # behind them the cursor is shown again
    assert "extract a" in last[0]
    assert "10/10" in last[0]
    assert "extract b" in last[1]
    assert "20/20" in last[1]
    assert out.getvalue() == "a result\n"
    before = len(err.getvalue())
    with progress() as third:  # the bars of jobs that are over are not drawn again
        third(Started("report", "c", 1, 1, 0))
    assert "extract" not in err.getvalue()[before:]
