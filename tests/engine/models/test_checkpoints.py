"""Files of weights as people have them: what is read of them, what is refused, and that nothing in them runs."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from cvbench.engine.models.backbones import BackboneSpec, describe, load_backbone, resolve_spec
from cvbench.engine.models.checkpoints import read_checkpoint
from cvbench.engine.models.fitting import stripped
from cvbench.engine.models.weights import build_model, build_noted
from cvbench.errors import DataUnavailableError, IntegrityError, UsageError

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    return dict(build_model(BackboneSpec("test_vit", "random", seed=7)).state_dict())


def behind(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def loaded(path: Path, model: str = "test_vit", **options: Any) -> tuple[State, tuple[str, ...]]:
    found, notes = build_noted(resolve_spec(model, weights=str(path), **options))
    return dict(found.state_dict()), notes


def same(found: State, wanted: State) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


ARGS = argparse.Namespace(lr=np.float64(0.1), data=Path("/data"), epochs=3)
HEAD = {"head.mlp.0.weight": torch.ones(4, 64)}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda s: s, ""),
        (
            lambda s: {"state_dict": s, "epoch": 3, "arch": "test_vit", "args": ARGS, "optimizer": OPTIMIZER},
            "took state",
        ),
        (lambda s: {"model": s, "optimizer": OPTIMIZER, "args": ARGS, "scaler": {"scale": 1.0}}, "took model"),
        (lambda s: {"state_dict": zeros(s), "state_dict_ema": s}, "took state_dict_ema, not state_dict"),
        (lambda s: {"model": zeros(s), "model_ema": behind("module.", s)}, "took model_ema, not model"),
        (
            lambda s: {"student": behind("module.backbone.", zeros(s)), "teacher": {**behind("backbone.", s), **HEAD}},
            "took teacher, not student; took the names behind backbone.; left out head.mlp.0.weight",
        ),
        (lambda s: behind("_orig_mod.", s), ""),
        (lambda s: {"state_dict": behind("module._orig_mod.", s)}, "behind module."),
        (lambda s: {"state_dict": behind("model.encoder.", s)}, "behind model.encoder."),
    ],
)
@pytest.mark.parametrize("ending", [".pth", ".pth.tar"])
def test_training_checkpoints_give_their_weights(
    tmp_path: Path, state: State, content: Callable[[State], Any], said: str, ending: str
) -> None:
    path = tmp_path / f"checkpoint{ending}"
    torch.save(content(state), path, _use_new_zipfile_serialization=ending == ".pth")
    found, notes = loaded(path)
    assert same(found, state)
    assert said in " ".join(notes)
    assert bool(said) == bool(notes)


def zeros(state: State) -> State:
    return {name: torch.zeros_like(tensor) for name, tensor in state.items()}


class Runs:
    """Makes a file when it is unpickled by a reader that runs what a pickle says."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_checkpoint_runs(tmp_path: Path, state: State, zipped: bool) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.pth"
    torch.save({"state_dict": state, "extra": Runs(marker)}, path, _use_new_zipfile_serialization=zipped)
    torch.load(path, weights_only=False)  # the fixture is what it says
    assert marker.is_dir()
    marker.rmdir()
    with pytest.raises(UsageError, match=r"only running code could read") as caught:
        loaded(path)
    assert not marker.exists()
    assert "mkdir" in str(caught.value)
    with pytest.raises(UsageError):
        describe(resolve_spec("test_vit", weights=str(path)), taps=["blocks"])
    assert not marker.exists()


def test_what_holds_no_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    for content in ({"epoch": 3}, [1, 2], {"a": {"w": torch.ones(2)}, "b": {"w": torch.ones(2)}}):
        torch.save(content, path)
        with pytest.raises(UsageError, match="holds no weights that are known"):
            read_checkpoint(path)
    path.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_checkpoint(path)
    with pytest.raises(DataUnavailableError, match="not there"):
        read_checkpoint(tmp_path / "none.pt")


def test_what_is_no_file_of_torch_is_said_to_be_none(tmp_path: Path, state: State) -> None:
    path = tmp_path / "w.pth"
    torch.save(state, path)
    whole = path.read_bytes()
    for content, why in (
        (b"", "it is empty"),
        (b"hello", "it is no file that torch.save wrote: it begins with b'hell'"),
        (b"version https://git-lfs.github.com/spec/v1", "it begins with b'vers'"),
        (whole[: len(whole) // 2], "it is cut short"),
    ):
        path.write_bytes(content)
        with pytest.raises(IntegrityError, match="cannot be read") as caught:
            read_checkpoint(path)
        assert why in (caught.value.why or "")
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(IntegrityError, match="cannot be read") as caught:
        read_checkpoint(tmp_path / "w.safetensors")
    assert caught.value.why


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_of_another_make_is_refused_without_a_warning(tmp_path: Path, protocol: int) -> None:
    marker, path = tmp_path / "ran", tmp_path / "w.pth"
    path.write_bytes(pickle.dumps(Runs(marker), protocol))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UsageError) as caught:
            read_checkpoint(path)
    assert not marker.exists()
    said = str(caught.value)
    assert "running code" in said
    assert not re.search(r"\d{2,}", said.replace(str(path), ""))  # no number of an instruction


def test_a_sharded_file_is_put_together(tmp_path: Path, state: State) -> None:
    names = sorted(state)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in shards.items():
        save_file({name: state[name].contiguous() for name in part}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    where = {name: file for file, part in shards.items() for name in part}
    index.write_text(json.dumps({"weight_map": where}))
    assert same(loaded(index)[0], state)
    index.write_text(json.dumps({"weight_map": {**where, names[0]: "../secret.safetensors"}}))
    with pytest.raises(IntegrityError, match="another folder"):
        loaded(index)
    index.write_text(json.dumps({"weight_map": {**where, "more": "model-1.safetensors"}}))
    with pytest.raises(IntegrityError, match="lack more"):
        loaded(index)
    for text in ("[]", "{", '{"weight_map": 3}'):
        index.write_text(text)
        with pytest.raises(IntegrityError):
            loaded(index)


def test_two_networks_that_fit_are_not_chosen_from(state: State) -> None:
    plain = {**behind("left.", state), **behind("right.", state)}
    with pytest.raises(UsageError, match="several networks that fit") as caught:
        stripped(plain, state)
    assert "left and right" in str(caught.value)
    found, prefix, rest = stripped({**behind("net.", zeros(state)), **behind("ema.net.", state)}, state)
    assert (prefix, len(rest)) == ("ema.net.", len(state))
    assert same(found, state)


def test_missing_names_say_what_they_are_perhaps_called(tmp_path: Path, state: State) -> None:
    path = tmp_path / "w.safetensors"
    save_file({name.replace("blocks.0.norm1", "blocks.0.norm_1"): tensor for name, tensor in state.items()}, path)
    with pytest.raises(UsageError, match="does not fit test_vit") as caught:
        loaded(path)
    assert "missing: blocks.0.norm1.bias, blocks.0.norm1.weight" in str(caught.value)
    assert "blocks.0.norm1.bias is perhaps its blocks.0.norm_1.bias" in str(caught.value)


def test_a_deeper_network_is_not_cut_short(tmp_path: Path, state: State) -> None:
    more = {
        name.replace("blocks.5.", "blocks.6."): tensor.clone() for name, tensor in state.items() if "blocks.5." in name
    }
    save_file({**state, **more}, tmp_path / "w.safetensors")
    assert more
    with pytest.raises(UsageError, match=r"unexpected: blocks\.6\."):
        loaded(tmp_path / "w.safetensors")


def test_what_is_beside_the_network_is_left_out_and_said(tmp_path: Path, state: State) -> None:
    path = tmp_path / "w.safetensors"
    save_file({**state, "mask_token": torch.ones(1, 1, 64), "decoder_blocks.0.w": torch.ones(2)}, path)
    found, notes = loaded(path)
    assert same(found, state)
    (note,) = notes
    assert note.startswith("test_vit: of w.safetensors ")
    assert "mask_token" in note
    assert "left out decoder_blocks.0.w" in note


@pytest.mark.parametrize("end", [".pth", ".safetensors"])
def test_a_head_beside_the_network_is_not_its_own(tmp_path: Path, end: str) -> None:
    """A class that holds `self.backbone` and `self.head`, as people write it."""
    inner = timm.create_model("test_vit", num_classes=0)
    whole = {**behind("backbone.", dict(inner.state_dict())), "head.weight": torch.ones(3, 64)}
    path = tmp_path / f"w{end}"
    save_file(whole, path) if end == ".safetensors" else torch.save(whole, path)
    model, notes = build_noted(resolve_spec("test_vit", weights=str(path)))
    assert all(torch.equal(tensor, inner.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert "left out head.weight" in notes[0]


@pytest.mark.parametrize(("classes", "prefix"), [(7, ""), (7, "module."), (0, "backbone.")])
def test_classes_are_the_files(tmp_path: Path, classes: int, prefix: str) -> None:
    model = timm.create_model("test_vit", num_classes=classes)
    path = tmp_path / "w.pt"
    torch.save({"model": behind(prefix, dict(model.state_dict()))}, path)
    spec = resolve_spec("test_vit", weights=str(path))
    sizes = describe(spec, taps=["blocks"]).head_sizes
    assert sizes == ({"head": 64, "logits": classes} if classes else {"head": 64})
    assert load_backbone(spec).head_sizes() == sizes


def timms_own(model: str, state: State, **options: Any) -> State:
    """What timm makes of the same bytes as pretrained weights."""
    overlay = {"state_dict": dict(state)}
    found = timm.create_model(model, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    return dict(found.state_dict())


@pytest.mark.parametrize(
    ("model", "source", "size"),
    [
        ("swin_tiny_patch4_window7_224", {}, 112),  # the last windows shrink, and their position tables
        ("convnextv2_atto.fcmae", {}, None),
        ("deit_tiny_patch16_224", {}, 96),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:timm")  # how it resizes tables
def test_a_file_is_taken_as_pretrained_bytes_are(
    tmp_path: Path, model: str, source: dict[str, Any], size: int | None
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        state = dict(timm.create_model(model, **source).state_dict())
    path = tmp_path / "w.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    options = {} if size is None else {"img_size": size}
    found, _ = loaded(path, model, image_size=size)
    assert same(found, timms_own(model, state, **options))


def test_names_of_other_makes_are_changed_as_timm_changes_them(tmp_path: Path) -> None:
    """ConvNeXt's authors call the depthwise convolution dwconv, and the stem downsample_layers.0."""
    state = dict(build_model(BackboneSpec("convnext_atto", "random")).state_dict())
    theirs = {}
    for name, tensor in state.items():
        old = name.replace("stem.", "downsample_layers.0.").replace("conv_dw.", "dwconv.").replace(".blocks.", ".")
        old = old.replace("mlp.fc1.", "pwconv1.").replace("mlp.fc2.", "pwconv2.")
        for stage in (1, 2, 3):
            old = old.replace(f"stages.{stage}.downsample.", f"downsample_layers.{stage}.")
        theirs[old.replace("head.norm.", "norm.").replace("head.fc.", "head.")] = tensor.clone()
    assert theirs.keys() != state.keys()
    torch.save({"model": theirs}, tmp_path / "w.pth")
    found, notes = loaded(tmp_path / "w.pth", "convnext_atto")
    assert same(found, state)
    assert "names are changed as its library does" in " ".join(notes)
    assert describe(resolve_spec("convnext_atto", weights=str(tmp_path / "w.pth")), taps=["blocks"]).head_sizes[
        "logits"
    ] == len(state["head.fc.bias"])


@pytest.mark.parametrize("weights", ["x.npz", "x.pkl", "s3://a/b.pth", "folder"])
def test_other_files_are_refused_by_name(weights: str) -> None:
    with pytest.raises(UsageError):
        resolve_spec("test_vit", weights=weights)
