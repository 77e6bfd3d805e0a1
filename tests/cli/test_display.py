"""Bars of jobs on a terminal: several at a time share it."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.progress import Progress

from cvbench.cli.display import progress, time_left
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


@pytest.mark.parametrize("width", [40, 80, 100, 160])
def test_a_bar_has_one_line_at_any_width(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("COLUMNS", str(width))
    name = "convnext_base.fb_in22k_ft_in1k_384 on a/train"
    with progress() as listen:
        listen(Started("transfer finetune", name, 100_000, 1000, 0))
        listen(Advanced("transfer finetune", 0, 100_000))
        listen(Ended("transfer finetune"))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err.getvalue())
    lines = [line for line in re.split(r"[\r\n]", text) if line.strip()]
    assert all(line.lstrip().startswith("transfer") for line in lines), "each line is a whole bar"
    assert max(map(len, lines)) <= width
    assert "100000/100000" in lines[-1]
    assert lines[-1].rstrip().endswith("in below 1 s")
    assert ("samples/s" in lines[-1]) is (width >= 100)


def test_the_time_left_is_known_after_the_first_step() -> None:
    """Two layers: the first one took 90 s. What was there already took none."""
    now = [0.0]
    bars = Progress(get_time=lambda: now[0])
    task = bars.add_task("probe", total=12, completed=10, skipped=10)

    def said() -> str:
        return time_left(bars.tasks[0])

    now[0] = 60.0
    assert said() == "1.0 min so far"
    now[0] = 90.0
    bars.update(task, advance=1)
    assert said() == "1.5 min left"
    now[0] = 180.0
    bars.update(task, advance=1)
    assert said() == "in 3.0 min"
