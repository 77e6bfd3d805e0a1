"""`cvbench eval import`."""

from __future__ import annotations

from cvbench.cli.command import command
from cvbench.cli.say import say
from cvbench.jobs.evaluation.options import ImportOptions


def _import(options: ImportOptions) -> None:
    """Make predictions of another tool the logits of a backbone. Every benchmark can then score them."""
    from cvbench.cli.display import progress
    from cvbench.jobs.evaluation.predictions import import_predictions as run

    with progress() as listen:
        done = run(options, listen)
    there = f"{done.dataset}/{done.split}/{done.backbone}"
    say(f"{there}: {done.samples - done.missing:,} of {done.samples:,} samples, {done.kind}")
    if done.missing:
        say(f"{done.missing:,} samples have no prediction and count as failed")
    if not done.kind.startswith(("logits", "probabilities")):
        say("only the winner is known: top-5, NLL, Brier, masked classes and the shape bias are not defined")


import_predictions = command("import", [ImportOptions], _import)
