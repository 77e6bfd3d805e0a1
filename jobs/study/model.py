"""What a study file may say: models of pydantic, made from the options that commands have. No option stands here twice.

A key of the file is the name of an option without its dashes in front, with "_" or "-" between its words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, replace
from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from cvbench.errors import CvbenchError, UnknownNameError, UsageError
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.options import DEFAULT_STORE
from cvbench.jobs.registry import forms_of, places
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.study.document import NAMED, Document, plain
from cvbench.jobs.transfer.finetune_options import FinetuneOptions
from cvbench.options import Field as Given
from cvbench.options import Form, form_of

GROUPS = dict(zip(NAMED, ("analyze", "eval", "transfer"), strict=True))
"""List of the file -> group of the registry."""
DRAFT = "https://json-schema.org/draft/2020-12/schema"
KNOWN = {"store", "dataset", "split", "backbone", "data_root", "source"}
"""Options of analyses that the study gives, unless they are given."""


class Model(BaseModel):
    """Knows its keys and no others, however the words of a key are joined."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _joined(cls, value: Any) -> Any:
        known = {plain(key): key for key in cls.keys()}  # noqa: SIM118
        return {known.get(plain(key), key): one for key, one in value.items()} if isinstance(value, dict) else value

    @classmethod
    def keys(cls) -> list[str]:
        """List the keys, as the file has them."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    def said(self) -> dict[str, Any]:
        """Map each key that is said to its value."""
        values = {field.alias or name: getattr(self, name) for name, field in type(self).model_fields.items()}
        return {key: value for key, value in values.items() if value is not None}


class Named(Model):
    """An analysis by its name, with its options."""

    @model_validator(mode="after")
    def _one(self) -> Named:
        if len(self.model_fields_set) != 1:
            raise PydanticCustomError("one_name", "one name with its options is an item")
        return self


class Budget(Model):
    """Most that a study may cost; looked at before its first step."""

    bytes: str | None = Field(default=None, description="Most that its extractions may write, e.g. 20GB.")
    hours: float | None = Field(default=None, gt=0, description="Most that all extractions and trainings may take.")


class Page(Model):
    """Options of the report."""

    out: str = Field(default="report", description="Folder for the page, the figures and the tables.")
    pdf: bool = Field(default=False, strict=True, description="Draw every figure as PDF too.")
    claims: list[str] = Field(default=[], description="TOML files of claims, judged beside the published ones.")


def _number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _text_as_number(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, str) else value  # YAML takes 1e-3 for text
    except ValueError:
        return value


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


_Text = Annotated[str, Strict(), BeforeValidator(_number_as_text)]
_AnyText = Annotated[_Text, WithJsonSchema({"type": ["string", "number"]})]
_Texts = Annotated[
    list[_AnyText],
    BeforeValidator(_listed),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["string", "number"]},
                {"type": "array", "items": {"type": ["string", "number"]}},
            ]
        }
    ),
]


def _type_of(one: Given) -> Any:
    """The type of an option: as it is typed on the command line, and as YAML would have it."""
    if one.choices:
        return Literal[one.choices]
    if one.kind == list[str]:
        return _Texts
    kind = next((kind for kind in get_args(one.kind) if kind is not type(None)), one.kind)
    bounds: dict[str, Any] = {
        key: value for key, value in (("ge", one.option.least), ("le", one.option.most)) if value is not None
    }
    if kind is bool:
        return Annotated[bool, Strict()]
    if kind is int:
        return Annotated[int, Strict(), Field(**bounds)]
    if kind is float:
        return Annotated[float, BeforeValidator(_text_as_number), Field(strict=True, **bounds)]
    return _AnyText


def options_model(name: str, given: Iterable[Given], *, needless: Iterable[str] = ()) -> type[Model]:
    """The model of these options; None is what is not said.

    Args:
        given: The first of each key counts.
        needless: Keys that may be left out though the command asks for them.
    """
    found: dict[str, Any] = {}
    for one in given:
        kind, must = _type_of(one), _is_missing(one) and one.key not in needless
        said: dict[str, Any] = {"alias": one.key, "description": one.option.help}
        if one.default is not None and not _is_missing(one) and one.key not in needless:
            said["json_schema_extra"] = {"default": one.default}
        typed = (kind, Field(**said)) if must else (kind | None, Field(None, **said))
        found.setdefault(f"x_{one.key}", typed)
    return create_model(name, __base__=Model, **found)


def _is_missing(one: Given) -> bool:
    return one.default is MISSING


def entry_fields(forms: Sequence[Form | type[Any]]) -> list[Given]:
    """The options of an analysis that a study may give: all but the store and where it runs, each key once."""
    found: dict[str, Given] = {}
    for form in map(form_of, forms):
        if form.options is not Hardware:
            for one in form.fields():
                several = one.key == "dataset"  # a step for each
                found.setdefault(one.key, replace(one, kind=list[str]) if several else one)
    found.pop("store", None)
    return list(found.values())


def _named(group: str) -> Any:
    """The items of a group. Those of plugins that cannot be imported are left out; `unknown` says why."""
    found: dict[str, Any] = {}
    for name in places(group):
        try:
            fields = entry_fields(forms_of(name))
        except CvbenchError:
            continue
        model = options_model(f"Options of {name}", fields, needless=KNOWN)
        found[f"x_{plain(name)}"] = (model | None, Field(None, alias=name, description=places(group)[name].line))
    return create_model(f"One of {group}", __base__=Named, **found)


def of_extraction(*but: str) -> Iterator[Given]:
    """The options of an extraction, without some and without those that a study has elsewhere."""
    left_out = {"store", "backbone", "weights", *but}
    return (one for one in Form(ExtractOptions).fields() if one.key not in left_out)


def of_training() -> Iterator[Given]:
    """The options of a training that are not the backbone's; its files go into "weights" unless it is said."""
    left_out = {"backbone", "weights", "image_size"}
    for one in Form(FinetuneOptions).fields():
        if one.key not in left_out:
            yield replace(one, default="weights") if one.key == "out" else one


@cache
def study_model() -> Any:
    """The model of a whole file. Made once: which packages are installed does not change meanwhile."""
    offered = {one.key: one for one in Form(ExtractOptions).fields()}
    size: Any = _type_of(offered["image_size"]) | None
    train: Any = options_model("Training", of_training())
    backbone: Any = create_model(
        "Backbone",
        __base__=Model,
        model=(_Text, Field(description=offered["backbone"].option.help)),
        name=(_Text | None, Field(None, description="Of your own: two trainings of one model go by two names.")),
        weights=(_Text | None, Field(None, description=offered["weights"].option.help)),
        image_size=(size, Field(None, description=offered["image_size"].option.help)),
        train=(train | None, Field(None, description="Fine-tune it first, from `weights`, as `transfer finetune`.")),
    )
    only = Field(None, description="Which analyses, evaluations and transfer are of it; all, if it is left out.")
    one_each = (replace(one, kind=list[str]) if one.key == "split" else one for one in of_extraction())
    dataset: Any = create_model(
        "Data set", __base__=options_model("Of a data set", one_each), only=(_Texts | None, only)
    )
    extract: Any = options_model("Extraction", of_extraction("dataset", "split"))
    place = options_model("Place", Form(Hardware).fields())
    items: dict[str, Any] = {key: _named(group) for key, group in GROUPS.items()}
    lists: dict[str, Any] = {
        key: (list[item], Field(default_factory=list, description=f"Entries of `cvbench {GROUPS[key]}`."))  # type: ignore[valid-type]
        for key, item in items.items()
    }
    return create_model(
        "Study",
        __base__=place,
        jobs=(
            Annotated[int, Strict()],
            Field(
                1,
                ge=1,
                description="Steps that run side by side in this machine's processes, each with its share of the "
                "cores; as many as there are cores at most. A GPU is shared. Not with a Ray.",
            ),
        ),
        store=(_Text, Field(DEFAULT_STORE, description="Path or URL of the feature store.")),
        backbones=(list[backbone], Field(min_length=1, description="The networks that are compared.")),
        datasets=(list[dataset], Field(min_length=1, description="The images.")),
        extract=(extract | None, Field(None, description="How features are extracted, of every data set.")),
        budget=(
            Budget | None,
            Field(None, description="What the study may cost; more is refused before its first step."),
        ),
        report=(Page | None, Field(None, description="The page at the end.")),
        **lists,
    )


def study_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a study file, with the options of the packages that are installed."""
    schema = study_model().model_json_schema(by_alias=True)
    defs = schema["$defs"]
    for key, short in (("backbones", "model"), ("datasets", "dataset")):
        items = schema["properties"][key]["items"]
        schema["properties"][key]["items"] = {"anyOf": [{"type": "string", "description": f"Its {short}."}, items]}
    for key in GROUPS:
        items = schema["properties"][key]["items"]
        one = defs[items["$ref"].rpartition("/")[2]]
        one |= {"minProperties": 1, "maxProperties": 1}
        names = {"enum": sorted(one["properties"])}
        schema["properties"][key]["items"] = {"anyOf": [names, items]}
    return {"$schema": DRAFT, **schema, "title": "A study of cvbench"}


def validate(document: Document) -> tuple[Model | None, list[UsageError]]:
    """The model of a document that is spread; or all that is wrong with it, each with its line."""
    if not isinstance(document.value, dict):
        return None, [
            UsageError("a study is keys with values", where=document.place(()), fix="`config init` writes an example")
        ]
    try:
        return study_model().model_validate(document.value), []
    except ValidationError as error:
        return None, [_problem(document, one) for one in error.errors(include_url=False)]


def _problem(document: Document, error: Mapping[str, Any]) -> UsageError:
    at, kind, value = error["loc"], error["type"], error["input"]
    where, inside = document.place(at), _words(document, at[:-1])
    if kind == "extra_forbidden":
        return _unknown(at, inside, where)
    if kind == "missing":
        return UsageError(f"{inside} lacks {at[-1]!r}", where=where)
    message = str(error["msg"]).removeprefix("Input ")
    message = "should be keys with values" if kind in ("model_type", "dict_type") else message
    shown = f", not {_shown(value)}" if kind != "one_name" else ""
    return UsageError(f"{_words(document, at)}: {message[0].lower()}{message[1:]}{shown}", where=where)


def _unknown(at: tuple[str | int, ...], inside: str, where: str) -> UsageError:
    key = str(at[-1])
    if len(at) == 3 and at[0] in GROUPS:
        error: UsageError = UnknownNameError.among(f"name of {at[0]}:", key, _keys(at[:-1]))
        try:
            forms_of(key)  # a plugin that cannot be imported
        except UsageError as found:
            error = found
    else:
        error = UnknownNameError.among(f"key of {inside}:", key, _keys(at[:-1]))
    error.where = where if error.where is None else f"{where}; {error.where}"
    return error


def _keys(at: Sequence[str | int]) -> list[str]:
    """List the keys of the model at a place of the file."""
    model: Any = study_model()
    for part in at:
        if isinstance(part, str):
            model = next(_models(_field(model, part).annotation))
    return list(model.keys())


def _field(model: Any, key: str) -> FieldInfo:
    found: FieldInfo = next(field for name, field in model.model_fields.items() if (field.alias or name) == key)
    return found


def _models(kind: Any) -> Iterator[Any]:
    if isinstance(kind, type) and issubclass(kind, Model):
        yield kind
    for inner in get_args(kind):
        yield from _models(inner)


def _words(document: Document, at: Sequence[str | int]) -> str:
    """A place of the file in words: "datasets.0.split" is "split of datasets, item 1"."""
    if not at:
        return "the study"
    parts = [f"item {part + 1}" if isinstance(part, int) else part for part in at]
    if at[0] in GROUPS and len(at) > 2:
        return " of ".join([*map(str, parts[3:][::-1]), str(at[2])])
    return " of ".join(map(str, parts[::-1]))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
