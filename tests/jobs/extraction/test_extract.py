"""Extraction end to end: the values, what is missing, what is refused; in a loop and on Ray."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torchvision import transforms

from cvbench.engine.models.backbones import load_backbone, resolve_spec
from cvbench.errors import (
    FingerprintMismatchError,
    IncompleteError,
    ResourceError,
    UnknownNameError,
    UsageError,
)
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.extraction.plan import plan
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Event, Note
from cvbench.storage.features import FeatureStore, GroupKey
from tests.jobs.images import write_folder

LOOP = Cluster(address="none")


def options(tmp_path: Path, **changes: object) -> ExtractOptions:
    base = ExtractOptions(
        dataset=f"folder:{tmp_path / 'pets'}",
        backbones=("test_vit", "test_convnext"),
        store=str(tmp_path / "store.zarr"),
        weights=("random",),
        batch_size=8,
        unit=16,
        dtype="float32",
        decoder="pil",
        image_size=64,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def contents(store: str | Path) -> dict[str, str]:
    root = Path(store)
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "_runs" not in path.parts  # the logs of runs say when
    }


def reference(tmp_path: Path, model: str, tap: str, sample: str) -> torch.Tensor:
    """The tap's output for one sample by nothing but timm, torchvision and PIL; (H, W, C) or (tokens, C)."""
    from PIL import Image

    backbone = load_backbone(resolve_spec(model, weights="random", image_size=64))
    kwargs: dict[str, Any] = {"img_size": 64} if "vit" in model else {}
    plain = timm.create_model(model, pretrained=False, **kwargs).eval()
    plain.load_state_dict(backbone._model.state_dict())
    config = backbone.preprocess
    assert isinstance(config.geometry.resize, int)
    transform = transforms.Compose(
        [
            transforms.Resize(config.geometry.resize, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(64),
            transforms.ToTensor(),
            transforms.Normalize(config.mean, config.std),
        ]
    )
    kept: list[torch.Tensor] = []
    plain.get_submodule(tap).register_forward_hook(lambda module, args, output: kept.append(output))
    with torch.inference_mode():
        plain(transform(Image.open(tmp_path / "pets" / sample)).unsqueeze(0))
    return kept[0][0].movedim(0, -1) if kept[0].ndim == 4 else kept[0][0]


def test_the_stored_features_are_what_the_network_gives(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 20)
    extract(options(tmp_path, views=("pooled", "maps"), maps=None), LOOP)
    store = FeatureStore.open(tmp_path / "store.zarr")
    ids = store.samples("folder-pets", "all")["id"]
    for model, tap in (("test_vit", "blocks.1"), ("test_convnext", "stages.1.blocks.0")):
        group = next(g for g in store.groups() if g.backbone.startswith(model) and g.view == "maps")
        maps = store.layer(group, tap).numpy()
        pooled = store.layer(replace(group, view="pooled"), tap).numpy()
        for row in (0, 7, 19):
            expected = reference(tmp_path, model, tap, ids[row])
            tokens = expected[1:] if model == "test_vit" else expected.flatten(0, 1)
            # float32 sums of a few hundred terms in another order: 1e-4 of the values' size
            np.testing.assert_allclose(maps[row].reshape(tokens.shape), tokens, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(pooled[row], tokens.double().mean(0), rtol=1e-4, atol=1e-4)
            if model == "test_vit":
                cls = store.layer(replace(group, view="cls"), tap).read(row, row + 1)[0]
                np.testing.assert_allclose(cls, expected[0], rtol=1e-4, atol=1e-4)


def test_the_same_call_again_computes_and_writes_nothing(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 20)
    first = extract(options(tmp_path), LOOP)
    before = contents(tmp_path / "store.zarr")
    again = extract(options(tmp_path), LOOP)
    assert (first.computed, again.computed) == (20, 0)
    assert contents(tmp_path / "store.zarr") == before


def test_more_samples_taps_views_and_backbones_add_to_what_is_there(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 40)
    one = options(tmp_path, backbones=("test_vit",), taps=("blocks.0",), limit=10)
    assert extract(one, LOOP).computed == 16
    before = contents(tmp_path / "store.zarr")
    assert extract(replace(one, limit=None), LOOP).computed == 24
    assert extract(replace(one, limit=None, taps=("blocks",)), LOOP).computed == 40
    assert extract(options(tmp_path, views=("pooled", "head")), LOOP).computed == 40
    assert extract(options(tmp_path, views=("pooled", "head")), LOOP).computed == 0
    after = contents(tmp_path / "store.zarr")
    assert {key: after[key] for key in before} == before, "something committed was changed"
    fresh = options(tmp_path, store=str(tmp_path / "fresh.zarr"), views=("pooled", "head"))
    extract(fresh, LOOP)
    for group in FeatureStore.open(tmp_path / "fresh.zarr").groups():
        for tap in FeatureStore.open(tmp_path / "fresh.zarr").taps(group):
            grown = FeatureStore.open(tmp_path / "store.zarr").layer(group, tap).numpy()
            np.testing.assert_array_equal(grown, FeatureStore.open(tmp_path / "fresh.zarr").layer(group, tap).numpy())


def test_a_limit_is_rounded_up_to_whole_units_and_said(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 40)
    events: list[Event] = []
    report = extract(options(tmp_path, limit=17, backbones=("test_vit",)), LOOP, events.append)
    assert report.samples == 32
    assert Note("--limit 17 covers 32 samples: whole units of 16") in events


@pytest.mark.ray
@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize("actors", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_any_number_of_actors_gives_the_store_of_a_plain_loop(tmp_path: Path, actors: int) -> None:
    write_folder(tmp_path / "pets", 60, broken=(5,))
    stores = {}
    for name, cluster in (("loop", LOOP), ("ray", Cluster(address="local", actors=actors))):
        job = options(tmp_path, store=str(tmp_path / f"{name}.zarr"), max_unreadable=0.1)
        assert extract(job, cluster).computed == 60
        stores[name] = contents(tmp_path / f"{name}.zarr")
    assert stores["ray"] == stores["loop"]


def test_unreadable_samples_are_rows(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 40, broken=(3, 17))
    report = extract(options(tmp_path, max_unreadable=0.1, backbones=("test_vit",)), LOOP)
    assert {sample.id for sample in report.unreadable} == {"class-1/003.png", "class-1/017.png"}
    store = FeatureStore.open(tmp_path / "store.zarr")
    (group,) = (g for g in store.groups() if g.view == "pooled")
    layer = store.layer(group, "blocks.0")
    values = layer.read(0, 40)
    bad = [sample.row for sample in report.unreadable]
    assert np.isnan(values[bad]).all()
    assert np.isfinite(np.delete(values, bad, axis=0)).all()
    assert len(layer.rows) == 38
    assert (store.status(group.dataset, group.split, group.backbone, group.view, "blocks.0")[bad] == 2).all()


def test_too_many_unreadable_samples_make_the_run_incomplete_and_lose_nothing(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 40, broken=(3, 17))
    with pytest.raises(IncompleteError, match="2 of 40 samples are unreadable") as caught:
        extract(options(tmp_path), LOOP)
    assert "truncated" in (caught.value.why or "")
    assert extract(options(tmp_path, max_unreadable=0.1), LOOP).computed == 0


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("precision", "bf16", "precision"),
        ("dtype", "float16", "dtype"),
        ("keep_bits", 5, "keep_bits"),
        ("codec", "zstd", "codec"),
        ("decoder", "fast", "decoder"),
        ("batch_size", 4, "--batch-size"),
        ("unit", 8, "--unit"),
        ("seed", 1, "seed"),
    ],
)
def test_another_fingerprint_is_refused_before_any_write(tmp_path: Path, field: str, value: object, named: str) -> None:
    write_folder(tmp_path / "pets", 20)
    job = options(tmp_path, backbones=("test_vit",), taps=("blocks.0",))
    extract(job, LOOP)
    before = contents(tmp_path / "store.zarr")
    with pytest.raises(FingerprintMismatchError) as caught:
        extract(replace(job, **{field: value}), LOOP)  # type: ignore[arg-type]
    assert named in str(caught.value)
    assert contents(tmp_path / "store.zarr") == before


def test_one_differing_backbone_refuses_the_run_before_another_is_declared(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 20)
    job = options(tmp_path, backbones=("test_vit",), taps=("blocks.0",))
    extract(job, LOOP)
    before = contents(tmp_path / "store.zarr")
    both = replace(job, backbones=("test_convnext", "test_vit"), taps=("*blocks.0",), precision="bf16")
    with pytest.raises(FingerprintMismatchError, match="precision"):
        extract(both, LOOP)
    assert contents(tmp_path / "store.zarr") == before, "the new backbone was declared before the other was refused"


def test_other_weights_and_another_data_set_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    write_folder(tmp_path / "pets", 20)
    job = options(tmp_path, backbones=("test_vit",), taps=("blocks.0",))
    extract(job, LOOP)
    model = timm.create_model("test_vit", pretrained=False, img_size=64)
    save_file(model.state_dict(), tmp_path / "own.safetensors")
    with pytest.raises(FingerprintMismatchError, match="weights_digest") as caught:
        extract(replace(job, weights=(str(tmp_path / "own.safetensors"),)), LOOP)
    assert "with weights 'random'" in (caught.value.why or "")
    assert "the same --weights" in (caught.value.fix or "")
    write_folder(tmp_path / "pets", 22)
    with pytest.raises(FingerprintMismatchError, match="dataset_digest"):
        extract(job, LOOP)


def test_bytes_that_do_not_fit_are_refused_with_the_option_that_would(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 40)
    job = options(tmp_path, backbones=("test_vit",), views=("maps",), maps=None, max_bytes=200_000)
    with pytest.raises(ResourceError, match="to be written") as caught:
        extract(job, LOOP)
    # Not even one unit fits, so a smaller unit is what helps.
    assert "--max-bytes 1.1MB" in (caught.value.fix or "")
    assert "--unit 5 --batch-size 5 --maps 5 fits" in (caught.value.fix or "")
    with pytest.raises(ResourceError) as caught:  # of the smallest one there is
        extract(replace(job, max_bytes=100_000), LOOP)
    assert "--unit" not in (caught.value.fix or "")
    with pytest.raises(ResourceError) as caught:
        extract(replace(job, unit=4, batch_size=4, max_bytes=1_000_000), LOOP)  # the refused run froze nothing
    most = int((caught.value.fix or "").split("--maps ")[1].split()[0])
    assert 0 < most < 40
    assert extract(replace(job, unit=4, batch_size=4, max_bytes=1_000_000, maps=most), LOOP).computed == most


def test_the_option_that_is_said_to_fit_fits(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 40)
    job = options(tmp_path, backbones=("test_vit",), unit=8, batch_size=8, max_bytes=50_000)
    with pytest.raises(ResourceError) as caught:
        extract(job, LOOP)
    most = int((caught.value.fix or "").split("--limit ")[1].split()[0])
    assert extract(replace(job, limit=most), LOOP).computed == most < 40


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "float64"},
        {"precision": "fp8"},
        {"decoder": "jpeg"},
        {"codec": "bitround30"},
        {"codec": "zip"},
        {"unit": 10, "batch_size": 4},
        {"analyses": ("ckaa",)},
    ],
)
def test_a_refused_option_leaves_no_store(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_folder(tmp_path / "pets", 12)
    job = options(tmp_path, backbones=("test_vit",))
    with pytest.raises(UsageError):
        extract(replace(job, **changes), LOOP)
    assert not Path(job.store).exists()


def test_bad_names_name_their_neighbours(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 20)
    for changes, near in (
        ({"views": ("poled",)}, "pooled"),
        ({"backbones": ("test_vitt",)}, "test_vit"),
        ({"taps": ("block",)}, "blocks"),
        ({"dataset": "cifar1"}, "cifar10"),
    ):
        with pytest.raises(UnknownNameError) as caught:
            extract(options(tmp_path, **changes), LOOP)
        assert any(near in name for name in caught.value.did_you_mean), changes
    assert not (tmp_path / "store.zarr").exists(), "a wrong name left a store behind"


def test_a_unit_of_broken_batches_and_an_empty_limit_are_usage_errors(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 20)
    with pytest.raises(UsageError, match="no multiple"):
        extract(options(tmp_path, unit=12), LOOP)
    with pytest.raises(UsageError, match="no sample"):
        extract(options(tmp_path, limit=0), LOOP)


@pytest.mark.parametrize(("unit", "batch"), [(12, 12), (20, 20), (64, 32), (100, 25)])
def test_a_batch_that_nobody_chose_fills_the_unit(tmp_path: Path, unit: int, batch: int) -> None:
    write_folder(tmp_path / "pets", 20)
    extract(options(tmp_path, unit=unit, batch_size=None, views=("head",), backbones=("test_vit",)), LOOP)
    info = FeatureStore.open(tmp_path / "store.zarr").split("folder-pets", "all")
    assert (info.unit, info.batch) == (unit, batch)


@pytest.mark.parametrize("unit", [37, 61])
def test_a_unit_that_only_small_batches_fill_is_refused(tmp_path: Path, unit: int) -> None:
    write_folder(tmp_path / "pets", 20)
    with pytest.raises(UsageError, match=f"--unit {unit} is no multiple of the batch of 32") as caught:
        extract(options(tmp_path, unit=unit, batch_size=None, views=("head",), backbones=("test_vit",)), LOOP)
    assert caught.value.fix == f"--unit 64, or --batch-size {unit}"


def test_maps_cover_a_prefix_and_the_rest_stays_nan(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 40)
    extract(options(tmp_path, backbones=("test_vit",), views=("pooled", "maps"), maps=16), LOOP)
    store = FeatureStore.open(tmp_path / "store.zarr")
    rows = {g.view: len(store.layer(g, "blocks.0").rows) for g in store.groups()}
    assert rows == {"pooled": 40, "cls": 40, "maps": 16}
    import zarr

    group = GroupKey("folder-pets", "all", store.groups()[0].backbone, "maps")
    array = zarr.open_group(tmp_path / "store.zarr", mode="r")[f"{group.path}/blocks.0"]
    assert isinstance(array, zarr.Array)
    assert array.shape[0] == 40
    assert np.isnan(np.asarray(array[16:])).all()


def test_logits_and_head_are_the_models_own(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", 20)
    extract(options(tmp_path, views=("head", "logits"), backbones=("test_convnext",)), LOOP)
    store = FeatureStore.open(tmp_path / "store.zarr")
    backbone = load_backbone(resolve_spec("test_convnext", weights="random", image_size=64))
    (head, logits) = (store.layer(g, g.view).numpy() for g in store.groups())
    with torch.inference_mode():
        expected = backbone._model.get_classifier()(torch.from_numpy(head)).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sizes", [{"batch_size": 1_000_000, "unit": None}, {"batch_size": 8, "unit": 1_000_000}])
def test_sizes_far_beyond_the_data_set_are_refused_before_anything_is_written(
    tmp_path: Path, sizes: dict[str, int | None]
) -> None:
    write_folder(tmp_path / "pets", 20)
    asked = options(tmp_path, backbones=("test_vit",), **sizes)
    for refused in (lambda: extract(asked, LOOP), lambda: plan(asked)):
        with pytest.raises(UsageError, match="1000000 is more than there is") as caught:
            refused()
        assert "it has 20 samples" in (caught.value.why or "")
    assert not (tmp_path / "store.zarr").exists()


def test_a_batch_without_memory_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "pets", 20)
    asked = options(tmp_path, backbones=("test_vit",), batch_size=16)
    least = 16 * 3 * 64 * 64 * (3 + 4)  # three batches of uint8, one of float32
    monkeypatch.setattr("cvbench.jobs.extraction.room.memory_left", lambda: least - 1)
    with pytest.raises(ResourceError, match=r"a batch of 16 images takes 1\.4 MB") as caught:
        extract(asked, LOOP)
    assert "--batch-size 4" in (caught.value.fix or "")
    assert not (tmp_path / "store.zarr").exists()
    monkeypatch.setattr("cvbench.jobs.extraction.room.memory_left", lambda: least)
    assert extract(asked, LOOP).computed == 20
    monkeypatch.setattr("cvbench.jobs.extraction.room.memory_left", lambda: 1)
    with pytest.raises(ResourceError, match="a batch of 16") as caught:
        extract(asked, LOOP)
    assert "another --store" in (caught.value.fix or "")
