"""Verdicts on claims, by rows with planted numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from scipy.stats import norm

from cvbench.jobs.claims.claim import Contrast
from cvbench.jobs.claims.judge import ClaimVerdict, Outcome, judge_claims
from cvbench.jobs.claims.limits import ResultFacts
from cvbench.jobs.claims.sides import side_of
from cvbench.jobs.results.row import CHANCE, REFERENCE, Row
from tests.jobs.claims.rows import CLAIM, SIDES, alone, between

HOLDS, NOT, OPEN, NOT_RUN = ClaimVerdict


def only(row: Row | None, **changes: Any) -> Outcome:
    (found,) = judge_claims([replace(CLAIM, **changes)], [] if row is None else [row], SIDES)
    return found


@pytest.mark.parametrize(
    ("value", "low", "high", "p", "upward", "downward"),
    [
        (0.3, 0.2, 0.4, 0.001, HOLDS, NOT),
        (-0.3, -0.4, -0.2, 0.001, NOT, HOLDS),
        (0.2, -0.3, 0.7, 0.4, OPEN, OPEN),  # wide
        (0.3, 0.01, 0.6, 0.06, OPEN, OPEN),  # p, after Holm within its result, is above 5 %
        (0.02, -0.05, 0.09, 0.6, NOT, NOT),  # wholly within the smallest effect
        (0.05, 0.02, 0.08, 0.001, NOT, NOT),  # resolved, and too small to count
        (0.09, 0.02, 0.16, 0.01, OPEN, NOT),  # resolved; whether it is large enough is open
        (0.2, 0.02, 0.38, 0.03, HOLDS, NOT),  # the estimate is large enough, the interval beyond 0
    ],
)
def test_a_difference(
    value: float, low: float, high: float, p: float, upward: ClaimVerdict, downward: ClaimVerdict
) -> None:
    row = between(value, low, high, p)
    assert only(row).verdict is upward
    assert only(row, direction=-1).verdict is downward


def test_the_order_of_the_backbones_does_not_matter() -> None:
    found = only(between(-0.3, -0.5, -0.2, pair=("vit", "conv")))
    assert (found.verdict, found.first, found.second) == (HOLDS, "conv", "vit")
    assert (found.value, found.low, found.high) == (0.3, 0.2, 0.5)
    assert found.subject == "conv less vit"


def test_every_pair_of_the_two_sides_is_judged_and_no_other() -> None:
    pairs = [("conv", "vit"), ("vit2", "conv"), ("conv", "conv2"), ("vit", "vit2"), ("conv", "mixed"), ("new", "vit")]
    found = judge_claims([CLAIM], [between(0.3, 0.2, 0.4, pair=pair) for pair in pairs], SIDES)
    assert [one.subject for one in found] == ["conv less vit", "conv less vit2"]
    assert [one.verdict for one in found] == [HOLDS, NOT]


def test_p_is_adjusted_over_the_family() -> None:
    rows = [between(0.3, 0.01, 0.6, 0.03, pair=pair) for pair in (("conv", "vit"), ("conv2", "vit"))]
    assert only(rows[0]).verdict is HOLDS
    for found in judge_claims([CLAIM], rows, SIDES):
        assert found.p == pytest.approx(0.06)
        assert found.verdict is OPEN
    elsewhere = [CLAIM, replace(CLAIM, family="g", metric="other")]
    (one, two) = judge_claims(elsewhere, [rows[0], replace(rows[1], metric="other")], SIDES)
    assert (one.p, two.p) == (0.03, 0.03)  # each is alone in its family


def test_a_row_that_its_result_does_not_resolve_is_not_resolved_here() -> None:
    row = between(0.3, 0.2, 0.4)
    assert only(replace(row, verdict="not resolved")).verdict is OPEN
    few = only(replace(row, verdict="too few images to resolve", value=0.02, low=0.01, high=0.03))
    assert (few.verdict, few.reason) == (OPEN, "too few images to resolve")


def test_a_number_without_an_interval_is_not_resolved() -> None:
    row = replace(between(0.3, 0.2, 0.4), low=None, high=None, p=None, verdict="no interval: n too small")
    found = only(row)
    assert (found.verdict, found.reason, found.p) == (OPEN, "no interval: n too small", None)


@pytest.mark.parametrize(("contrast", "names"), [("transformer", ["vit"]), ("each", ["conv", "vit"])])
def test_a_number_of_one_backbone_is_that_of_its_last_or_first_layer(contrast: Contrast, names: list[str]) -> None:
    rows = [
        alone(value, value - 0.05, value + 0.05, name, layer)
        for name in ("conv", "vit", "mixed")
        for layer, value in (("first", 0.0), ("last", 0.3))
    ]
    found = judge_claims([replace(CLAIM, contrast=contrast)], rows, SIDES)
    assert [(one.first, one.value, one.verdict) for one in found] == [(name, 0.3, HOLDS) for name in names]
    lowest = judge_claims([replace(CLAIM, contrast=contrast, layer="first")], rows, SIDES)
    assert [(one.first, one.value) for one in lowest] == [(name, 0.0) for name in names]


def test_p_of_a_number_of_one_backbone_follows_from_its_interval() -> None:
    found = only(alone(0.3, 0.1, 0.6), contrast="transformer")
    error = (0.3 - 0.1) / norm.ppf(0.975)
    assert found.p == pytest.approx(2 * norm.sf(0.3 / error))
    assert only(alone(0.0, 0.0, 0.02), contrast="transformer").verdict is NOT  # a share of none: below what counts
    assert only(alone(0.3, 0.1, 0.6, n=20), contrast="transformer").reason == "too few images to resolve"


@pytest.mark.parametrize(
    "changes",
    [{"analysis": "cka"}, {"metric": "scores"}, {"factor": "in another way"}, {"kind": "test"}, {"value": None}],
)
def test_other_rows_do_not_answer(changes: dict[str, Any]) -> None:
    found = only(replace(between(0.3, 0.2, 0.4), **changes))
    assert (found.verdict, found.row, found.judged) == (NOT_RUN, None, False)


def test_what_is_not_run_says_why() -> None:
    assert only(None).reason == "there is no result of silhouette"
    assert only(None, metric="", missing="nobody measures it").reason == "nobody measures it"
    undefined = replace(between(0.3, 0.2, 0.4), value=None, note="not measurable on this grid")
    assert only(undefined).reason == "not measurable on this grid"
    elsewhere = only(between(0.3, 0.2, 0.4), datasets=("fish*", "crabs"))
    assert elsewhere.reason == "no result of silhouette has the number on fish* or crabs"
    (found,) = judge_claims([CLAIM], [between(0.3, 0.2, 0.4)], {"conv": "convolutional", "mixed": None})
    assert found.reason == "there is no transformer network; whether mixed is one, its name does not tell"


def test_data_without_the_factor_are_not_asked_again() -> None:
    found = only(between(0.3, 0.2, 0.4), factor="of style", command="analyze silhouette")
    assert (found.verdict, found.command) == (NOT_RUN, "")
    assert found.reason == "the data of silhouette have no factor 'of style'"
    assert only(None, command="analyze silhouette").command == "cvbench analyze silhouette"


def test_a_claim_on_maps_of_one_method_is_judged_by_no_other() -> None:
    rows = [between(value, value - 0.1, value + 0.1, run=run) for value, run in ((0.3, "a"), (-0.3, "b"))]
    facts = {"a": ResultFacts("cam.gradcam"), "b": ResultFacts("cam.hirescam")}
    (one,) = judge_claims([replace(CLAIM, view="cam.gradcam")], rows, SIDES, facts)
    assert (one.verdict, one.p) == (HOLDS, 0.001), "the other method's p is no part of the family"
    assert one.as_dict()["view"] == "cam.gradcam"
    assert len(judge_claims([CLAIM], rows, SIDES, facts)) == 2


def test_the_subject_names_the_layers_of_both() -> None:
    found = only(between(-0.3, -0.5, -0.2, pair=("vit", "conv"), layer="blocks.1", layer_b="stages.2"))
    assert found.subject == "conv/stages.2 less vit/blocks.1"


def around(value: float, backbone: str, **columns: Any) -> Row:
    """A share of one backbone."""
    return replace(alone(value, value - 0.02, value + 0.02, backbone, ""), **columns)


GUESSED = Row(run="results/r", dataset="birds", metric="score", factor=CHANCE, kind=REFERENCE, value=0.1)


@pytest.mark.parametrize(
    ("conv", "vit", "difference", "verdict", "reason"),
    [
        (0.11, 0.09, 0.02, OPEN, "both at chance, 0.1"),  # without the level: smaller than what counts
        (0.09, 0.11, 0.4, OPEN, "both at chance, 0.1"),  # whatever the difference is said to be
        (0.11, 0.3, 0.02, NOT, "smaller than 0.1"),  # one is above it
        (0.995, 1.0, 0.005, OPEN, "both at ceiling"),
        (0.995, 1.0, 0.3, HOLDS, ""),  # apart all the same
        (0.995, 0.9, 0.02, NOT, "smaller than 0.1"),
    ],
)
def test_two_numbers_at_chance_or_at_the_ceiling_resolve_nothing(
    conv: float, vit: float, difference: float, verdict: ClaimVerdict, reason: str
) -> None:
    row = between(difference, difference - 0.01, difference + 0.01)
    rows = [around(conv, "conv"), around(vit, "vit"), row]
    (found,) = judge_claims([CLAIM], [*rows, GUESSED], SIDES)
    assert (found.verdict, found.reason) == (verdict, reason)
    for other in (
        replace(GUESSED, metric="other"),
        replace(GUESSED, run="results/s"),
        replace(GUESSED, factor="white noise"),
    ):
        (found,) = judge_claims([CLAIM], [*rows, other], SIDES)
        assert "both at" not in found.reason


def test_notes_that_name_both_as_near_chance_count_too() -> None:
    row = between(0.3, 0.2, 0.4)
    notes = [f"birds/test: {name} is near chance: 10 % are right" for name in ("conv", "vit")]
    for kept, reason in ((notes, "both at chance"), (notes[:1], ""), ([n.replace("birds", "fish") for n in notes], "")):
        (found,) = judge_claims([CLAIM], [row], SIDES, {row.run: ResultFacts(notes=tuple(kept))})
        assert found.reason == reason


def test_an_outcome_as_json_has_the_same_fields_whether_it_is_run_or_not() -> None:
    run, not_run = only(between(0.3, 0.2, 0.4)).as_dict(), only(None).as_dict()
    assert list(run) == list(not_run)
    assert json.loads(json.dumps(run, allow_nan=False))["verdict"] == "holds"
    assert (not_run["verdict"], not_run["value"], not_run["command"]) == ("not run", None, "cvbench analyze cka")


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("convnext_base.fb_in22k", "convolutional"),
        ("test_convnext@64", "convolutional"),
        ("resnetv2_50", "convolutional"),
        ("tf_efficientnetv2_s", "convolutional"),
        ("vit-base-16", "transformer"),
        ("deit3_base_patch16_224", "transformer"),
        ("hf-hub:timm/eva02_base_patch14_224.mim_in22k", "transformer"),
        ("swin_base", None),
        ("convit_base", None),
        ("levit_128", None),
        ("vit_base_r50_s16_224", None),
        ("", None),
    ],
)
def test_the_side_of_a_network(name: str, side: str | None) -> None:
    assert side_of(name) == side
