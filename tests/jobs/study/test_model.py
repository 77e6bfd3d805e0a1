"""What a study file may say: the models made from the options, their errors with lines, and the JSON Schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.registry import ENTRIES, forms_of
from cvbench.jobs.study.example import example
from cvbench.jobs.study.model import DRAFT, entry_fields, study_schema
from cvbench.jobs.study.study import StudyError
from cvbench.options import Form
from tests.jobs.study.studies import study_of


def problems(text: str, *given: str) -> list[UsageError]:
    with pytest.raises(UsageError) as caught:
        study_of(text, *given)
    return list(caught.value.problems) if isinstance(caught.value, StudyError) else [caught.value]


WRONG = """\
store: a.zarr
datasets:
  - dataset: digits
    splitt: test
  - {dataset: digits, limit: true}
extract: {precision: fp16, decoder: fastt, unit: 2, keep_bits: 1.5}
analyses:
  - spectra: {resamples: many}
  - skpectra
  - cam: {class: 281, examples: 99}
  - {cka: {}, maps: {}}
evaluations: [{pug: {lables: x.json}}]
adress: none
"""


def test_all_problems_are_told_at_once_each_with_its_line() -> None:
    found = {(str(one.where), one.what): one for one in problems(WRONG)}
    assert sorted(int(where.partition(":")[2]) for where, _ in found) == [4, 5, 6, 6, 6, 8, 9, 10, 11, 12, 13]
    near = {one.what: one.did_you_mean for one in found.values()}
    assert near["unknown key of item 1 of datasets: 'splitt'"][0] == "split"
    assert near["unknown name of analyses: 'skpectra'"] == ("spectra",)
    assert near["unknown key of the study: 'adress'"] == ("address",)
    said = "\n".join(near)
    assert "resamples of spectra: should be a valid integer, not 'many'" in said
    assert "examples of cam: should be less than or equal to 24, not 99" in said
    assert "decoder of extract: should be 'fast' or 'pil', not 'fastt'" in said
    assert "unit of extract: should be greater than or equal to 4, not 2" in said
    assert "limit of item 2 of datasets: should be a valid string, not True" in said
    assert "item 4 of analyses: one name with its options is an item" in said
    assert near["unknown key of pug: 'lables'"] == ("labels",)


def test_one_problem_is_an_error_of_its_own_kind() -> None:
    with pytest.raises(UnknownNameError) as caught:
        study_of("datasets: [digits]\nextract:\n  image-siz: 3\n")
    assert (caught.value.where, caught.value.did_you_mean) == ("s.yaml:3", ("image_size",))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("datasets: [digitz]", "s.yaml:1", "unknown dataset 'digitz'"),
        ("datasets: ['@robust']", "s.yaml:1", "unknown group"),
        ("datasets:\n  - {dataset: digits, split: tests}", "s.yaml:2", "unknown split of digits: 'tests'"),
        ("datasets:\n  - {dataset: digits, maps: some}", "s.yaml:2", "--maps some: give a positive number or 'all'"),
        ("datasets: [digits]\nextract: {max_bytes: lots}", "s.yaml:1", "--max-bytes lots"),
        ("datasets: [digits]\nanalyses:\n  - silhouette:\n      metric: taxi", "s.yaml:3", "unknown metric 'taxi'"),
        ("datasets: [digits]\nevaluations:\n  - accuracy:\n      headline: top2", "s.yaml:4", "unknown --headline"),
        ("datasets:\n  - {dataset: digits, only: [cka]}\nanalyses: [spectra]", "s.yaml:2", "name in only: 'cka'"),
        ("datasets: [digits]\nanalyses:\n  - spectra: {dataset: dtd}", "s.yaml:3", "data set in the study: 'dtd'"),
        ("datasets: []", "s.yaml:1", "at least 1 item"),
        ("- digits  # backbones:", "s.yaml:1", "keys with values"),
        ("datasets: [3]", "s.yaml:1", "item 1 of datasets: should be keys with values, not 3"),
        ("datasets: digits", "s.yaml:1", "datasets: should be a valid list"),
    ],
)
def test_what_options_and_names_refuse_has_its_line(text: str, where: str, said: str) -> None:
    found = problems(text)
    assert [one.where for one in found] == [where]
    assert said in found[0].what


def test_set_is_checked_as_the_file_is() -> None:
    (found,) = problems("datasets: [digits]", "extract.limitt=3")
    assert (found.where, found.did_you_mean) == ("--set extract.limitt=3", ("limit",))
    (found,) = problems("datasets: [digits]", "extract.keep_bits=11")
    assert "should be less than or equal to 10" in found.what


def test_numbers_and_single_words_stand_for_text_and_lists() -> None:
    study = study_of(
        "datasets: [{dataset: digits, maps: 64, limit: all, view: maps}]\nextract: {max-unreadable: 1e-2, unit: 8}"
    )
    (options,) = study.extractions(study.images[0])
    assert (options.maps, options.limit, options.views, options.unit) == (64, None, ("maps",), 8)
    assert options.max_unreadable == 0.01


def test_every_option_of_every_command_is_a_key() -> None:
    own = {one["title"]: {*one["properties"]} for one in study_schema()["$defs"].values()}
    given = {one.key for one in Form(ExtractOptions).fields()} - {"store", "backbone", "weights"}
    assert own["Extraction"] == given - {"dataset", "split"}
    assert own["Data set"] == {*given, "only"}
    for name, place in ENTRIES.items():
        if place.group:
            wanted = {one.key for one in entry_fields(forms_of(name))}
            assert own[f"Options of {name}"] == wanted, name


def test_the_example_is_valid_by_the_schema_and_by_the_models() -> None:
    schema = json.loads(json.dumps(study_schema()))
    assert schema["$schema"] == DRAFT
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    value: dict[str, Any] = yaml.safe_load(example())
    assert not list(validator.iter_errors(value))
    assert [one.spec for one in study_of(example()).images] == ["digits"] * 3
    wrongs: list[dict[str, Any]] = [
        {"extra": 1},
        {"store": 3},
        {"backbones": []},
        {"analyses": ["nope"]},
        {"analyses": [{"cka": {"x": 1}}]},
    ]
    for wrong in wrongs:
        assert list(validator.iter_errors({**value, **wrong})), wrong
