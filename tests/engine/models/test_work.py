"""The work of a pass, against what is counted by hand."""

from __future__ import annotations

from torch import nn

from cvbench.engine.models.backbones import describe, resolve_spec
from cvbench.engine.models.work import Work, work_of


def test_products_and_all_values_written_are_counted_and_views_are_not() -> None:
    grid = 4 * 6
    module = nn.Sequential(
        nn.Conv2d(3, 5, 2, stride=2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(5 * grid, 7)
    ).eval()
    counted = work_of(module, (8, 12))
    assert counted == Work(flops=2 * (grid * 5 * 3 * 4 + grid * 5 * 7), elements=grid * 5 + grid * 5 + 7)


def test_the_work_of_a_network_grows_with_its_images() -> None:
    small, large = (describe(resolve_spec("test_vit", weights="random", image_size=n), taps=[]).work for n in (32, 64))
    tokens = (4 * 4 + 1) / (2 * 2 + 1)
    assert tokens < large.flops / small.flops < 1.1 * tokens  # and attention between all of them
    assert tokens > large.elements / small.elements > 0.9 * tokens  # all but the head
