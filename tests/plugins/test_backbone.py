"""A backbone of one's own, by `module:function`: extracted, analysed, reported; and what is said where it fails."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.engine.models.backbones import describe, load_backbone, resolve_spec
from cvbench.engine.models.layouts import TapLayout
from cvbench.engine.models.views import expand_views
from cvbench.engine.models.weights import weights_digest
from cvbench.errors import CvbenchError, UnknownNameError, UsageError
from cvbench.storage.features import FeatureStore
from tests.forks import Start
from tests.plugins.backbone import Tiny, tiny
from tests.plugins.package import command, install, python

SOURCE = Path(__file__).with_name("backbone.py")
NAME = "tests.plugins.backbone:tiny"
SIZES = ("-d", "digits", "-b", "16", "--unit", "32", "--limit", "64", "--address", "none")


def test_the_file_is_short() -> None:
    assert len(SOURCE.read_text().splitlines()) < 50


def test_extract_an_analysis_and_the_report_take_it(start: Start, tmp_path: Path) -> None:
    """The module lies in a folder on the path, as `cvbench` finds it that is started there."""
    site, store = tmp_path / "site", str(tmp_path / "s.zarr")
    install(site, "own-nets", {"own_nets.py": SOURCE.read_text()}, "")
    own = ("--backbone", "own_nets:tiny")
    views = [word for view in ("pooled", "head", "logits") for word in ("--view", view)]
    weights = ("--backbone", "test_vit", "--weights", "test_vit=random")
    done = command(start, site, "extract", *SIZES, *own, *weights, "--image-size", "32", *views, "--store", store)
    assert done.returncode == 0, done.stderr
    opened = FeatureStore.open(store)
    group = next(group for group in opened.groups() if (group.backbone, group.view) == ("own_nets.tiny@32", "pooled"))
    made = opened.fingerprint(group)["fingerprint"]
    assert opened.taps(group) == ["encoder.0", "encoder.1"]
    assert made["model"] == "own_nets:tiny"
    assert made["source"] == hashlib.sha256(SOURCE.read_bytes()).hexdigest()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert made["weights_digest"] == weights_digest(Tiny())

    done = command(start, site, "analyze", "cka", "--store", store, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert "own_nets.tiny@32" in done.stdout
    # The result and the report are made from the store alone: what it was made from need not be there.
    for words in (["analyze", "cka"], ["report", "--out", str(tmp_path / "report")]):
        result = CliRunner().invoke(app, [*words, "--store", store])
        assert result.exit_code == 0, result.output
    (page,) = (tmp_path / "report").glob("*.html")
    assert "--backbone own_nets:tiny" in page.read_text()


def test_what_is_kept_is_what_the_module_computes() -> None:
    backbone = load_backbone(resolve_spec(NAME))
    layouts = backbone.layouts(backbone.resolve_taps(["blocks"]))
    assert layouts == dict.fromkeys(("encoder.0", "encoder.1"), TapLayout(4, 4, 24, prefix=2, kind="tokens"))
    assert backbone.head_sizes() == {"head": 24, "logits": 10}
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    requests = expand_views(["pooled", "maps", "head", "logits"], layouts)
    found = {(one.view, one.tap): values for one, values in backbone.run(images, requests, dtype="float32").items()}

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Tiny().double().eval()
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (tiny().mean, tiny().std))
    with torch.no_grad():
        inputs = (images.double() / 255 - mean) / std
        grid = module.patches(inputs).flatten(2).transpose(1, 2)
        tokens = torch.cat([module.registers.expand(3, -1, -1), grid], dim=1)
        for at, block in enumerate(module.encoder):
            tokens = block(tokens)
            kept = tokens[:, 2:]
            torch.testing.assert_close(
                found["pooled", f"encoder.{at}"].double(), kept.mean(dim=1), rtol=1e-4, atol=1e-4
            )
            torch.testing.assert_close(
                found["maps", f"encoder.{at}"].double(), kept.unflatten(1, (4, 4)), rtol=1e-4, atol=1e-4
            )
        torch.testing.assert_close(found["head", "head"].double(), kept.mean(dim=1), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found["logits", "logits"].double(), module(inputs), rtol=1e-4, atol=1e-4)


def test_a_bare_module_is_taken_as_it_is() -> None:
    """torchvision's networks end in a linear layer: what it reads is the head, and no other word is needed."""
    described = describe(resolve_spec("torchvision.models:resnet18"), taps=["blocks"])
    assert described.head_sizes == {"head": 512, "logits": 1000}
    assert list(described.layouts) == [f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2)]
    assert described.preprocess.geometry.size == (224, 224)


def test_weights_of_a_file_take_the_place_of_its_own(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        other = Tiny()
    save_file(other.state_dict(), tmp_path / "w.safetensors")
    spec = resolve_spec(NAME, weights=str(tmp_path / "w.safetensors"))
    assert load_backbone(spec).weights_digest == weights_digest(other)
    save_file({"other": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="the weights file does not fit"):
        load_backbone(spec)


OWN = """
import torch
from torch import nn
from cvbench.engine.models.own_models import OwnModel
def number(): return 3
def fails(): raise RuntimeError("no such luck")
def narrow(): return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
def named(): return OwnModel(nn.Sequential(nn.Conv2d(3, 4, 4)), classifier="fc", size=(8, 8))
class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Conv1d(3, 5, 2)
    def forward(self, x): return {"out": self.mix(x.flatten(2))}
def odd(): return OwnModel(Odd(), size=(8, 8))
value = 3
"""
FAULTS = {
    "own_absent:make": "there is no module 'own_absent' to import",
    "own_broken:make": "own_broken cannot be imported",
    "own_faults:nimber": "unknown callable in own_faults: 'nimber'",
    "own_faults:value": "is of type int and cannot be called",
    "own_faults:number": "gives no torch.nn.Module",
    "own_faults:fails": "raises as it is called",
    "own_faults:narrow": "cannot take images (2, 3, 224, 224)",
    "own_faults:named": "unknown classifier of own_faults:named: 'fc'",
}


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_faults.py").write_text(OWN)
    (tmp_path / "own_broken.py").write_text("import own_broken_part")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("own_faults", "own_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_backbone_is_said(faults: None, name: str) -> None:
    with pytest.raises(CvbenchError) as caught:
        describe(resolve_spec(name), taps=["blocks"])
    assert FAULTS[name] in caught.value.what


def test_a_forward_of_another_kind_has_taps_and_no_head(faults: None) -> None:
    """Its one layer gives (B, 5, 63): whether 5 or 63 are channels, and where the grid is, nobody can tell."""
    spec = resolve_spec("own_faults:odd")
    with pytest.raises(UsageError, match="where its grid is cannot be told") as caught:
        describe(spec, taps=["mix"])
    assert "(2, 5, 63)" in (caught.value.why or "")
    with pytest.raises(UnknownNameError, match="no taps for the set 'blocks'"):
        describe(spec, taps=["blocks"])


def test_weights_of_ones_own_are_not_drawn(tmp_path: Path) -> None:
    words = ["extract", *SIZES, "-m", NAME, "--weights", "random", "--store", str(tmp_path / "s.zarr")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code != 0
    assert "are those that it has" in str(result.exception)
    assert not (tmp_path / "s.zarr").exists()


def test_a_module_in_the_working_directory_is_found(tmp_path: Path) -> None:
    """As a console script is started: its own folder is on the path, and the working directory is not."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "own_here.py").write_text(SOURCE.read_text())
    code = (
        "import json, os, sys; sys.path.remove(''); os.chdir(sys.argv[1])\n"
        "from cvbench.engine.models.backbones import describe, resolve_spec\n"
        "print(json.dumps(list(describe(resolve_spec('own_here:tiny'), taps=['blocks']).layouts)))"
    )
    done = python(tmp_path, str(tmp_path / "here"), code=code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["encoder.0", "encoder.1"]
