"""The memory that a process may still take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cvbench.jobs.running import memory


def test_a_limit_of_the_process_counts() -> None:
    code = """
import resource
from cvbench.jobs.running.memory import memory_left
before = memory_left()
resource.setrlimit(resource.RLIMIT_AS, (500_000_000, resource.getrlimit(resource.RLIMIT_AS)[1]))
left = memory_left()
assert 0 < left < 500_000_000 < before, (before, left)
held = b"x" * 100_000_000
assert left - 101_000_000 < memory_left() <= left - 99_000_000
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_a_limit_of_the_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    before = memory.memory_left()
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    assert memory.memory_left() is not None  # half of what is asked for: it does not count
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 50\n")
    assert memory.memory_left() == 350
    (tmp_path / "memory.max").write_text("max\n")
    assert (memory.memory_left() is None) == (before is None)
