"""Commands with `--device cuda` on the pretended card give what the CPU gives."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cvbench.engine.analyses.cam.graph import class_map
from cvbench.engine.finetune.tally import Tally
from cvbench.engine.models.backbones import load_backbone, resolve_spec
from cvbench.engine.models.host_copy import Copies, staging
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.errors import UsageError
from cvbench.jobs.analyses.cka import CkaOptions, cka
from cvbench.jobs.analyses.maps import maps
from cvbench.jobs.analyses.options import MapsOptions
from cvbench.jobs.analyses.similarity import similarity
from cvbench.jobs.analyses.spectra import spectra
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Event, Note
from cvbench.jobs.transfer import checkpoint
from cvbench.jobs.transfer.finetune import FinetuneOptions, finetune
from cvbench.storage.features import FeatureStore
from tests.jobs.images import write_folder
from tests.standin.counters import COUNTERS, Counters
from tests.standin.plug import plugged

CPU, CARD = Cluster(address="none"), Cluster(address="none", device="cuda")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("jobs") / "pets", 32, broken=(9,))


def options(images: Path, store: Path, **changed: object) -> ExtractOptions:
    return replace(
        ExtractOptions(
            dataset=f"folder:{images}",
            backbones=("test_vit", "test_convnext"),
            store=str(store),
            weights=("random",),
            views=("maps",),
            maps=None,
            batch_size=8,
            unit=16,
            image_size=64,
            max_unreadable=0.1,
        ),
        **changed,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def stored(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("made") / "store.zarr"
    extract(options(images, where), CPU)
    return where


JOBS: dict[str, Callable[[Selection, Cluster], Any]] = {
    "cka": lambda chosen, on: cka(replace(chosen, view="maps"), CkaOptions(batch=8), on),
    "debiased": lambda chosen, on: cka(replace(chosen, view="maps"), CkaOptions(estimator="debiased"), on),
    "biased": lambda chosen, on: cka(replace(chosen, view="maps"), CkaOptions(estimator="biased"), on),
    "spectra": lambda chosen, on: spectra(chosen, IntervalOptions(), on),
    "similarity": lambda chosen, on: similarity(chosen, IntervalOptions(), on),
    "maps": lambda chosen, on: maps(chosen, MapsOptions(), on),
}


@pytest.mark.parametrize("name", JOBS)
def test_an_analysis_of_stored_maps(stored: Path, tmp_path: Path, name: str) -> None:
    found = []
    for number, cluster in enumerate((CPU, CARD)):
        store = tmp_path / f"{number}.zarr"
        shutil.copytree(stored, store)
        with plugged():
            found.append(JOBS[name](Selection(str(store), view="maps"), cluster).result)
            assert (COUNTERS.launches > 0) is (cluster is CARD)
    expected, result = found
    assert result.data.keys() == expected.data.keys()
    for variable, (_, values) in expected.data.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(result.data[variable][1], values, rtol=1e-3, atol=1e-3, err_msg=variable)


def test_a_class_map() -> None:
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    spec = resolve_spec("test_convnext", weights="random", image_size=64)
    target = "stages.1.blocks.0"
    plain = load_backbone(spec)
    expected = class_map(plain, target, "gradcam", images)
    with plugged(autograd=True):
        backbone = load_backbone(spec, device="cuda")
        there = images.to("cuda")
        found = class_map(backbone, target, "gradcam", there)
        before = COUNTERS.copy()
        class_map(backbone, target, "gradcam", there, torch.zeros(4, dtype=torch.int64))
        assert (COUNTERS - before).waits == 0, "only the first batch is asked whether its gradient is zero"
        copies = Copies("cuda").down({"raw": found.raw, "choice": found.choice})
        assert len({id(copy._event) for copy in copies.values()}) == 1, "they go down together"
        assert np.isnan(copies["raw"]._host.numpy()).all(), "a copy has arrived that nobody waited for"
        raw, choice = (copy.numpy() for copy in copies.values())
    np.testing.assert_allclose(raw, expected.raw.numpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(choice, expected.choice.numpy(), rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two classes in two splits, of which one cannot be read."""
    own = tmp_path_factory.mktemp("finetune") / "own"
    write_folder(own / "train", 24, broken=(9,))
    write_folder(own / "test", 8)
    return own


@pytest.mark.parametrize("changed", [{}, {"mixup": 0.3, "average": 0.9, "cache": 0}], ids=["plain", "mixup"])
def test_a_fine_tuning(classes: Path, tmp_path: Path, changed: dict[str, Any]) -> None:
    """Gives the weights of the CPU, and no step waits: its numbers come home once an epoch."""
    steps, found = list[Counters](), list[tuple[dict[str, torch.Tensor], dict[str, Any]]]()
    given: dict[str, Any] = {"weights": "random", "epochs": 1, "batch_size": 8, "image_size": 32, "partial": True}
    for device in ("cpu", "cuda"):
        asked = FinetuneOptions(
            f"folder:{classes}", "test_vit", str(tmp_path / device), train=("train",), **given, **changed
        )
        steps.clear()
        on_card = plugged(autograd=True) if device == "cuda" else contextlib.nullcontext()
        with on_card, steps_counted(steps.append):
            report = finetune(asked, Cluster(address="none", device=device, threads=1))
        found.append(checkpoint.load(Path(report.weights)))
    assert len(steps) == 2
    assert {(step.waits, step.fetches) for step in steps} == {(0, 0)}
    (expected, plain), (weights, told) = found
    for name, values in expected.items():
        close = (weights[name] - values).abs() < 1e-4
        assert close.float().mean() > 0.98, name  # Adam's first steps go by the sign of the gradient, even of rounding
    for one, other in zip(told["curve"], plain["curve"], strict=True):
        assert (one["step"], one["accuracy"]) == (other["step"], other["accuracy"])
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)


@contextlib.contextmanager
def steps_counted(tell: Callable[[Counters], object]) -> Iterator[None]:
    """Tells what each step of training asks for, but the first of an epoch: from one step's end to the next's."""
    last, add = dict[Tally, Counters](), Tally.add

    def counting(tally: Tally, *step: Any) -> None:
        add(tally, *step)
        if tally in last:
            tell(COUNTERS.copy() - last[tally])
        last[tally] = COUNTERS.copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tally, "add", counting)
        yield


def test_staging_is_zeroed_on_the_host() -> None:
    with plugged():
        made = staging((2, 3), "cuda")
        assert not made.is_cuda
        assert not made.any()


class TestPrecision:
    def made(self, images: Path, store: Path, cluster: Cluster, **changed: object) -> tuple[set[str], list[str]]:
        notes: list[str] = []

        def listen(event: Event) -> None:
            if isinstance(event, Note):
                notes.append(event.text)

        asked = options(images, store, views=("pooled",), backbones=("test_vit",), **changed)
        with plugged():
            extract(asked, cluster, listen)
        held = FeatureStore.open(store)
        return {str(held.fingerprint(group)["fingerprint"]["precision"]) for group in held.groups()}, notes

    @pytest.mark.parametrize(("capability", "precision"), [((9, 0), "bf16"), ((7, 0), "fp16"), ((6, 1), "fp32")])
    def test_it_is_the_cards(
        self,
        images: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capability: tuple[int, int],
        precision: str,
    ) -> None:
        from tests.standin import torch_cuda

        monkeypatch.setattr(torch_cuda, "CAPABILITY", capability)
        monkeypatch.setattr(torch_cuda, "ARCHITECTURES", [f"sm_{capability[0]}{capability[1]}"])
        held, notes = self.made(images, tmp_path / "s.zarr", CARD)
        assert held == {precision}
        assert any(f"computed in {precision}, which suits this card" in note for note in notes)

    def test_a_cpu_has_fp32_and_says_nothing(self, images: Path, tmp_path: Path) -> None:
        held, notes = self.made(images, tmp_path / "s.zarr", CPU)
        assert held == {"fp32"}
        assert not any("computed in" in note for note in notes)

    def test_that_of_the_store_stays(self, images: Path, tmp_path: Path) -> None:
        self.made(images, tmp_path / "s.zarr", CARD, precision="fp32", limit=16)
        held, notes = self.made(images, tmp_path / "s.zarr", CARD)
        assert held == {"fp32"}
        assert any("computed in fp32, as the features in the store are" in note for note in notes)

    def test_several_in_a_store_must_be_named(self, images: Path, tmp_path: Path) -> None:
        self.made(images, tmp_path / "s.zarr", CARD, precision="fp32", limit=16)
        extract(
            options(
                images, tmp_path / "s.zarr", backbones=("test_convnext",), precision="bf16", limit=16, views=("head",)
            ),
            CPU,
        )
        with pytest.raises(UsageError, match="several precisions: bf16, fp32"):
            self.made(images, tmp_path / "s.zarr", CARD)


def test_a_calibrated_batch_divides_the_unit_that_is_asked_for(images: Path, tmp_path: Path) -> None:
    with plugged():
        extract(options(images, tmp_path / "s.zarr", batch_size=None, unit=16, views=("pooled",)), CARD)
    (place,) = FeatureStore.open(tmp_path / "s.zarr").splits()
    assert FeatureStore.open(tmp_path / "s.zarr").split(*place).batch == 16
