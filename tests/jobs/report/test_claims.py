"""Claims in a report and by themselves: the same verdicts on the page, in the JSON and on the terminal."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cvbench.cli.app import app
from cvbench.engine.analyses.base import Result as Kept
from cvbench.errors import CvbenchError, DataUnavailableError
from cvbench.jobs.claims.judge import RULE
from cvbench.jobs.claims.published import published
from cvbench.jobs.report import report
from cvbench.jobs.report.claims import by_paper, claim_lines, judge_store, row_anchors
from cvbench.storage.features import FeatureStore
from tests.cli.test_hints import parsed
from tests.jobs.report.page import Page
from tests.jobs.report_store import put, small_cka, small_silhouette

HOSTILE = 'features <img src=x onerror="alert(1)">'


def store(name: str, space: str = "features standardised") -> FeatureStore:
    """CKA over all positions, which answers claims of two papers, and silhouettes of birds, which answer another's."""
    opened = FeatureStore.open(f"memory://claims-{name}", mode="a")
    put(opened, small_cka({"vit_small": 8, "convnext_tiny": 8}, batches=12), "a1", view="maps")
    scores = small_silhouette({"convnext_tiny": 1, "vit_small": 1}, ("wren", "finch"))
    put(opened, scores, "b1", dataset="cub200", space=space)
    return opened


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["claims", *words])


def run_report(*words: str) -> Result:
    return CliRunner().invoke(app, ["report", *words])


def summary(html: str) -> str:
    return html.partition('<header id="summary">')[2].partition("</header>")[0]


def test_the_page_begins_with_the_claims(tmp_path: Path) -> None:
    html = report(store("page").url, str(tmp_path)).page.read_text(encoding="utf-8")
    page, head = Page(html), summary(html)
    assert head.index('<h2 id="claims">') < head.index("What is seen in each result")
    assert RULE in page.text
    anchors = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    links = re.findall(r'<a href="#([\w-]+)">', head.partition('id="claims"')[2].partition("What is seen")[0])
    sections, rows = ({link for link in links if link.startswith("row-") is row} for row in (False, True))
    assert sections == {"cka-birds-test-a1", "silhouette-cub200-test-b1"} <= anchors
    assert rows <= anchors
    assert {"#claims"} <= {attrs["href"] for attrs in page.all("a")}
    for line in claim_lines(judge_store(store("page").url).outcomes, {}):
        shown = (line.estimator, line.interval, line.value, line.subject) if line.run else (line.command,)
        for text in (line.sentence, line.reason, *shown):
            assert text in page.text, line


def test_a_claim_is_one_line_with_its_answers_folded(tmp_path: Path) -> None:
    head = summary(report(store("lines").url, str(tmp_path)).page.read_text(encoding="utf-8"))
    folds = re.findall(r'<details class="claim[^>]*><summary>(.*?)</summary>(.*?)</details>', head, re.DOTALL)
    judged = [one for one in judge_store(store("lines").url).outcomes if one.judged]
    assert len(folds) == len({(one.claim.source, one.claim.sentence) for one in judged})
    assert sum(folded.count("<tr>") - 1 for _, folded in folds) == len(judged)
    for line, folded in folds:
        shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", line))
        answers = [one for one in claim_lines(judged, {}) if one.sentence in unescape(shown)]
        assert answers, shown
        for one in answers:
            assert one.verdict in shown
            assert one.value in folded
        if len(answers) == 1:
            assert answers[0].found in shown
        else:
            assert f"{len(answers)} answers" in shown


def test_several_answers_are_counted_by_verdict() -> None:
    one = next(one for one in judge_store(store("counted").url).outcomes if one.judged and one.row is not None)
    lines = claim_lines([replace(one, value=value) for value in (0.3, -0.1)], {})
    other = replace(lines[1], verdict="not resolved")
    ((found,),) = by_paper([lines[0], other]).values()
    assert dict(found.verdicts) == Counter([lines[0].verdict, "not resolved"])
    assert found.found == f"{other.value} to {lines[0].value}, 2 answers"


def test_a_claim_leads_to_the_row_that_answers_it(tmp_path: Path) -> None:
    made = report(store("rows").url, str(tmp_path))
    html = made.page.read_text(encoding="utf-8")
    judged = [one for one in judge_store(store("rows").url).outcomes if one.judged]
    named = row_anchors(judged)
    assert named
    for one in claim_lines(judged, {}, named):
        (found,) = re.findall(rf'<tr id="{one.row}">(.*?)</tr>', html, re.DOTALL)
        shown = re.sub(r"<[^>]+>", "", found)
        assert one.metric in shown, one
        assert one.value.lstrip("-") in shown, one  # a difference may stand the other way round there
    links = re.findall(r'<a href="#(row-\d+)">', html)
    assert {*links} == {*named.values()}


def no_number(result: Kept) -> None:
    dims, values = result.data["silhouette"]
    result.data["silhouette"] = dims, np.full(values.shape, "x")


def harmed(name: str, value: object) -> Callable[[Kept], None]:
    return lambda result: result.attrs.update({name: value})


@pytest.mark.parametrize(
    "harm",
    [
        no_number,
        harmed("layers", [[1], {"backbone": ["a"], "tap": {}}]),
        harmed("layers", [{"backbone": "../x", "tap": "a"}]),
        harmed("layers", 3),
        harmed("view", {"a": 1}),
        harmed("samples", "x"),
        harmed("samples_in_units", "x"),
        harmed("differences", 3),
        harmed("notes", 3),
    ],
)
def test_a_result_that_somebody_else_made_ends_no_report(tmp_path: Path, harm: Callable[[Kept], None]) -> None:
    """Its digests are right; what it holds is not what any version writes."""
    opened = FeatureStore.open(f"memory://claims-{tmp_path.name}", mode="a")
    put(opened, small_cka({"vit_small": 8, "convnext_tiny": 8}, batches=12), "a1", view="maps")
    scores = small_silhouette({"convnext_tiny": 1, "vit_small": 1}, ("wren", "finch"))
    changed = Kept(scores.name, scores.coords, dict(scores.data), {"view": "pooled", **scores.attrs})
    harm(changed)
    path = put(opened, changed, "b1", "cub200", **changed.attrs)
    assert judge_store(opened.url).as_dict()["claims"]
    done = CliRunner().invoke(app, ["report", "--store", opened.url, "--out", str(tmp_path)])
    assert done.exception is None or isinstance(done.exception, CvbenchError), repr(done.exception)
    assert done.exception is None or path in str(done.exception.where)


def test_commands_name_the_store(tmp_path: Path) -> None:
    """Pasted without it, they would fill another."""
    place = tmp_path / "a store.zarr"
    put(FeatureStore.open(place, "a"), small_silhouette({"convnext_tiny": 1, "vit_small": 1}, ("wren", "finch")), "b1")
    printed = run("--store", str(place))
    commands = re.findall(r": (cvbench .*)", printed.stdout)
    listed = [one["command"] for one in json.loads(run("--store", str(place), "--format", "json").stdout)["claims"]]
    assert len(commands) > 20
    for line in [*commands, *filter(None, listed)]:
        words = shlex.split(line)
        assert words[-2:] == ["--store", str(place)], line
        parsed(words)


def test_the_tables_have_them_too(tmp_path: Path) -> None:
    made = report(store("tables").url, str(tmp_path))
    (path,) = (path for path in made.tables if path.suffix == ".json")
    listed = json.loads(path.read_text(encoding="utf-8"))
    (typed,) = [json.loads(run("--store", store("tables").url, "--format", "json").stdout)]
    assert listed["claims"] == typed["claims"]
    assert typed["rule"] == RULE
    assert typed["sides"] == {"convnext_tiny": "convolutional", "vit_small": "transformer"}
    assert list(dict.fromkeys(one["id"] for one in typed["claims"])) == [claim.id for claim in published()]
    rows = [row for row in listed["rows"] if row["kind"] == "difference"]
    by_id: dict[str, Any] = {one["id"]: one for one in typed["claims"]}
    (row,) = (row for row in rows if row["analysis"] == "cka" and row["factor"].startswith("first quarter"))
    one = by_id["study-shallow-deep"]
    assert (one["backbone"], one["backbone_b"]) == ("convnext_tiny", "vit_small")
    assert (row["backbone"], row["value"], row["low"], row["high"]) == (
        "vit_small",
        -one["value"],
        -one["high"],
        -one["low"],
    )
    assert one["run"] == row["run"]
    assert by_id["study-fine-silhouette"]["verdict"] != "not run"
    assert by_id["study-coarse-silhouette"]["verdict"] == "not run"


def test_what_a_result_says_is_only_text(tmp_path: Path) -> None:
    html = report(store("hostile", HOSTILE).url, str(tmp_path)).page.read_text(encoding="utf-8")
    page = Page(html)
    assert HOSTILE not in html
    assert f"cub200/test, euclidean, {HOSTILE}" in page.text
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]


def test_a_page_without_a_claim_that_could_be_judged_has_no_claims(tmp_path: Path) -> None:
    opened = FeatureStore.open("memory://claims-none", mode="a")
    put(opened, small_cka({"mine": 2, "yours": 2}), "a1", view="maps")
    html = report(opened.url, str(tmp_path)).page.read_text(encoding="utf-8")
    assert 'id="claims"' not in html
    assert "#claims" not in html
    listed = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["claims"]
    assert {one["verdict"] for one in listed} == {"not run"}


def test_the_page_judges_claims_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[[paper]]\nsource = "my own expectation"\nfamily = "mine"\n\n[[paper.claim]]\nid = "mine-1"\n'
        'sentence = "Birds lie apart in mine"\nplace = "nowhere"\nanalysis = "silhouette"\n'
        'missing = "nobody has looked"\n'
    )
    url = store("own").url
    made = run_report("--store", url, "--out", str(tmp_path / "out"), "--claims", str(own))
    assert made.exit_code == 0, made.output
    assert "Birds lie apart in mine" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    listed = json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))["claims"]
    assert [one["id"] for one in listed][-1] == "mine-1"
    absent = run_report("--store", url, "--out", str(tmp_path / "none"), "--claims", str(tmp_path / "no.toml"))
    assert isinstance(absent.exception, CvbenchError)
    assert not (tmp_path / "none").exists(), "it is refused before anything is written"


def test_the_terminal_says_what_is_run_and_what_is_not() -> None:
    shown = run("--store", store("terminal").url)
    assert shown.exit_code == 0, shown.output
    first, _, rest = shown.stdout.partition("not run:")
    assert "convnext_tiny less vit_small, birds/test, first quarter against last quarter" in first
    assert "it gives 0.130 against 0.113" in first
    assert "there is no result of pug: cvbench eval pug" in rest
    assert RULE in rest


def test_unknown_networks_are_named() -> None:
    opened = FeatureStore.open("memory://claims-unknown", mode="a")
    put(opened, small_cka({"mine": 2, "vit": 2}), "a1", view="maps")
    assert "backbones on neither side by their names, so left out: mine" in run("--store", opened.url).stdout
    judged = {one.claim.id: one.reason for one in judge_store(opened.url).outcomes}
    assert judged["raghu-shallow-deep"] == (
        "there is no convolutional network; whether mine is one, its name does not tell"
    )


def test_a_store_without_results_says_what_to_run() -> None:
    FeatureStore.open("memory://claims-empty", mode="a")
    found = run("--store", "memory://claims-empty")
    assert isinstance(found.exception, DataUnavailableError)
    assert run("--store", "memory://claims-empty", "--format", "csv").exit_code != 0
