"""What is to run first on a card runs here, with tiny models: `python bench/gpu.py --dry`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_bench_of_a_card(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "bench" / "gpu.py"), "--dry", "--json", str(tmp_path / "gpu.json")]
    within = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(words, env=within, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "gpu.json").read_text())
    assert figures["left_out"] == []
    assert set(figures["extract"]) == {
        "decoding alone",
        *(
            f"bf16, {how}"
            for how in ("no decoding", "jpeg", "jpeg, all live", "compiled, no decoding", "compiled, jpeg")
        ),
        "fp32, no decoding",
    }
    assert all(rate > 0 for rate in figures["extract"].values())
    assert set(figures["goals"]) == {
        "bf16, jpeg: of the slower of forward and decoding",
        "bf16, compiled, jpeg: of the slower of forward and decoding",
        "bf16, jpeg, all live: of none live",
    }
