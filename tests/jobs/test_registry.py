"""The registry of sections, and what sections share."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from cvbench.jobs.registry import SECTIONS, section_of
from cvbench.jobs.results.tidy import bootstrap_options, end_layers, selection_options, tidy_row
from tests.jobs.report_store import small_cka


@pytest.mark.parametrize("analysis", SECTIONS)
def test_a_section_explains_its_own_analysis(analysis: str) -> None:
    section = section_of(analysis)
    assert section is not None
    assert section.analysis == analysis
    assert section.title
    assert section.about.endswith(".")
    assert "\n" not in section.about
    assert "  " not in section.about


def test_titles_are_told_apart() -> None:
    titles = [section.title for section in map(section_of, SECTIONS) if section is not None]
    assert len(titles) == len(set(titles)) >= 3


def test_an_analysis_without_a_section() -> None:
    assert section_of("unheard-of") is None


def test_a_module_that_lacks_what_it_needs_is_not_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SECTIONS, "cka", "cvbench.jobs.analyses.cka:SECTION")
    monkeypatch.setitem(sys.modules, "cvbench.jobs.figures.cka", None)
    monkeypatch.delitem(sys.modules, "cvbench.jobs.analyses.cka", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"cvbench\.jobs\.figures\.cka"):
        section_of("cka")


def test_the_registry_imports_nothing_heavy() -> None:
    heavy = ("torch", "ray", "zarr", "xarray", "matplotlib", "jinja2", "pyarrow", "cvbench.jobs.analyses.cka")
    code = f"import sys, cvbench.jobs.registry; sys.exit(str([n for n in {heavy} if n in sys.modules] or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_layers_are_named_unless_they_are_all() -> None:
    result = small_cka({"vit": 2, "cnn": 1})
    named = replace(result, attrs={**result.attrs, "dataset": "birds", "split": "test"})
    every = replace(named, attrs={**named.attrs, "all_taps": True})
    both = ["--dataset", "birds", "--split", "test", "--backbone", "vit", "--backbone", "cnn"]
    assert selection_options(every) == both
    assert selection_options(named) == [*both, "--taps", "blocks.0", "--taps", "blocks.1"]
    assert end_layers(result) == [0, 1, 2]
    drawn = replace(result, attrs={**result.attrs, "resamples": 50, "seed": 2})
    assert bootstrap_options(drawn) == ["--resamples", "50", "--seed", "2"]


def test_a_row_has_no_nan() -> None:
    result = small_cka({"vit": 2})
    placed = replace(result, attrs={**result.attrs, "run": "r", "dataset": "d", "split": "s"})
    row = tidy_row(placed, "vit", "m", "f", (1.0, float("nan"), None), 3)
    assert (row.run, row.value, row.low, row.high, row.n, row.n_failed) == ("r", 1.0, None, None, 3, 0)
