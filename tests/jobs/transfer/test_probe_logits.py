"""The logits of a fitted probe as those of a backbone: what is kept, who reads it, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.engine.analyses.base import Layer
from cvbench.errors import FingerprintMismatchError, UsageError
from cvbench.jobs.running.progress import Event, Note
from cvbench.jobs.transfer.probe import ENTRY, ProbeOptions, ProbeRequest, probe
from cvbench.jobs.transfer.probe_logits import _finite, check_kept
from cvbench.storage.features import FeatureStore, GroupKey
from tests.jobs.transfer.digits import extract_digits

FAST = ProbeOptions("clip_lbfgs", seeds=1)
TOP1 = "top1"
KEPT = GroupKey("digits", "test", "test_convnext@32+probe", "logits")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with head features of digits, of a network whose own head knows other classes."""
    path = tmp_path_factory.mktemp("logits") / "store.zarr"
    extract_digits(path, "test_convnext")
    return path


@pytest.fixture
def store(made: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(made, tmp_path / "store.zarr"))


def test_the_kept_logits_are_those_that_were_scored_and_eval_reads_them(store: str) -> None:
    heard: list[Event] = []
    request = ProbeRequest(store, ("digits",), keep_logits=True)
    (found,) = probe(request, FAST, "cpu", heard.append)
    assert any("kept as test_convnext@32+probe" in event.text for event in heard if isinstance(event, Note))
    layer = FeatureStore.open(store).layer(KEPT, "logits")
    logits = layer.numpy()
    assert logits.shape == (397, 10)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits.argmax(axis=1), found.result.data["predicted"][1][0, 0])
    done = CliRunner().invoke(
        app, ["eval", "accuracy", "--store", store, "--dataset", "digits", "--split", "test", "--format", "json"]
    )
    assert done.exit_code == 0, done.output
    rows = [row for row in json.loads(done.stdout)["rows"] if row["metric"] == TOP1]
    assert [row["value"] for row in rows if row["backbone"] == KEPT.backbone] == [
        pytest.approx(float(found.result.data["top1"][1][0]))
    ]


def test_the_same_again_writes_nothing_and_another_probe_is_refused(store: str) -> None:
    request = ProbeRequest(store, ("digits",), keep_logits=True)
    (first,) = probe(request, FAST)
    before = FeatureStore.open(store).commits(KEPT)
    (again,) = probe(request, FAST)
    assert again.path == first.path
    assert FeatureStore.open(store).commits(KEPT) == before
    with pytest.raises(FingerprintMismatchError):
        probe(request, replace(FAST, shots=5))
    (plain,) = probe(replace(request, keep_logits=False), FAST)
    assert plain.path == first.path  # whether logits are kept is no part of a number
    assert "--keep-logits" not in ENTRY.command(plain.named)


def test_two_layers_of_a_backbone_are_refused() -> None:
    check_kept([Layer("a", "x"), Layer("b", "x")])
    with pytest.raises(UsageError, match="one layer a backbone"):
        check_kept([Layer("a", "x"), Layer("a", "y")])


def test_a_class_without_training_samples_lies_below_all_and_a_diverged_probe_is_refused() -> None:
    logits = np.array([[1.0, -np.inf, -3e4], [2.0, -np.inf, 5.0]], np.float32)
    found = _finite(logits, Layer("a", "x"))
    assert np.isfinite(found).all()
    assert found.argmin(axis=1).tolist() == [1, 1]
    np.testing.assert_array_equal(found[:, [0, 2]], logits[:, [0, 2]])
    with pytest.raises(UsageError, match="diverged"):
        _finite(np.full((2, 3), -np.inf, np.float32), Layer("a", "x"))
