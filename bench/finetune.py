"""Fine-tuning small backbones on scikit-learn's digits from random weights: accuracy and seconds. Bound: 95 % top-1.

    python bench/finetune.py [--threads 2]

1,400 images to train (train + val), 397 to test, the recipe `modern`, no Ray. The seconds are of the whole job: decode,
train, test, write.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command does, before torch starts its threads

from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.transfer.finetune import FinetuneOptions, finetune

RUNS = (("test_convnext", 64, 3), ("test_vit", 64, 30))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    cluster = Cluster(address="none", device="cpu", threads=options.threads)
    print(f"{'backbone':16}{'pixels':>7}{'epochs':>7}{'top-1':>8}{'low':>8}{'high':>8}{'wall s':>8}{'CPU s':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for model, size, epochs in RUNS:
            job = FinetuneOptions("digits", model, folder, weights="random", epochs=epochs, image_size=size)
            wall, cpu = time.perf_counter(), time.process_time()
            found = finetune(job, cluster).numbers["top1"]
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            numbers = "".join(f"{found[key]:8.4f}" for key in ("value", "low", "high"))
            print(f"{model:16}{size:7d}{epochs:7d}{numbers}{wall:8.1f}{cpu:8.1f}", flush=True)


if __name__ == "__main__":
    main()
