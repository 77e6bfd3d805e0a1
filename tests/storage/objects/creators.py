"""Several creators of one object at once."""

from __future__ import annotations

import threading

from cvbench.storage.objects.base import Objects


def check_one_wins(objects: Objects, key: str, size: int) -> None:
    """Refuse a place where of eight creators of an object not just one wins, or its bytes are not the winner's."""
    barrier, won = threading.Barrier(8), list[int]()

    def attempt(i: int) -> None:
        barrier.wait()
        if objects.create(key, bytes([i]) * size):
            won.append(i)

    threads = [threading.Thread(target=attempt, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert objects.get(key) == bytes(won) * size
