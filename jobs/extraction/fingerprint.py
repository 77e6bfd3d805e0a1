"""What the bytes of a group depend on, and the versions that made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cvbench import __version__
from cvbench.jobs.extraction.options import ExtractOptions, transform_record
from cvbench.jobs.running.versions import installed

if TYPE_CHECKING:
    from cvbench.engine.models.backbones import Backbone
    from cvbench.storage.features import SplitInfo


def fingerprint_of(
    split: SplitInfo, backbone: Backbone, view: str, options: ExtractOptions, device: str
) -> dict[str, Any]:
    """Everything that the bytes of one (dataset, backbone, view) depend on, taps apart."""
    from cvbench.engine.models.compiled import BACKEND
    from cvbench.engine.models.forms import recorded
    from cvbench.engine.models.views import known_view, made_by
    from cvbench.engine.pictures.decode import DECODER_VERSION

    kept = known_view(view)
    fixed = "" if kept is None else kept.dtype
    # Older stores name neither of these.
    preset = {"preset": backbone.spec.preset} if backbone.spec.preset != "model" else {}
    compiled = {"compiled": BACKEND} if options.compile else {}
    return {
        "dataset_digest": split.dataset_digest,
        "seed": split.seed,
        "unit": split.unit,
        "batch": split.batch,
        "model": recorded(backbone.spec.model),
        "image_size": backbone.spec.image_size,
        "weights_digest": backbone.weights_digest,
        "preprocess": backbone.preprocess.as_dict(),
        "decoder_version": DECODER_VERSION,
        "precision": options.precision,
        "device": device,
        "view": view,
        "dtype": fixed or options.dtype,
        "keep_bits": None if fixed else options.keep_bits,
        **preset,
        **compiled,
        **made_by(view),
        **backbone.source,
    } | transform_record(options.dataset, backbone.preprocess.geometry)


def versions(device: str) -> dict[str, Any]:
    """Versions only: the same run gives the same record, whenever and wherever it was made."""
    names = ("torch", "timm", "pillow", "numpy")
    return {"cvbench": __version__, "device": device} | {name: installed(name) for name in names}
