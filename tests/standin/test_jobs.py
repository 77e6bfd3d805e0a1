"""Commands with `--device cuda` on the pretended card give what the CPU gives."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cvbench.engine.analyses.cam.graph import class_map
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
from cvbench.storage.features import FeatureStore
from tests.jobs.images import write_folder
from tests.standin.counters import COUNTERS
from tests.standin.plug import plugged
from tests.standin.torch_cuda import Pretended

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
        found = class_map(backbone, target, "gradcam", images.to("cuda"))
        copying = Copies("cuda")
        copies = [copying.down(found.raw), copying.down(found.choice)]
        assert np.isnan(copies[0]._host.numpy()).all(), "a copy has arrived that nobody waited for"
        raw, choice = (copy.numpy() for copy in copies)
    np.testing.assert_allclose(raw, expected.raw.numpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(choice, expected.choice.numpy(), rtol=1e-3, atol=1e-5)


def test_a_step_of_training() -> None:
    """Loss, gradient and update on the device, without a word of the host's in between."""
    weights = []
    for device in ("cpu", "cuda"):
        with plugged(autograd=True):
            torch.manual_seed(0)
            network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.GELU(), torch.nn.Flatten())
            network.append(torch.nn.Linear(4 * 36, 5))
            network.to(device)
            step = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
            images = torch.linspace(-1, 1, 2 * 3 * 64).reshape(2, 3, 8, 8).to(device)
            COUNTERS.reset()
            loss = torch.nn.functional.cross_entropy(network(images), torch.tensor([1, 3]).to(device))
            loss.backward()  # type: ignore[no-untyped-call]
            step.step()
            assert COUNTERS.waits == 0
            found = network[3].get_parameter("weight").detach()
            weights.append((found.host if isinstance(found, Pretended) else found).numpy())
    np.testing.assert_allclose(weights[1], weights[0], rtol=1e-5, atol=1e-7)


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
