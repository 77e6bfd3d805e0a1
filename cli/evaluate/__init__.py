"""`cvbench eval ...`: one module per benchmark, imported when its command is called."""

from __future__ import annotations

from cvbench.cli.commands import Commands, Place, on_demand

COMMANDS: dict[str, Place] = {
    "accuracy": (
        "cvbench.cli.evaluate.accuracy",
        "accuracy",
        "Top-1, top-5 and mean-per-class accuracy, and every pair of backbones on the same samples.",
    ),
    "robustness": (
        "cvbench.cli.evaluate.robustness",
        "robustness",
        "Accuracy on ImageNetV2, -A, -R and -Sketch, beside the clean images of the same classes.",
    ),
    "imagenet-x": (
        "cvbench.cli.evaluate.imagenet_x",
        "imagenet_x",
        "Error ratios of the sixteen factors of ImageNet-X.",
    ),
    "pug": (
        "cvbench.cli.evaluate.pug",
        "pug",
        "Accuracy on PUG: ImageNet per factor, sub-factor and value, with intervals over objects.",
    ),
    "invariance": (
        "cvbench.cli.evaluate.invariance",
        "invariance",
        "Accuracy and true-class probability as images are scaled, shifted or shown at another resolution.",
    ),
    "calibration": (
        "cvbench.cli.evaluate.calibration",
        "calibration",
        "Calibration error, reliability, NLL and Brier, before and after a temperature fitted on a held-out half.",
    ),
    "shape-bias": (
        "cvbench.cli.evaluate.shape_bias",
        "shape_bias",
        "Shape bias on cue-conflict images, pooled and per shape category.",
    ),
    "import": (
        "cvbench.cli.evaluate.predictions",
        "import_predictions",
        "Make the predictions of another tool the logits of a backbone, so that every benchmark can score them.",
    ),
}
app = Commands(cls=on_demand(COMMANDS), help="Benchmarks, computed from stored logits.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Benchmarks of backbones, computed from the logits that `cvbench extract --view logits` has stored."""
