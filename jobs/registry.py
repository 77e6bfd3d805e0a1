"""Which analyses the report knows, in its order. Importing this imports none of them."""

from __future__ import annotations

import importlib

from cvbench.jobs.results.section import Section

SECTIONS: dict[str, str] = {
    "cka": "cvbench.jobs.analyses.cka:SECTION",
    "similarity": "cvbench.jobs.analyses.similarity:SECTION",
    "similarity-images": "cvbench.jobs.analyses.similarity:IMAGES_SECTION",
    "spectra": "cvbench.jobs.analyses.spectra:SECTION",
    "maps": "cvbench.jobs.analyses.maps:SECTION",
    "cam": "cvbench.jobs.analyses.cam.rows:SECTION",
    "tsne": "cvbench.jobs.analyses.tsne:SECTION",
    "silhouette": "cvbench.jobs.analyses.silhouette_rows:SECTION",
    "accuracy": "cvbench.jobs.evaluation.accuracy:SECTION",
    "calibration": "cvbench.jobs.evaluation.calibration:SECTION",
    "imagenet-x": "cvbench.jobs.evaluation.imagenet_x:SECTION",
    "pug": "cvbench.jobs.evaluation.pug:SECTION",
    "robustness": "cvbench.jobs.evaluation.robustness:SECTION",
    "shape-bias": "cvbench.jobs.evaluation.shape_bias:SECTION",
    "invariance": "cvbench.jobs.evaluation.invariance:SECTION",
    "probe": "cvbench.jobs.transfer.probe:SECTION",
}
"""Name of an analysis, as in the store -> "module:attribute" of its `Section`. The report's order."""


def section_of(analysis: str) -> Section | None:
    """The section of an analysis; None if this version has none."""
    place = SECTIONS.get(analysis)
    if place is None:
        return None
    module, _, attribute = place.partition(":")
    section: Section = getattr(importlib.import_module(module), attribute)
    return section
