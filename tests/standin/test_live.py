"""One live extraction on the pretended card: what the CPU gives, and how little the card is made to wait for."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cvbench.engine.models.backbones import describe, load_backbone, resolve_spec
from cvbench.engine.models.views import expand_views
from cvbench.errors import IntegrityError, ResourceError
from cvbench.jobs.extraction.calibrate import CalibrationRecipe, CalibrationTask
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.extraction.worker import WRITES_AHEAD, ExtractWorker
from cvbench.jobs.registry import find_live
from cvbench.jobs.running.cluster import Cluster
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import read_partial
from tests.jobs.images import write_folder
from tests.standin.counters import COUNTERS, Counters
from tests.standin.cupy_array import Memory
from tests.standin.plug import plugged

CPU, CARD = Cluster(address="none"), Cluster(address="none", device="cuda")
ALL = ("cka", "spectra", "similarity")
LAYERS = 10  # of the two networks, all blocks


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 images, one of them unreadable."""
    return write_folder(tmp_path_factory.mktemp("live") / "pets", 32, broken=(9,))


def options(images: Path, store: Path, **changed: object) -> ExtractOptions:
    return replace(
        ExtractOptions(
            dataset=f"folder:{images}",
            backbones=("test_vit", "test_convnext"),
            store=str(store),
            weights=("random",),
            batch_size=8,
            unit=16,
            image_size=64,
            max_unreadable=0.1,
            precision="fp32",
            analyses=ALL,
        ),
        **changed,  # type: ignore[arg-type]
    )


def partials(store: Path) -> dict[str, list[dict[str, NDArray[Any]]]]:
    """Of each analysis, unit by unit: their keys differ by the device."""
    objects = FeatureStore.open(store).objects
    found: dict[str, list[dict[str, NDArray[Any]]]] = {}
    for key in sorted(objects.list("ledger/partials/"), key=lambda key: key.rpartition("/")[2]):
        found.setdefault(next(name for name in ALL if f"/{name}/" in key), []).append(
            read_partial(objects.get(key) or b"", key)
        )
    return found


@pytest.fixture(scope="module")
def measured(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Counters]]:
    """A store made on the CPU, one on the card, and what each batch of the latter cost the thread that launches."""
    where = tmp_path_factory.mktemp("made")
    extract(options(images, where / "cpu.zarr"), CPU, live=find_live(ALL))
    with plugged(), counted() as batches:
        extract(options(images, where / "card.zarr"), CARD, live=find_live(ALL))
    return where / "cpu.zarr", where / "card.zarr", batches


class counted:
    """Counts each batch of every worker within the block."""

    def __enter__(self) -> list[Counters]:
        found: list[Counters] = []
        self._patch = pytest.MonkeyPatch()
        forward = ExtractWorker.forward

        def counting(self: ExtractWorker, *args: Any) -> Any:
            before = COUNTERS.copy()
            try:
                return forward(self, *args)
            finally:
                found.append(COUNTERS.copy() - before)

        self._patch.setattr(ExtractWorker, "forward", counting)
        return found

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


def test_it_gives_what_the_cpu_gives(measured: tuple[Path, Path, list[Counters]]) -> None:
    expected, found = partials(measured[0]), partials(measured[1])
    assert {name: len(units) for name, units in found.items()} == dict.fromkeys(ALL, 2)
    for name, units in expected.items():
        for unit, other in zip(units, found[name], strict=True):
            assert unit.keys() == other.keys()
            for key, values in unit.items():
                scale = max(np.abs(values[np.isfinite(values)]).max(initial=0), 1e-3)
                np.testing.assert_allclose(other[key], values, rtol=1e-4, atol=1e-4 * scale, err_msg=f"{name} {key}")


def test_features_are_those_of_the_cpu(measured: tuple[Path, Path, list[Counters]]) -> None:
    cpu, card = (FeatureStore.open(where) for where in measured[:2])
    for info in cpu.tree():
        a, b = (store.layer(info.group, info.tap).numpy() for store in (cpu, card))
        np.testing.assert_allclose(b, a, rtol=2e-3, atol=2e-3)


def test_a_batch_waits_for_one_copy_at_most(measured: tuple[Path, Path, list[Counters]]) -> None:
    """The first brings constants up; one that lacks an image, the rows that it has and what depends on their number."""
    batches = measured[2]
    assert len(batches) == 4
    full = [batch for batch in batches[1:] if batch.uploads == 1]  # the images, of one geometry
    assert len(full) >= 2
    for batch in batches[1:]:
        assert batch.waits <= 1 + batch.uploads - 1
        assert batch.fetches == 16 + 5 + 1  # views of all layers, of the class token, and all numbers at once


def test_launches_are_bounded_by_layer(measured: tuple[Path, Path, list[Counters]]) -> None:
    for batch in measured[2][1:]:
        assert batch.launches <= 180 * LAYERS, batch


def test_without_analyses_nobody_waits(images: Path, tmp_path: Path) -> None:
    with plugged(), counted() as batches:
        extract(options(images, tmp_path / "store.zarr", analyses=()), CARD)
    assert len(batches) == 4
    assert {(batch.waits, batch.launches) for batch in batches} == {(0, 0)}


def test_values_that_are_not_finite_are_named_before_the_commit(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cvbench.engine.models import backbones

    plain = vars(backbones)["spatial"]

    def spoiled(activation: Any, layout: Any) -> Any:
        found = plain(activation, layout)
        return found * float("inf") if layout.channels == 64 and layout.height == 4 else found

    monkeypatch.setattr(backbones, "spatial", spoiled)
    asked = options(images, tmp_path / "store.zarr", backbones=("test_vit",), taps=("blocks.1",))
    for name in ALL:
        with plugged(), pytest.raises(IntegrityError, match=r"test_vit@64/blocks\.1 holds values that are not finite"):
            extract(replace(asked, analyses=(name,)), CARD, live=find_live((name,)))
    assert partials(tmp_path / "store.zarr") == {}


@pytest.mark.parametrize(
    ("limited", "said", "fix"),
    [
        ("largest_copy", "the weights", "one --backbone at a time"),
        ("largest_result", "a batch of 8", "a smaller --batch-size"),
        ("largest", "a batch of 8", "--analyze"),
    ],
)
def test_the_end_of_the_memory_is_an_error_with_advice(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limited: str, said: str, fix: str
) -> None:
    """Of torch's memory for weights and activations, and of what an analysis takes beside them."""
    plain = ExtractWorker.forward

    def narrow(self: ExtractWorker, *args: Any) -> Any:
        monkeypatch.setattr(Memory, limited, 10_000)
        return plain(self, *args)

    if limited == "largest_copy":
        monkeypatch.setattr(Memory, limited, 60_000)
    else:
        monkeypatch.setattr(ExtractWorker, "forward", narrow)
    with plugged(), pytest.raises(ResourceError, match=f"not enough memory for {said}") as error:
        extract(options(images, tmp_path / "store.zarr"), CARD, live=find_live(ALL))
    assert error.value.exit_code == 6
    assert fix in str(error.value)


def test_the_automatic_batch_leaves_room_for_what_observes(images: Path, tmp_path: Path) -> None:
    sizes = {}
    for name, analyses in (("alone", ()), ("observed", ("similarity",))):
        where = tmp_path / f"{name}.zarr"
        with plugged(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(Memory, "largest", 1_000_000)
            asked = options(images, where, batch_size=None, unit=None, analyses=analyses, backbones=("test_vit",))
            extract(asked, CARD, live=find_live(analyses))
        (place,) = FeatureStore.open(where).splits()
        sizes[name] = FeatureStore.open(where).split(*place).batch
    assert sizes["observed"] < sizes["alone"]


def test_the_automatic_batch_leaves_room_for_copies_under_way(tmp_path: Path) -> None:
    """A run holds what earlier batches still send home: of maps more than all that a batch computes with."""
    spec = resolve_spec("test_vit", weights="random", image_size=64)
    taps = tuple(describe(spec, taps=["*"]).layouts)
    with plugged():
        worker = CalibrationRecipe(((spec, taps),), ("maps",), "cuda", "fp32", "float16").build()
        task = CalibrationTask(((8, ()),))  # of a run with batches of 4
        worker.run(task)
        backbone, before = load_backbone(spec, device="cuda"), held()
        requests = expand_views(("maps",), backbone.layouts(taps))
        found = backbone.run(torch.zeros(4, 3, 64, 64, dtype=torch.uint8).to("cuda"), requests)
        computing, leaving = Memory.most - before, sum(one.nbytes for one in found.values())
        weights = sum(one.nbytes for one in backbone.network.state_dict().values())
        del found
        before = held()
        worker.run(task)
        assert Memory.most - before - weights >= 2 * computing + WRITES_AHEAD * leaving


def held() -> int:
    """Bytes of torch's that are held now; from now on the most is counted."""
    gc.collect()
    Memory.most = Memory.held
    return Memory.held
