"""What actors write is kept in bounds."""

from __future__ import annotations

from cvbench.jobs.running.logs import LINES, PROCESSES, WIDTH, Logs


def test_the_last_lines_of_each_process() -> None:
    logs = Logs()
    for number in range(LINES + 5):
        logs.take({"ip": "10.0.0.1", "pid": 7, "lines": [f"line {number}"]})
    logs.take({"ip": "10.0.0.2", "pid": "7", "lines": ["other", "x" * 10 * WIDTH]})
    assert logs.tail("10.0.0.1", 7) == tuple(f"line {number}" for number in range(5, LINES + 5))
    assert logs.tail("10.0.0.2", 7) == ("other", "x" * WIDTH)
    assert logs.tail("10.0.0.3", 7) == ()


def test_what_is_of_no_actor_is_left_out() -> None:
    logs = Logs()
    logs.take({"ip": "10.0.0.1", "pid": "autoscaler", "lines": ["Adding 1 node"]})
    logs.take({"lines": ["nobody's"]})
    assert not logs._lines


def test_only_so_many_processes() -> None:
    logs = Logs()
    for pid in range(PROCESSES):
        logs.take({"ip": "n", "pid": pid, "lines": ["one"]})
    logs.take({"ip": "n", "pid": 0, "lines": ["two"]})  # wrote last, so it stays
    logs.take({"ip": "n", "pid": PROCESSES, "lines": ["one"]})
    assert len(logs._lines) == PROCESSES
    assert logs.tail("n", 0) == ("one", "two")
    assert logs.tail("n", 1) == ()
