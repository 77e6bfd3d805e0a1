"""Two crossed factors of backbones: what a store's logits say of each, and what is no crossing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.evaluation.factorial import ENTRY, factorial
from cvbench.jobs.evaluation.options import FactorialOptions
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.results.cells import crossed
from cvbench.jobs.results.row import DIFFERENCE, VALUE, Row
from tests.docs.test_commands import find, known_options
from tests.jobs.logits_store import noisy_logits, write_logits

BIRDS = ("wren", "crow", "duck", "swan")
LABELS = np.arange(240) % 4
NETWORKS = {"conv": 1.6, "vit": 1.0}
OBJECTIVES = {"labels": 0.6, "text": 0.0, "pixels": -0.5}
"""How far the true class's logit stands out, network and objective added."""
LOGITS = {
    f"{network}-{objective}": noisy_logits(LABELS, 4, at + more, seed=seed)
    for seed, (network, objective, at, more) in enumerate(
        (network, objective, at, more) for network, at in NETWORKS.items() for objective, more in OBJECTIVES.items()
    )
}
CELLS = tuple(f"{name}={name.replace('-', ', ')}" for name in LOGITS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_logits(tmp_path_factory.mktemp("factorial") / "s.zarr", LOGITS, LABELS, BIRDS))


@pytest.fixture(scope="module")
def found(store: str) -> list[Row]:
    (one,) = factorial([Selection(store)], FactorialOptions(cells=CELLS))
    return ENTRY.rows_of(one.named)


def cell_means(measure: str) -> NDArray[np.float64]:
    """(2, 3) float64 means, straight from the logits."""
    values = np.empty((240, 6))
    for at, logits in enumerate(LOGITS.values()):
        stored = logits.astype(np.float32)
        right = stored.argmax(axis=1) == LABELS
        values[:, at] = right if measure == "top1" else softmax(stored.astype(np.float64), axis=1)[range(240), LABELS]
    return values.reshape(240, 2, 3)


@pytest.mark.parametrize("measure", ["top1", "probability of the true class"])
def test_effects_are_those_of_the_cells(found: list[Row], measure: str) -> None:
    means = cell_means(measure).mean(axis=0)
    effects = {row.factor: row for row in found if row.metric == f"effect on {measure}"}
    grand = means.mean()
    expected = {"architecture: conv": means[0].mean() - grand}
    for j, name in enumerate(OBJECTIVES):
        expected[f"objective: {name}"] = means[:, j].mean() - grand
        expected[f"together: conv, {name}"] = means[0, j] - means[0].mean() - means[:, j].mean() + grand
    assert effects.keys() == expected.keys(), "of the two networks one is enough"
    for name, value in expected.items():
        # Probabilities are of float32 logits, in float32: some 2**-20 each; shares of 240 images are exact to 2**-45.
        assert effects[name].value == pytest.approx(value, abs=2.0**-19 if measure != "top1" else 2.0**-45)
        assert effects[name].kind == DIFFERENCE
        assert effects[name].n == 240


def number(value: float | None) -> float:
    """The number of a row that must have one."""
    assert value is not None
    return value


def test_planted_effects_are_resolved_and_the_family_is_all_of_them(found: list[Row]) -> None:
    effects = {row.factor: row for row in found if row.metric == "effect on top1"}
    assert {name for name, row in effects.items() if row.verdict == "resolved"} >= {
        "architecture: conv",
        "objective: labels",
        "objective: pixels",
    }
    assert number(effects["architecture: conv"].low) > 0
    assert number(effects["objective: pixels"].high) < 0
    # Adjusted p values of a family never fall below the smallest one by the number of tests: seven effects here.
    least = min(number(row.p) for row in effects.values())
    assert least == pytest.approx(7 * unadjusted("architecture: conv", effects), rel=1e-6)


def unadjusted(name: str, effects: dict[str, Row]) -> float:
    """The p value of an effect by itself, from the paired contrast of the images (Student's t)."""
    from scipy import stats

    values = cell_means("top1")
    contrast = values[:, 0].mean(axis=1) - values.mean(axis=(1, 2))
    smallest = min(effects.values(), key=lambda row: number(row.p))
    assert smallest.factor in (name, "objective: pixels", "objective: labels")
    if smallest.factor != name:
        level = list(OBJECTIVES).index(smallest.factor.removeprefix("objective: "))
        contrast = values[:, :, level].mean(axis=1) - values.mean(axis=(1, 2))
    return float(stats.ttest_1samp(contrast, 0).pvalue)


def test_the_spread_is_parted(found: list[Row]) -> None:
    parts = {row.factor: row for row in found if row.metric == "sum of squared effects on top1"}
    assert list(parts) == ["architecture", "objective", "architecture and objective together"]
    assert all(row.kind == VALUE for row in parts.values())
    assert number(parts["architecture"].low) > 0
    together = parts["architecture and objective together"]
    assert abs(number(together.value)) < number(parts["architecture"].value) / 3
    values = cell_means("top1")
    contrasts = values.mean(axis=2) - values.mean(axis=(1, 2))[:, None]
    pairs = contrasts @ contrasts.T
    mean_of_pairs = (pairs.sum() - np.trace(pairs)) / (240 * 239)
    assert parts["architecture"].value == pytest.approx(3 * mean_of_pairs, rel=1e-9)


def test_it_is_kept_and_its_command_makes_it_again(store: str) -> None:
    (one,) = factorial([Selection(store)], FactorialOptions(cells=CELLS, factors=("network", "aim")))
    words = ENTRY.command(one.named)
    assert words[:2] == ["eval", "factorial"]
    assert {word for word in words if word.startswith("--")} <= known_options(find(words))
    assert [words[at + 1] for at, word in enumerate(words) if word == "--cell"] == list(CELLS)
    assert words[words.index("--factors") + 1] in ("network,aim", "network")
    assert ENTRY.figure is not None
    figure = ENTRY.figure(one.named, ENTRY.rows_of(one.named))
    assert next(label.get_text() for label in figure.axes[0].get_yticklabels()) == "network: conv"


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ((), "no backbone stands in a cell"),
        (CELLS[:-1], "1 cells have no backbone"),
        ((*CELLS[:-1], "vit-pixels=vit"), "names no cell"),
        ((*CELLS, "other=conv,labels"), "a cell has one backbone"),
        ((*CELLS, CELLS[0]), "stands in one cell only"),
        (CELLS[:3], "has one level only: conv"),
    ],
)
def test_what_is_no_crossing_is_refused(cells: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        crossed(cells, ("architecture", "objective"))


def test_backbones_may_be_called_as_they_were_typed(tmp_path: Path) -> None:
    stored = {f"{name}@32": logits for name, logits in LOGITS.items()}
    store = str(write_logits(tmp_path / "s.zarr", stored, LABELS, BIRDS))
    (one,) = factorial([Selection(store)], FactorialOptions(cells=CELLS))
    assert [*one.result.attrs["cells"]] == [*stored]


def test_backbones_that_the_store_lacks_are_named(store: str) -> None:
    absent = tuple(cell.replace("vit-pixels=", "vit-words=") for cell in CELLS)
    with pytest.raises(UnknownNameError, match="vit-words"):
        factorial([Selection(store)], FactorialOptions(cells=absent))
