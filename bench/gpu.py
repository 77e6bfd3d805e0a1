"""What to run first on a machine with a CUDA card: tests, then every figure, in one call of less than ten minutes.

    python bench/gpu.py                    # ConvNeXt-Base and ViT-B/16, random weights, on `cuda`; no network, no Ray
    python bench/gpu.py --dry              # the same lines with tiny models on any device: does it run?
    python bench/gpu.py --json FILE        # where the figures go; default gpu.json

Prints a table and writes one JSON object. Exit 1 if a test fails or a kernel disagrees.

    tests     `pytest -m gpu`: the kernels on the card against NumPy
    checks    CuPy (NumPy without a card) against NumPy in float64
    card      measured rates: products in float32, bf16, fp16; copies within the device, to it and from it
    forward   images/s of the bare models and of `Backbone.run` with every block pooled and the head (bound 0.90), per
              precision, and how far the precision moves the pooled features from fp32
    kernels   each live analysis of one layer: seconds, share of the measured rate of products and of copies
    memory    bytes that each layer's live analyses take at their peak beside the network
    extract   images/s between the first unit's commit and the last's, in this process: without decoding (the same
              batch again and again), from JPEG files, from these with all live analyses, compiled; of decoding alone
    goals     of these figures the shares that docs/scale.md aims at

What no time is left for is named under "left_out".
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from gpu_checks import AGREEMENT, kernel_checks
from gpu_extract import extract_figures, goals
from gpu_measures import DRY, FULL, card_figures, forward_figures, kernel_figures, memory_figures

from cvbench.engine.models import compiled

ROOT = Path(__file__).parents[1]
SECONDS = 560.0
"""Of the whole call."""
TESTS = 200.0
"""Of the tests."""


def machine(device: torch.device) -> dict[str, str]:
    """What the figures belong to."""
    found = {"torch": torch.__version__, "timm": timm.__version__, "device": device.type}
    if device.type == "cuda":
        import cupy

        found |= {
            "device": torch.cuda.get_device_name(device),
            "cupy": cupy.__version__,
            "cuda": str(torch.version.cuda),
        }
    return found


def gpu_tests(dry: bool) -> dict[str, Any]:
    """The GPU-marked tests, in a process of their own; without a card, in a dry run, one file of them."""
    where = "tests/engine/arrays/test_array.py" if dry else "tests"
    words = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:randomly", "-p", "no:cacheprovider", where]
    try:
        within = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(words, cwd=ROOT, env=within, capture_output=True, text=True, timeout=TESTS, check=False)
    except subprocess.TimeoutExpired:
        return {"passed": False, "said": f"not done within {TESTS:.0f} s"}
    return {
        "passed": done.returncode == 0,
        "said": done.stdout.strip().splitlines()[-1] if done.stdout else done.stderr,
    }


def flat(figures: Any, name: str = "") -> list[tuple[str, Any]]:
    """("a / b", value) of nested figures."""
    if not isinstance(figures, dict):
        return [(name, figures)]
    return [row for key, value in figures.items() for row in flat(value, f"{name} / {key}" if name else key)]


def main() -> int:
    """Run everything, print the table, and say by the exit code whether tests and kernels agree."""
    parser = argparse.ArgumentParser(description="tests and figures on one CUDA machine")
    parser.add_argument("--dry", action="store_true", help="tiny models, on the CPU if there is no GPU")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"))
    asked = parser.parse_args()
    if not asked.dry and not torch.cuda.is_available():
        parser.error("no CUDA device; --dry runs the same lines on the CPU")
    if asked.dry:
        compiled.BACKEND = "eager"  # captured as it would be, without the minutes of a C++ compiler
    start = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scale = DRY if asked.dry else FULL
    figures: dict[str, Any] = {"machine": machine(device), "seconds": {}, "left_out": []}
    phases: dict[str, Callable[[], Any]] = {
        "tests": lambda: gpu_tests(asked.dry),
        "checks": lambda: kernel_checks(device),
        "card": lambda: card_figures(scale, device),
        "forward": lambda: forward_figures(scale, device),
        "kernels": lambda: kernel_figures(scale, device, figures["card"]),
        "memory": lambda: memory_figures(scale, device),
        "extract": lambda: extract_figures(scale, device, until=start + SECONDS),
        "goals": lambda: goals(figures),
    }
    for name, measure in phases.items():
        begun = time.monotonic()
        if begun - start > SECONDS and name != "goals":
            figures["left_out"].append(name)
            continue
        figures[name] = measure()
        figures["seconds"][name] = round(time.monotonic() - begun, 1)
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")  # what is measured is kept, whatever comes
    print("| figure | value |\n|---|--:|")
    for name, value in flat(figures):
        print(f"| {name} | {value:.4g} |" if isinstance(value, float) else f"| {name} | {value} |")
    return int(not figures["tests"]["passed"] or max(figures["checks"].values()) > AGREEMENT)


if __name__ == "__main__":
    raise SystemExit(main())
