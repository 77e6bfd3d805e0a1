"""The analyses, by name. Adding one is one new module and one line here."""

from __future__ import annotations

from cvbench.engine.analyses.base import Analysis, Layer, Partial, Result
from cvbench.engine.analyses.cka.measure import MinibatchCka
from cvbench.engine.analyses.maps.measure import ChannelMaps
from cvbench.engine.analyses.similarity.measure import Similarity
from cvbench.engine.analyses.spectra.measure import Spectra

ANALYSES: dict[str, type[Analysis]] = {
    "cka": MinibatchCka,
    "similarity": Similarity,
    "spectra": Spectra,
    "maps": ChannelMaps,
}

__all__ = ["ANALYSES", "Analysis", "Layer", "Partial", "Result"]
