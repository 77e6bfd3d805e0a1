"""Forecast of what the steps of a study cost, before any of them runs: also of steps that wait for others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cvbench.errors import DataUnavailableError
from cvbench.jobs.extraction.backbones import weights_of
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.extraction.plan import PlanReport, decode_rate, forward_rate, plan
from cvbench.jobs.extraction.space import LayerPlan
from cvbench.jobs.running.place import cores_here
from cvbench.jobs.study.steps import Extraction, Fitting
from cvbench.jobs.study.study import Study

PASSES = 3
"""Forward passes that an image of a step takes as long as: the way back is reckoned as two."""
STEP_SECONDS = 0.012
"""Of every step, however small the batch: optimizer, clipping, shifts, which go tensor by tensor. Assumed; measured on
one core, 8 to 18 ms for networks of 56 to 101 tensors."""


class Forecasts:
    """Forecasts of the steps of one study."""

    def __init__(self, study: Study) -> None:
        self._gpus = study.hardware.gpus or 0
        self._trained = {one.weights: one.options.dataset for one in study.trainings}

    def extraction(self, step: Extraction) -> tuple[PlanReport, dict[str, Any]]:
        """Plan an extraction; of images that are not here, their published number.

        Returns:
            The plan, and the fields of the error that says that the images are not here; empty where they are.

        Raises:
            CvbenchError: It cannot be planned: images whose number nobody published, or weights that are not there.
        """
        options, awaited = self._with_weights(step.options)
        try:
            return _with_classes(plan(options, gpus=self._gpus), awaited), {}
        except DataUnavailableError as error:
            return _with_classes(plan(options, gpus=self._gpus, published=True), awaited), error.as_dict()

    def training(self, step: Fitting) -> tuple[int, float]:
        """Reckon a training: how many images are passed, with those that are passed again, and in how many hours.

        Images are decoded once where they fit in memory, else in every epoch: on a CPU by the cores that train.

        Raises:
            CvbenchError: The images are not there.
        """
        from cvbench.engine.finetune.recipes import recipe
        from cvbench.engine.models.backbones import describe, resolve_spec
        from cvbench.jobs.transfer.finetune import training_splits
        from cvbench.storage.datasets import open_dataset

        asked = step.options
        opened = [
            open_dataset(asked.dataset, data_root=asked.data_root, split=split)
            for split in training_splits(asked, asked.dataset)
        ]
        chosen = recipe(asked.recipe, epochs=asked.epochs, batch=asked.batch_size)
        samples = sum(map(len, opened))
        steps, _ = chosen.total(min(samples, chosen.examples[0]) if chosen.examples else samples)
        outline = describe(resolve_spec(asked.backbone, weights="random", image_size=asked.image_size), taps=[])
        each, _ = forward_rate(asked.precision, [outline], self._gpus)
        images, workers = steps * chosen.batch, self._gpus or cores_here()
        learning = PASSES * images / (each * workers) + steps * STEP_SECONDS
        in_memory = samples * 3 * math.prod(outline.preprocess.geometry.size) <= asked.cache
        decoding = (samples if in_memory else images) / (decode_rate("threads", self._gpus)[0] * workers)
        beside = bool(self._gpus) and not in_memory
        return images, (max(learning, decoding) if beside else learning + decoding) / 3600

    def _with_weights(self, options: ExtractOptions) -> tuple[ExtractOptions, dict[str, int]]:
        """The options with random weights for those that are to be trained first, and by key the classes of these."""
        from cvbench.engine.models.forms import called
        from cvbench.engine.models.specs import key_of
        from cvbench.storage.datasets import dataset_info

        files = weights_of(options.weights)
        default = files.get("", "pretrained")
        of_each = {name: files.get(called(name), files.get(name, default)) for name in options.backbones}
        awaited = {
            name: self._trained[file]
            for name, file in of_each.items()
            if file in self._trained and not Path(file).expanduser().is_file()
        }
        if not awaited:
            return options, {}
        words = [f"{called(name)}={'random' if name in awaited else file}" for name, file in of_each.items()]
        counts = {key_of(name, options.image_size): dataset_info(awaited[name]).classes for name in awaited}
        return replace(options, weights=tuple(words)), {key: count for key, count in counts.items() if count}


def _with_classes(planned: PlanReport, classes: Mapping[str, int]) -> PlanReport:
    """The plan with logits of so many classes, by key of the backbone: those of the weights that are awaited."""

    def of_classes(layer: LayerPlan) -> LayerPlan:
        count = classes.get(layer.group.backbone) if layer.group.view == "logits" else None
        return layer if count is None else replace(layer, shape=(count,))

    layers = tuple(map(of_classes, planned.layers))
    return replace(planned, layers=layers, bytes_total=sum(layer.bytes for layer in layers))
