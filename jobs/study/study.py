"""A study: what its file asks for, checked as far as it can be without images, weights or a store."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, replace
from pathlib import Path
from typing import Any

from cvbench.engine.models.forms import called
from cvbench.engine.models.specs import key_of
from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.extraction.options import ExtractOptions, datasets_of
from cvbench.jobs.registry import Place, forms_of, place_of
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.study.document import At, Document, override, read_document, spread
from cvbench.jobs.study.model import GROUPS, Budget, Model, Page, validate
from cvbench.jobs.transfer.finetune_options import FinetuneOptions
from cvbench.options import BYTES, Field, Form, form_of, make_options
from cvbench.storage.datasets import dataset_info, key_of_spec, with_columns
from cvbench.storage.datasets.variant import split_transform


class StudyError(UsageError):
    """Several things are wrong with a study file.

    Attributes:
        problems: Each of them.
    """

    code = "study"

    def __init__(self, file: str, problems: Sequence[UsageError]) -> None:
        lines = [f"{one.where}: {one.what}{_near(one)}" for one in problems]
        super().__init__("\n".join([f"{len(problems)} things are wrong with {file}", *lines]))
        self.problems = tuple(problems)

    def as_dict(self) -> dict[str, object]:
        return {**super().as_dict(), "problems": [problem.as_dict() for problem in self.problems]}


def _near(error: UsageError) -> str:
    if error.did_you_mean:
        return f"; did you mean {' or '.join(error.did_you_mean)}?"
    return "".join(f"; {text}" for text in (error.why, error.fix) if text)


@dataclass(frozen=True)
class DatasetSplit:
    """One split of one data set of the study.

    Attributes:
        spec: As `extract` is given it.
        split: None only where a data set has no split of its own to go by.
        typed: What is said of its extraction, as on the command line.
        only: Names of what is of it; None: all.
        size: Image size of its own, whatever that of the backbones; None: theirs.
    """

    spec: str
    split: str | None
    typed: Mapping[str, Any]
    only: tuple[str, ...] | None
    at: At
    size: int | None = None

    @property
    def place(self) -> tuple[str, str | None, At]:
        """Key that tells it from the same images at another size."""
        return self.key, self.split, self.at

    @property
    def key(self) -> str:
        """Name of the data set in the store."""
        return key_of_spec(self.spec)

    @property
    def base(self) -> str:
        """Spec without its transform."""
        return split_transform(self.spec)[0]

    @property
    def is_variant(self) -> bool:
        """Whether its images are transformed."""
        return split_transform(self.spec)[1] is not None

    def is_same(self, other: DatasetSplit) -> bool:
        """Whether the same is asked for of the same images."""
        return replace(self, at=()) == replace(other, at=())

    def takes(self, name: str) -> bool:
        """Whether an analysis of this name is of it."""
        return self.only is None or name in self.only


@dataclass(frozen=True)
class Request:
    """An analysis, an evaluation or a transfer of the study; `options` as they are typed."""

    group: str
    name: str
    options: Mapping[str, Any]
    at: At

    @property
    def place(self) -> Place:
        """Place of its entry in the registry."""
        found = place_of(self.name)
        assert found is not None
        return found


@dataclass(frozen=True)
class Training:
    """A backbone that is fine-tuned before anything else.

    Attributes:
        options: Of `transfer finetune`.
        backbone: Its number in the study.
    """

    options: FinetuneOptions
    backbone: int

    @property
    def weights(self) -> str:
        """The file that it makes."""
        one = self.options
        return str(Path(one.out) / f"{key_of(one.backbone, one.image_size)}-{key_of_spec(one.dataset)}.safetensors")


@dataclass(frozen=True)
class Study:
    """Content of a study file, checked.

    Attributes:
        words: Of `cvbench run` and its kin that mean this study: the file, and what was set over it.
        backbones: (model, behind NAME= if it has a name; weights; image size or None), in the order of the results;
            weights of one that is trained
            first are the file that its training makes.
        out, pdf, claims: Of the report.
        trainings: What is trained first.
        most_bytes, most_hours: What its extractions may cost; None is unlimited.
        jobs: Steps that run side by side.
    """

    words: tuple[str, ...]
    store: str
    hardware: Hardware
    backbones: tuple[tuple[str, str, int | None], ...]
    images: tuple[DatasetSplit, ...]
    asked: tuple[Request, ...]
    out: str = "report"
    pdf: bool = False
    claims: tuple[str, ...] = ()
    trainings: tuple[Training, ...] = ()
    most_bytes: int | None = None
    most_hours: float | None = None
    jobs: int = 1
    document: Document = field(default_factory=lambda: Document("", {}, {}), compare=False)

    @property
    def name(self) -> str:
        """The file and what was set over it, as words of a command."""
        return shlex.join(self.words)

    def extractions(self, images: DatasetSplit) -> list[ExtractOptions]:
        """One for each image size: a command has one for all its backbones.

        The size is the data set's own, if it has one, else the backbone's, else that of all extractions.
        """
        sizes: dict[int | None, list[tuple[str, str]]] = {}
        for model, weights, size in self.backbones:
            wanted = images.size or size or images.typed.get("image_size")
            sizes.setdefault(wanted, []).append((model, weights))
        found = []
        for size, members in sizes.items():
            given = {**images.typed, "image_size": size, "store": self.store, "backbone": [name for name, _ in members]}
            found.append(make_options(ExtractOptions, {**given, "weights": weight_words(members)}))
        return found


def weight_words(members: Sequence[tuple[str, str]]) -> list[str]:
    """The values of --weights for backbones with theirs.

    >>> weight_words([("a", "random"), ("b", "random")]), weight_words([("a", "pretrained"), ("b", "own.safetensors")])
    (['random'], ['b=own.safetensors'])
    >>> weight_words([("before=a", "pretrained"), ("after=a", "own.safetensors")])
    ['after=own.safetensors']
    """
    words = list(dict.fromkeys(weights for _, weights in members))
    return (
        words
        if len(words) == 1
        else [f"{called(name)}={weights}" for name, weights in members if weights != "pretrained"]
    )


def read_study(path: str, given: Sequence[str] = ()) -> Study:
    """Read and check a study file.

    Args:
        path: Of the file; paths in it are of the working folder, as if they were typed.
        given: What `--set` puts over it.

    Raises:
        DataUnavailableError: There is no file.
        UsageError: Something is wrong with it; `StudyError` if it is several things. With the line.
    """
    return make_study(read_document(path), given)


def make_study(document: Document, given: Sequence[str] = ()) -> Study:
    """Make the study of a document, see `read_study`."""
    document = spread(override(spread(document), given))
    model, problems = validate(document)
    if model is None:
        refuse(document, problems)
    assert model is not None
    words = [document.file, *(word for one in given for word in ("--set", one))]
    builder = _Builder(document, model)
    study = builder.study(tuple(words))
    refuse(document, builder.problems)
    return study


def refuse(document: Document, problems: Sequence[UsageError]) -> None:
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise StudyError(document.file, problems)


class _Builder:
    """Makes a study of a valid model, and collects what cannot be seen from the types."""

    def __init__(self, document: Document, model: Model) -> None:
        self.document, self.model = document, model
        self.problems: list[UsageError] = []

    def study(self, words: tuple[str, ...]) -> Study:
        top: Any = self.model
        common = {} if top.extract is None else top.extract.said()
        every = [one for at, given in enumerate(top.datasets) for one in self._images(at, given.said(), common)]
        # A grid of variants has the data set itself.
        images = tuple(one for at, one in enumerate(every) if not any(one.is_same(other) for other in every[:at]))
        asked = tuple(
            Request(GROUPS[key], name, options.said(), (key, at, name))
            for key in GROUPS
            for at, item in enumerate(getattr(top, key))
            for name, options in item.said().items()
        )
        self._check_only(images, asked)
        for one in asked:
            self._check(one, images)
        report, budget = top.report or Page(), top.budget or Budget()
        trainings = tuple(self._trainings(top.backbones))
        files = {one.backbone: one.weights for one in trainings}
        most_bytes = self._made(_bytes, budget.bytes, at=("budget", "bytes"))
        hardware = {key: value for key, value in top.said().items() if key in _HARDWARE}
        return Study(
            words,
            top.store,
            self._made(make_options, Hardware, hardware, at=()) or Hardware(),
            tuple(
                (_entry(one), files.get(at, one.weights or "pretrained"), one.image_size)
                for at, one in enumerate(top.backbones)
            ),
            images,
            asked,
            report.out,
            report.pdf,
            tuple(report.claims),
            trainings,
            most_bytes,
            budget.hours,
            top.jobs,
            self.document,
        )

    def _trainings(self, backbones: Sequence[Any]) -> Iterator[Training]:
        for at, one in enumerate(backbones):
            if one.train is None:
                continue
            own = {"backbone": _entry(one), "weights": one.weights or "pretrained", "image_size": one.image_size}
            place = ("backbones", at, "train")
            options = self._made(make_options, FinetuneOptions, {"out": "weights", **one.train.said(), **own}, at=place)
            if options is not None and self._made(dataset_info, options.dataset, at=(*place, "dataset")) is not None:
                yield Training(options, at)

    def _images(self, at: int, own: dict[str, Any], common: Mapping[str, Any]) -> Iterator[DatasetSplit]:
        only = own.pop("only", None)
        typed = {**common, **own}
        place: At = ("datasets", at)
        given = self._made(with_columns, typed["dataset"], typed.pop("columns", None), at=(*place, "columns"))
        for spec in [] if given is None else self._made(datasets_of, [given], at=(*place, "dataset")) or []:
            info = self._made(dataset_info, spec, at=(*place, "dataset"))
            for split in [] if info is None else typed.get("split") or [info.default_split or None]:
                if info.splits and split is not None and split not in info.splits:
                    self._add(UnknownNameError.among(f"split of {spec}:", split, info.splits), (*place, "split"))
                whole = {**typed, "dataset": spec, "split": split}
                # What is typed can be read: sizes such as 20GB, views, numbers or "all".
                self._made(make_options, ExtractOptions, {**whole, "store": ""}, at=place)
                kept = None if only is None else tuple(only)
                yield DatasetSplit(spec, split, whole, kept, place, own.get("image_size"))

    def _check_only(self, images: Sequence[DatasetSplit], asked: Sequence[Request]) -> None:
        names = [one.name for one in asked]
        for one in images:
            for name in one.only or ():
                if name not in names:
                    error = UnknownNameError.among("name in only:", name, names, fix="what the study computes")
                    self._add(error, (*one.at, "only"))

    def _check(self, asked: Request, images: Sequence[DatasetSplit]) -> None:
        """Collect what the options refuse, such as a word that is none of theirs, and data sets that are not listed."""
        keys = [one.key for one in images]
        for spec in asked.options.get("dataset", ()):
            if key_of_spec(spec) not in keys and not spec.startswith("@"):
                error = UnknownNameError.among("data set in the study:", spec, [one.spec for one in images])
                self._add(error, (*asked.at, "dataset"))
        for form in map(form_of, forms_of(asked.name)):
            if form.options is not Hardware:
                self._made(
                    made, form, {**asked.options, "dataset": list(asked.options.get("dataset", ()))}, at=asked.at
                )

    def _made(self, make: Any, *given: Any, at: At) -> Any:
        try:
            return make(*given)
        except UsageError as error:
            self._add(error, at)
            return None

    def _add(self, error: UsageError, at: At) -> None:
        option = error.what.partition("--")[2].split(" ")[0].rstrip(":,")
        error.where = self.document.place((*at, option) if option else at)
        if all((error.what, error.where) != (other.what, other.where) for other in self.problems):
            self.problems.append(error)


def _bytes(typed: str | None) -> int | None:
    try:
        return None if typed is None else int(BYTES.read(typed))
    except ValueError as error:
        raise UsageError(f"--bytes {typed}: {error}") from None


_HARDWARE = {one.key for one in Form(Hardware).fields()}


def made(form: Form, typed: Mapping[str, Any]) -> Any:
    """Make an instance by a form from what is typed and, where nothing is, from its defaults.

    Raises:
        UsageError: As the options refuse it.
    """
    values = {}
    for one in form.fields():
        value = typed[one.key] if one.key in typed else _empty(one) if one.default is MISSING else one.default
        if one.key == "dataset" and isinstance(value, list) and one.kind != list[str]:
            value = value[0] if value else None
        if one.option.check is not None and value is not None:
            one.option.check(value)
        values[one.key] = value
    return form.made(values)


def _entry(backbone: Any) -> str:
    """A backbone of the file as --backbone takes it."""
    return f"{backbone.name}={backbone.model}" if backbone.name else str(backbone.model)


def _empty(one: Field) -> Any:
    return [] if one.kind == list[str] else ""
