"""CKA of two small models, all three matrices, against the packages torch-cka and pytorch-cka.

    python bench/cka.py            prints the tables that bench/README.md quotes

Every tool runs in a process of its own, with the same models (random weights, layer scale 0.2 so that blocks matter),
images, batches and threads, and hooks on the same block outputs, flattened. `cvbench` gives all three matrices,
ConvNeXt x ConvNeXt, ViT x ViT and ConvNeXt x ViT; the others the last alone. `bare` is the forward passes without any
hook, which nobody can be below. The tools alternate for `--rounds`; each is judged by its best round, memory by the
middle one: the peak of the resident set less what it was with models and images loaded. cvbench runs as its command
line does, with torch's threads told not to spin while they wait; the others as they come.

Accuracy is of the same stored activations (every third block) for all tools, against the definition in float64.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.cka import hsic
from cvbench.engine.analyses.cka.measure import MinibatchCka, UnitHsic
from cvbench.engine.arrays.array import from_torch
from cvbench.engine.arrays.threads import host_threads

PAIR = ["convnext_tiny", "vit_small_patch16_224"]
PEERS = ("pytorch-cka", "torch-cka")


def load(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=0).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if key.endswith("gamma"):
                weight.fill_(0.2)
    return model


def images(n: int) -> torch.Tensor:
    """(n, 3, 224, 224) float32: random scenes with structure at every scale, not white noise."""
    noise = torch.Generator().manual_seed(1)
    scales = [torch.randn(n, 3, size, size, generator=noise) for size in (4, 14, 56, 224)]
    return sum((nn.functional.interpolate(x, size=224, mode="bilinear") for x in scales), torch.zeros(()))


def layers_of(model: nn.Module, taps: str) -> list[str]:
    """Every block's output; with "all" also the parts of each block that mix space and channels."""
    blocks = [key for key, _ in model.named_modules() if key.split(".")[-2:-1] == ["blocks"]]
    parts = ("attn", "conv_dw", "mlp") if taps == "all" else ()
    inside = [f"{block}.{part}" for block in blocks for part in parts]
    return blocks + [key for key in inside if key in dict(model.named_modules())]


def run_bare(models: list[nn.Module], x: torch.Tensor, batch: int) -> None:
    with torch.inference_mode():
        for part in torch.split(x, batch):
            for model in models:
                model(part)


def run_cvbench(models: list[nn.Module], x: torch.Tensor, batch: int, names: list[list[str]]) -> NDArray[np.float64]:
    taps = [model.get_submodule(key) for model, keys in zip(models, names, strict=True) for key in keys]
    unit: UnitHsic

    def hook(index: int) -> Callable[[nn.Module, Any, torch.Tensor], None]:
        return lambda module, _, output: unit.add(index, from_torch(output), str(index))

    handles = [tap.register_forward_hook(hook(i)) for i, tap in enumerate(taps)]
    total = np.zeros((len(taps), len(taps)))
    with torch.inference_mode(), host_threads(torch.get_num_threads()):
        for part in torch.split(x, batch):
            unit = UnitHsic(len(taps), len(part), batch)
            for model in models:
                model(part)
            total += unit.per_batch()[0]
    for handle in handles:
        handle.remove()
    return np.asarray(hsic.cka(total))


def run_pytorch_cka(models: list[nn.Module], x: torch.Tensor, batch: int, taps: list[list[str]]) -> NDArray[np.float64]:
    peer = importlib.import_module("cka")

    loader = DataLoader(TensorDataset(x), batch_size=batch)
    (found,) = peer.compute_cka(
        *models, loader, layers=taps[0], model2_layers=taps[1], device=torch.device("cpu"), progress=False
    )
    return np.asarray(found.double())


def run_torch_cka(models: list[nn.Module], x: torch.Tensor, batch: int, taps: list[list[str]]) -> NDArray[np.float64]:
    from torch_cka import CKA

    tool = CKA(*models, "a", "b", model1_layers=taps[0], model2_layers=taps[1])
    with torch.inference_mode():
        tool.compare(DataLoader(TensorDataset(x), batch_size=batch))
    return np.asarray(tool.export()["CKA"].double())


RUN_PEER = {"pytorch-cka": run_pytorch_cka, "torch-cka": run_torch_cka}


def child(tool: str, pair: list[str], wanted: str, n: int, batch: int) -> dict[str, Any]:
    """Time and memory of one tool in this process."""
    models, x = [load(name) for name in pair], images(n)
    taps = [layers_of(model, wanted) for model in models]
    run_bare(models, x[:4], 4)

    def run() -> None:
        if tool == "bare":
            run_bare(models, x, batch)
        elif tool == "cvbench":
            run_cvbench(models, x, batch, taps)
        else:
            RUN_PEER[tool](models, x, batch, taps)

    pages = int(Path("/proc/self/statm").read_text().split()[1])
    before = pages * os.sysconf("SC_PAGE_SIZE")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    status = Path("/proc/self/status").read_text()  # getrusage would give the parent's peak through fork
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    return {"wall": wall, "cpu": cpu, "memory": peak - before}


def spawn(tool: str, options: argparse.Namespace) -> dict[str, Any]:
    line = [sys.executable, __file__, "--child", tool, "--pair", *options.pair]
    for key in ("taps", "images", "batch", "threads"):
        line += [f"--{key}", str(getattr(options, key))]
    environment = dict(os.environ, OMP_WAIT_POLICY="passive") if tool == "cvbench" else None
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def best(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The least time of all rounds and the middle one's memory; the first failure if there is one."""
    for row in rounds:
        if "failed" in row:
            return row
    middle = sorted(row["memory"] for row in rounds)[len(rounds) // 2]
    return {"wall": min(row["wall"] for row in rounds), "cpu": min(row["cpu"] for row in rounds), "memory": middle}


class Replay(nn.Module):
    """A model whose layers give stored activations: its input is the samples' numbers."""

    def __init__(self, features: list[torch.Tensor]) -> None:
        super().__init__()
        self.taps = nn.ModuleList([Stored(x) for x in features])

    def forward(self, rows: torch.Tensor) -> None:
        for tap in self.taps:
            tap(rows)


class Stored(nn.Module):
    def __init__(self, x: torch.Tensor) -> None:
        super().__init__()
        self.x = x

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.x[rows]


def activations(pair: list[str], n: int) -> list[list[torch.Tensor]]:
    kept: list[list[torch.Tensor]] = []
    for name in pair:
        model = load(name)
        kept.append([])
        for key in layers_of(model, "blocks")[::3]:
            model.get_submodule(key).register_forward_hook(lambda m, i, out: kept[-1].append(out.flatten(1)))
        with torch.inference_mode():
            model(images(n))
    return kept


def reference(features: list[torch.Tensor], batch: int) -> NDArray[np.float64]:
    """The definition (Song et al. 2012, equation 5) in float64, pair by pair."""
    total = np.zeros((len(features), len(features)))
    for start in range(0, len(features[0]), batch):
        kernels = []
        for x in features:
            rows = x[start : start + batch].double()
            rows = rows - rows.mean(dim=0)
            k = (rows @ rows.T).numpy()
            kernels.append(k - np.diag(np.diag(k)))
        b = len(kernels[0])
        for i, k in enumerate(kernels):
            for j, other in enumerate(kernels):
                last = 2 / (b - 2) * (k.sum(axis=0) @ other.sum(axis=1))
                total[i, j] += ((k * other).sum() + k.sum() * other.sum() / ((b - 1) * (b - 2)) - last) / (b * (b - 3))
    own = np.sqrt(np.diag(total))
    return np.asarray(total / np.outer(own, own))


def accuracy(pair: list[str], n: int, batch: int) -> Iterator[tuple[str, str, str]]:
    """(input, tool, maximum error or what happened), of the ConvNeXt x ViT matrix; of all three for cvbench."""
    plain = activations(pair, n)
    inputs = {
        "float32": plain,
        "float32 + 1000": [[x + 1000 for x in model] for model in plain],
        "float16": [[x.half() for x in model] for model in plain],
    }
    for name, (a, b) in inputs.items():
        # The float16 run is judged against the float32 activations that were rounded; the others against themselves.
        exact = reference([*plain[0], *plain[1]] if name == "float16" else [*a, *b], batch)
        layers = [Layer("x", str(i)) for i in range(len(a) + len(b))]
        stacked = dict(zip(layers, [*a, *b], strict=True))
        unit = MinibatchCka(batch=batch).measure(layers, lambda layer: from_torch(stacked[layer]), np.arange(n))  # noqa: B023
        yield name, "cvbench", describe(hsic.cka(unit["hsic"].sum(axis=0)), exact)
        taps = [[f"taps.{i}" for i in range(len(side))] for side in (a, b)]
        for peer in PEERS:
            try:
                found = RUN_PEER[peer]([Replay(a), Replay(b)], torch.arange(n), batch, taps)
                yield name, peer, describe(found, exact[: len(a), len(a) :])
            except Exception as error:  # a peer's failure is a finding
                yield name, peer, f"{type(error).__name__}: {error}"


def describe(found: NDArray[np.float64], exact: NDArray[np.float64]) -> str:
    bad = np.count_nonzero(~np.isfinite(found))
    return f"{bad} of {found.size} entries are not finite" if bad else f"{np.abs(found - exact).max():.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pair", nargs=2, default=PAIR, help="timm models")
    parser.add_argument("--taps", default="blocks", choices=("blocks", "all"))
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    here = Path(__file__).resolve().parent  # pytorch-cka is imported as `cka`: not this file
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != here]
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    if options.child:
        print(json.dumps(child(options.child, options.pair, options.taps, options.images, options.batch)))
        return
    print(
        f"{' and '.join(options.pair)}, {options.images} images, batches of {options.batch}, "
        f"{options.threads} threads, {'block outputs' if options.taps == 'blocks' else 'blocks and their parts'}\n"
    )
    print(f"{'tool':14}{'matrices':>9}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}   wall, CPU, memory against pytorch-cka")
    tools = ("bare", *PEERS, "cvbench")
    rounds = [{tool: spawn(tool, options) for tool in tools} for _ in range(options.rounds)]
    base = best([row["pytorch-cka"] for row in rounds])
    for tool in tools:
        row = best([found[tool] for found in rounds])
        matrices = {"bare": 0, "cvbench": 3}.get(tool, 1)
        if "failed" in row:
            print(f"{tool:14}{matrices:9d}   failed: {row['failed']}", flush=True)
            continue
        ratios = "" if "failed" in base else ", ".join(f"{row[k] / base[k]:.2f}" for k in ("wall", "cpu", "memory"))
        print(
            f"{tool:14}{matrices:9d}{row['wall']:9.2f}{row['cpu']:9.2f}{row['memory'] / 1e6:9.0f}   {ratios}",
            flush=True,
        )
    print(f"\n{'activations':16}{'tool':14}maximum error against float64")
    for name, tool, text in accuracy(options.pair, 32, 16):
        print(f"{name:16}{tool:14}{text}", flush=True)


if __name__ == "__main__":
    # NumPy's threads would spin beside torch's. OpenBLAS reads this at import, hence the restart.
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    main()
