"""The claims as data: each can be answered by numbers that the analyses really give, or says why not."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from cvbench.engine.analyses.residual.result import CHANGES
from cvbench.jobs.analyses import attention, maps, residual, silhouette_rows, similarity, spectra, tsne
from cvbench.jobs.analyses.cam import rows as cam
from cvbench.jobs.analyses.cam.options import MapOptions
from cvbench.jobs.claims.claim import Claim
from cvbench.jobs.claims.published import published
from cvbench.jobs.evaluation import calibration, compare, corruptions, imagenet_x, invariance, pug, shape_bias
from cvbench.jobs.evaluation.settings import TRANSFORMS
from cvbench.jobs.reading.views import view_words
from cvbench.jobs.registry import ENTRIES
from cvbench.jobs.transfer import probe_rows
from cvbench.storage.annotations import IMAGENET_X_FACTORS, PUG_GROUPS
from tests.docs.test_commands import find, known_options
from tests.jobs.report_store import small_cka, small_silhouette

METRICS: dict[str, set[str]] = {
    "cka": {f"mean linear CKA ({view_words({'view': 'maps'})})"},
    "spectra": set(spectra.QUANTITIES.values()),
    "similarity": {f"{name}, {of}" for name, of in product(similarity.QUANTITIES.values(), ("raw", "centred"))},
    "cam": set(cam.MEASURES.values()),
    "maps": set(maps.QUANTITIES.values()),
    "silhouette": set(silhouette_rows.NAMES.values()),
    "tsne": {*tsne.NAMES.values(), *tsne.OTHERS.values()},
    "imagenet-x": {imagenet_x.RATIO},
    "pug": {pug.GROUP, compare.TOP1},
    "robustness": {compare.TOP1},
    "invariance": {invariance.CHANGE},
    "shape-bias": {shape_bias.BIAS},
    "calibration": {calibration.DEBIASED},
    "attention": set(attention.METRICS.values()),
    "corruptions": {corruptions.EXCESS},
    "residual": {residual.METRICS[name] for name in CHANGES},
    "probe": set(probe_rows.NAMES.values()),
}
FACTORS = {
    "imagenet-x": {*IMAGENET_X_FACTORS},
    "pug": {"", *PUG_GROUPS},
    "robustness": {""},
    "invariance": {f"{name}=*" for name in TRANSFORMS},
    "shape-bias": {""},
    "cka": {"first quarter against last quarter", "mean of different layers"},
    "calibration": {""},
    "cam": {f"{cam.COMMON} *{cam.CENTRED_MAPS}"},
    "maps": {f"{maps.OWN} *", f"{cam.COMMON} *"},
    "similarity": {"grid *"},
    "spectra": {""},
    "tsne": {"k = 10"},
    "silhouette": {"euclidean, features*"},
    "attention": {""},
    "corruptions": {""},
    "residual": {"all branches", "all branches *att*"},
    "probe": {"*"},
}
ANSWERED = [claim for claim in published() if claim.metric]


@pytest.mark.parametrize("claim", ANSWERED, ids=lambda claim: claim.id)
def test_the_number_of_a_claim_exists(claim: Claim) -> None:
    assert claim.metric in METRICS[claim.analysis]
    assert claim.factor in FACTORS[claim.analysis]
    assert claim.analysis in ENTRIES


def test_real_rows_have_the_names_of_the_claims() -> None:
    cka, scores = ENTRIES["cka"], ENTRIES["silhouette"]
    from cvbench.jobs.registry import entry_of

    for place, result in ((cka, small_cka({"a": 4, "b": 4})), (scores, small_silhouette({"a": 1, "b": 1}, ("x", "y")))):
        entry = entry_of(result.name)
        assert entry is not None, place
        result.attrs["view"] = "maps"
        found = {(row.metric, row.factor.partition(" standardised")[0]) for row in entry.rows(result)}
        for claim in (claim for claim in ANSWERED if claim.analysis == result.name):
            assert (claim.metric, claim.factor.rstrip("*")) in found, claim.id


@pytest.mark.parametrize("claim", published(), ids=lambda claim: claim.id)
def test_a_claim_says_what_is_needed(claim: Claim) -> None:
    assert bool(claim.metric) != bool(claim.missing)
    assert claim.analysis in ENTRIES, "also what cannot answer it is a real analysis"
    assert claim.command or claim.missing
    assert claim.sentence.endswith(".")
    assert claim.source
    assert claim.place
    assert claim.smallest >= 0
    assert claim.view in ("", MapOptions().view)
    assert bool(claim.view) == (claim.analysis == "cam"), "the study's maps are Grad-CAM's, and a store may have others"
    if claim.command:
        words = claim.command.split()
        command = find(words)
        assert {word for word in words if word.startswith("--")} <= known_options(command)


def test_there_are_claims_of_the_study_and_of_others() -> None:
    assert max(Counter(claim.id for claim in published()).values()) == 1
    study = [claim for claim in published() if claim.family == "study"]
    assert len(study) >= 20
    assert all(claim.metric for claim in study)
    assert sum(claim.family != "study" for claim in ANSWERED) >= 10
    assert len({claim.source for claim in published()}) == len({claim.family for claim in published()})


def test_values_stand_only_where_they_are_known_for_certain() -> None:
    assert {claim.id: claim.published for claim in published() if claim.published} == {
        "study-fine-silhouette": "0.130 against 0.113",
        "darcet-outliers": "around 2 % of a DINOv2's tokens, with ten times the norm",
        "paul-imagenet-a": "28.10 %, 4.3 times that of a comparable BiT",
    }
