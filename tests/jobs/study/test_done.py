"""What has run is done: no step of a study is missing for ever, whatever its result leaves out or is named by."""

from __future__ import annotations

from pathlib import Path

from cvbench.jobs.study.run import run_study
from cvbench.jobs.study.states import states_of
from cvbench.jobs.study.study import read_study
from tests.jobs.digit_heads import write_heads
from tests.jobs.study.studies import write_study

NETWORKS = ("test_vit", "test_convnext")


def test_networks_that_are_left_out_and_networks_at_several_sizes(tmp_path: Path) -> None:
    """A ConvNeXt has no attention; a row of invariance to the resolution is of a network, whatever its size."""
    weights = dict(word.split("=", 1) for word in write_heads(tmp_path / "weights", NETWORKS, 32))
    digits = {"dataset": "digits", "split": "test", "limit": 16}
    study = read_study(
        str(
            write_study(
                tmp_path / "study",
                backbones=[{"model": name, "weights": weights[name]} for name in NETWORKS],
                datasets=[digits, {**digits, "image_size": 48, "only": "invariance"}],
                extract={"image_size": 32, "unit": 8, "batch_size": 8, "view": "logits"},
                analyses=[{"attention": {"limit": 8}}],
                evaluations=[{"invariance": {"transform": "resolution", "reference": "32", "partial": True}}],
            )
        )
    )
    run_study(study)
    found = {one.name: one.state for one in states_of(study)}
    assert {"analyze attention digits/test", "eval invariance digits/test"} <= found.keys()
    assert {*found.values()} == {"done"}, found
