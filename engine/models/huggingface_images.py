"""How a model of transformers wants its images, from the rules of its image processor (`preprocessor_config.json`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvbench.engine.models.specs import BackboneSpec
from cvbench.errors import DataUnavailableError, UsageError

_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""PIL's numbers of filters."""
_CONVNEXT_WHOLE = 384
"""From this edge on, ConvNeXt's processor squashes the image and crops nothing."""
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def preprocessing(folder: Path, config: Any, spec: BackboneSpec) -> dict[str, Any]:
    """The rules as timm writes them, see `engine.models.preprocess.preprocess_from_config`.

    Args:
        folder: With preprocessor_config.json; a preset of preprocessing needs none.
        config: Of the model.
        spec: Of the backbone: another size, a preset.

    Raises:
        DataUnavailableError: There are no rules.
        UsageError: They are none that we have.
    """
    if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        own = _edges(getattr(config, "image_size", None)) or (224, 224)
        if spec.preset != "model":
            return _rules(spec, own, "bilinear", "center", 1.0, *_IMAGENET)
        raise DataUnavailableError(
            "nothing says how this model's images are prepared",
            where=str(folder / "preprocessor_config.json"),
            fix="put the image processor's file there (its save_pretrained writes one), or --preprocess beyond_inet",
        )
    given = _processor(folder)
    number = given.get("resample")
    filtered = _FILTERS.get(2 if number is None else int(number), "another")
    if filtered not in ("nearest", "bilinear", "bicubic") or not given.get("do_rescale", True):
        raise UsageError(
            "the image processor's rules are none that we have",
            where=str(folder),
            why=f"filter {filtered}, do_rescale {given.get('do_rescale')}",
            fix="--preprocess beyond_inet",
        )
    normalised = given.get("do_normalize", True) and given.get("image_mean") is not None
    mean, std = (given["image_mean"], given["image_std"]) if normalised else ((0.0,) * 3, (1.0,) * 3)
    size, crop, share, resize = _geometry(given, config)
    return _rules(spec, size, filtered, crop, share, tuple(mean), tuple(std), resize)


def flips_channels(folder: Path) -> bool:
    """Whether the network wants blue first."""
    return bool(_processor(folder).get("do_flip_channel_order", False))


def _processor(folder: Path) -> Mapping[str, Any]:
    from transformers import AutoImageProcessor

    try:
        found = AutoImageProcessor.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of a file that anybody may have written
        raise UsageError(
            "the image processor's rules cannot be read",
            where=str(folder / "preprocessor_config.json"),
            why=" ".join(str(error).split())[:300],
            fix="its save_pretrained writes them, or --preprocess beyond_inet",
        ) from error
    return {**found.to_dict(), "image_processor_type": type(found).__name__}


def _geometry(given: Mapping[str, Any], config: Any) -> tuple[tuple[int, int], str, float, int | None]:
    """(height, width) of the input, kind of crop, share of the resized image that stays, its edge if that is known."""
    size, kind = given.get("size") or {}, str(given["image_processor_type"])
    both = _edges(size)
    shortest = size.get("shortest_edge") if isinstance(size, Mapping) else None
    cropped = _edges(given.get("crop_size")) if given.get("do_center_crop", False) else None
    if not given.get("do_resize", True):
        edges = cropped or _edges(getattr(config, "image_size", None)) or (224, 224)
        raise UsageError(f"the image processor does not resize, and {edges} fits few images", fix="--preprocess pug")
    if kind.startswith("ConvNext") and shortest:
        if shortest >= _CONVNEXT_WHOLE:
            return (shortest, shortest), "squash", 1.0, None
        resize = int(shortest / given["crop_pct"])
        return (shortest, shortest), "center", shortest / resize, resize
    if kind.startswith("Levit") and shortest and cropped:
        resize = int((256 / 224) * shortest)
        return cropped, "center", cropped[0] / resize, resize
    share = given.get("crop_pct")
    if share and cropped and (shortest or both):  # PoolFormer
        resize = int((shortest or (both or cropped)[0]) / share)
        return cropped, "center", cropped[0] / resize, resize
    if shortest:
        edges = cropped or (shortest, shortest)
        return edges, "center", edges[0] / shortest, int(shortest)
    if both:
        if cropped and cropped != both:
            raise UsageError(f"the image processor squashes to {both} and crops {cropped}", fix="--preprocess pug")
        return both, "squash", 1.0, None
    raise UsageError(f"the image processor's size {size} is none that we have", fix="--preprocess beyond_inet")


def _edges(size: Any) -> tuple[int, int] | None:
    if isinstance(size, int):
        return size, size
    if isinstance(size, list | tuple) and len(size) == 2:
        return int(size[0]), int(size[1])
    if isinstance(size, Mapping) and size.get("height") and size.get("width"):
        return int(size["height"]), int(size["width"])
    return None


def _rules(
    spec: BackboneSpec,
    size: tuple[int, int],
    interpolation: str,
    crop: str,
    share: float,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    resize: int | None = None,
) -> dict[str, Any]:
    asked = size if spec.image_size is None else (spec.image_size, spec.image_size)
    return {
        "input_size": (3, *asked),
        "mean": mean,
        "std": std,
        "interpolation": interpolation,
        "crop_mode": crop,
        "crop_pct": share,
        **({"resize": resize} if resize and asked == size else {}),
    }
