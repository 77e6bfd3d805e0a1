"""The steps of a study, in the order in which they run: each is one command, and knows which steps it needs."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, replace
from typing import Any, NoReturn, Protocol, TypeAlias

from cvbench.errors import UsageError
from cvbench.hints import command
from cvbench.jobs.extraction.backbones import specs_of
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.registry import entry_of, find_live, forms_of
from cvbench.jobs.report import complete, report
from cvbench.jobs.results.command import command_words
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.place import cores_here
from cvbench.jobs.running.progress import Listener
from cvbench.jobs.study.chosen import loaded, stored_names
from cvbench.jobs.study.document import At
from cvbench.jobs.study.study import DatasetSplit, Request, Study, Training, made
from cvbench.jobs.transfer.finetune_options import FinetuneOptions
from cvbench.jobs.transfer.probe_splits import TRAINING
from cvbench.options import Field, Form, form_of
from cvbench.storage.datasets import key_of_spec, spec_of_key
from cvbench.storage.datasets.groups import expand

EXTRACT, REPORT, TRAIN = "extract", "report", "transfer finetune"


class Step(Protocol):
    """One command of a study.

    Attributes:
        name: Unique in the study.
        needs: Names of the steps that must have ended well before it.
        follows: Names of the steps that must have ended before it, well or not.
    """

    @property
    def name(self) -> str: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def follows(self) -> tuple[str, ...]: ...
    @property
    def command(self) -> str:
        """The command that does the same, to paste."""

    def run(self, listen: Listener) -> Sequence[str]:
        """Do it; gives the paths of results in the store, or of files."""


@dataclass(frozen=True)
class Fitting:
    """Training of a backbone, whose weights the extractions take."""

    name: str
    options: FinetuneOptions
    weights: str
    hardware: Hardware
    needs: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        words = {**Form(FinetuneOptions).words(self.options), **Form(Hardware).words(self.hardware)}
        return command(TRAIN, **words)

    def run(self, listen: Listener) -> Sequence[str]:
        from cvbench.jobs.transfer.finetune import finetune

        return [finetune(self.options, self.hardware.cluster(cores_here()), listen).weights]


@dataclass(frozen=True)
class Extraction:
    """Features of one split of one data set, through all backbones of one image size."""

    name: str
    options: ExtractOptions
    hardware: Hardware
    needs: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        words = {**Form(ExtractOptions).words(self.options), **Form(Hardware).words(self.hardware)}
        return command(EXTRACT, **words)

    def run(self, listen: Listener) -> Sequence[str]:
        live = find_live(self.options.analyses)
        return extract(self.options, self.hardware.cluster(), listen, live).results


@dataclass(frozen=True)
class Computation:
    """An analysis, an evaluation or a probe of what the store holds.

    Attributes:
        asked: What each of its forms makes.
        images: Keys of the data sets that its results are kept under; empty: not known before.
    """

    name: str
    entry: str
    group: str
    asked: tuple[Any, ...]
    images: tuple[tuple[str, str | None], ...]
    needs: tuple[str, ...]
    follows: tuple[str, ...] = ()

    @property
    def forms(self) -> tuple[Form, ...]:
        """Its options."""
        return tuple(map(form_of, forms_of(self.entry)))

    @property
    def command(self) -> str:
        words = command_words(f"{self.group} {self.entry}", self.forms, *map(_one, self.asked))
        return shlex.join(["cvbench", *words])

    def run(self, listen: Listener) -> Sequence[str]:
        entry = entry_of(self.entry)
        assert entry is not None
        assert entry.run is not None
        return [kept.path for kept in entry.run(*self.asked, listen)]


@dataclass(frozen=True)
class Reporting:
    """The page of all results of the store. It needs nothing: what failed is said, and the rest is shown."""

    store: str
    out: str
    pdf: bool
    claims: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    name: str = REPORT
    needs: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        return command(REPORT, store=self.store, out=self.out, pdf=self.pdf, claims=list(self.claims))

    def run(self, listen: Listener) -> Sequence[str]:
        done = report(self.store, self.out, listen, pdf=self.pdf, claims=self.claims)
        complete(done)
        return [str(done.page)]


def _one(made: Any) -> Any:
    """Take the one instance of a form that makes a list."""
    return made[0] if isinstance(made, list) else made


def steps_of(study: Study) -> list[Step]:
    """All steps, the extractions first, the report last.

    Raises:
        UsageError: An analysis that fits none of the data sets; with the line.
    """
    found: _Found = {}
    trained = {one.weights: _fitting(one, study.hardware) for one in study.trainings}
    steps: list[Step] = list(trained.values())
    for images in study.images:
        of_images = list(_extractions(study, images, {step.name for step in steps}, trained))
        found.setdefault(images.place, []).extend(of_images)
        steps += of_images
    probes: list[str] = []  # evaluations follow them, as they may give them their logits
    for asked in sorted(study.asked, key=lambda one: one.group == "eval"):
        one_by_one = _Planner(study, asked, found)
        for step in one_by_one.probes() if asked.group == "transfer" else one_by_one.steps():
            numbered = _numbered(step, {one.name for one in steps})
            steps.append(replace(numbered, follows=tuple(probes)) if asked.group == "eval" else numbered)
            probes += [numbered.name] if asked.group == "transfer" else []
    every = tuple(step.name for step in steps)
    return [*steps, Reporting(study.store, study.out, study.pdf, study.claims, every)]


def _fitting(one: Training, hardware: Hardware) -> Fitting:
    return Fitting(f"{TRAIN} {one.options.backbone} {one.options.dataset}", one.options, one.weights, hardware)


def _extractions(
    study: Study, images: DatasetSplit, taken: set[str], trained: Mapping[str, Fitting]
) -> Iterator[Extraction]:
    every = study.extractions(images)
    for options in every:
        name = f"{EXTRACT} {_where(images)}"
        name += f" at {options.image_size or 'their own size'}" if len(every) > 1 or images.size else ""
        if name in taken:
            raise UsageError(
                f"{_where(images)} is given twice, with other options",
                where=study.document.place(images.at),
                fix="give it once",
            )
        files = [words.rpartition("=")[2] for words in options.weights]
        needs = tuple(step.name for weights, step in trained.items() if weights in files)
        yield Extraction(name, options, study.hardware, needs)


def _where(images: DatasetSplit) -> str:
    return images.spec if images.split is None else f"{images.spec}/{images.split}"


def _numbered(step: Computation, taken: set[str]) -> Computation:
    name, count = step.name, 1
    while name in taken:
        count += 1
        name = f"{step.name} ({count})"
    return replace(step, name=name)


_Found: TypeAlias = dict[tuple[str, str | None, At], list[Extraction]]
"""Data set, split and its place in the file -> its extractions: the same images may be there at several sizes."""


@dataclass(frozen=True)
class _Planner:
    """Makes the steps of one analysis of the study."""

    study: Study
    asked: Request
    found: _Found

    @property
    def forms(self) -> tuple[Form, ...]:
        return tuple(map(form_of, forms_of(self.asked.name)))

    def steps(self) -> Iterator[Computation]:
        """One for each data set that it is of; of several together, as shifts of a data set are, one."""
        field = next((one for form in self.forms for one in form.fields() if one.key == "dataset"), None)
        together = field is not None and field.kind == list[str] and not any(form.each for form in self.forms)
        if together or field is None:
            named = expand(self.asked.options.get("dataset", ()))
            yield self._step(None, list(named), [one for one in self.study.images if self._is_named(one)])
            return
        for images in self._chosen():
            near = [one for one in self.study.images if one is images or self._is_beside(one, images)]
            of_images = any(form.options is ExtractOptions for form in self.forms)
            for extraction in self._of([images]) if of_images else [None]:
                yield self._step(images, [images.spec], near, extraction)

    def probes(self) -> Iterator[Computation]:
        """One for each data set that has a split to fit on and one to test on."""
        options = self.asked.options
        splits: dict[str, set[str | None]] = {}
        for images in self.study.images:
            if images.takes(self.asked.name):
                splits.setdefault(images.spec, set()).add(images.split)
        fit = {options["train_split"]} if "train_split" in options else {*TRAINING}
        test = options.get("test_split", "test")
        fitting = [spec for spec, held in splits.items() if held & fit and test in held]
        if not (specs := expand(options.get("dataset", ())) or fitting):
            self._refuse(f"none has a split to train on and the split {test} to test on")
        for spec in specs:
            beside = [one for one in self.study.images if one.key == key_of_spec(spec)]
            tested = next((one for one in beside if one.split == test), beside[0])  # its result is kept with that split
            yield self._step(tested, [spec], beside)

    def _is_named(self, images: DatasetSplit) -> bool:
        named = [key_of_spec(spec) for spec in expand(self.asked.options.get("dataset", ()))]
        return images.key in named if named else images.takes(self.asked.name)

    def _is_beside(self, one: DatasetSplit, images: DatasetSplit) -> bool:
        """Whether a step of `images` reads it too, as variants of the same split; other sizes are of the resolution."""
        of_sizes = one.size is None or "resolution" in self.asked.options.get("transform", ("resolution",))
        return self.asked.place.of_variants and of_sizes and (one.base, one.split) == (images.base, images.split)

    def _chosen(self) -> list[DatasetSplit]:
        """The data sets that it is of, each alone."""
        asked, place = self.asked, self.asked.place
        named = [key_of_spec(spec) for spec in expand(asked.options.get("dataset", ()))]
        every = [one for one in self.study.images if asked.options.get("split") in (None, one.split)]
        if named:
            of_name = [one for one in every if one.key in named]
            chosen = [one for one in of_name if one.takes(asked.name)] or of_name
            lacking = f"none named has the split {asked.options.get('split')}"
        elif place.dataset:
            key = key_of_spec(place.dataset)
            chosen = [one for one in every if one.key == key and one.takes(asked.name)]
            lacking = f"it is of {place.dataset}, unless `dataset` names another"
        elif place.of_variants:
            chosen = self._with_variants([one for one in every if one.takes(asked.name)])
            lacking = "none has variants, such as digits+scale"
        else:
            chosen = [one for one in every if one.takes(asked.name) and not one.is_variant]
            lacking = "`only` and `split` leave none"
        if not chosen:
            self._refuse(lacking)
        return chosen

    def _with_variants(self, every: Sequence[DatasetSplit]) -> list[DatasetSplit]:
        """One of each data set and split that has variants, or is extracted at several sizes."""
        first: dict[tuple[str, str | None], DatasetSplit] = {}
        sizes = Counter(place[:2] for place, steps in self.found.items() for _ in steps)
        for one in sorted(every, key=lambda one: one.is_variant):
            if one.is_variant or sizes[one.key, one.split] > 1:
                first.setdefault((one.base, one.split), one)
        plain = {(one.base, one.split): one for one in reversed(every) if not one.is_variant}
        return [plain.get(place, one) for place, one in first.items()]

    def _refuse(self, lacking: str) -> NoReturn:
        raise UsageError(
            f"{self.asked.name} is of no data set of the study: {lacking}",
            where=self.study.document.place(self.asked.at),
            fix="add it to datasets, or leave this out",
        )

    def _of(self, images: Sequence[DatasetSplit]) -> list[Extraction]:
        return [step for one in images for step in self.found[one.place]]

    def _step(
        self,
        images: DatasetSplit | None,
        specs: list[str],
        near: Sequence[DatasetSplit],
        alone: Extraction | None = None,
    ) -> Computation:
        needed = [alone] if alone is not None else list(dict.fromkeys(self._of(near)))
        where = ", ".join(specs) if images is None or self.asked.group == "transfer" else _where(images)
        if self.asked.place.of_variants and images is not None:
            where, specs = f"{images.base}/{images.split}", [images.base]
        name = " ".join(filter(None, [self.asked.group, self.asked.name, where]))
        name += f" at {alone.options.image_size}" if alone is not None and len(self._of(near)) > 1 else ""
        known = self._known(images, specs, needed)
        first = alone or next(iter(needed), None)
        if named := self.asked.options.get("backbone"):
            known["backbone"] = stored_names(named, [one.options for one in needed])
        asked = tuple(made(form, self._typed(form, known, first)) for form in self.forms)
        kept = [] if images is None else [(key_of_spec(specs[0]), images.split)]
        return Computation(
            name, self.asked.name, self.asked.group, asked, tuple(kept), tuple(one.name for one in needed)
        )

    def _known(self, images: DatasetSplit | None, specs: list[str], needed: Sequence[Extraction]) -> dict[str, Any]:
        """Options that the study gives an analysis, unless it has its own."""
        keys = [spec.key for step in needed for spec in specs_of(step.options)]
        known: dict[str, Any] = {"store": self.study.store, "dataset": specs, "backbone": list(dict.fromkeys(keys))}
        if images is not None:
            known |= {"split": images.split, "data_root": images.typed.get("data_root")}
            known |= {"source": images.spec} if spec_of_key(images.key) != images.spec else {}
        return known

    def _typed(self, form: Form, known: Mapping[str, Any], extraction: Extraction | None) -> dict[str, Any]:
        fields = list(form.fields())
        if form.options is Hardware:
            return {one.key: getattr(self.study.hardware, one.key) for one in fields}
        given = dict(known)
        if form.options is ExtractOptions and extraction is not None:
            given = _typed_of(extraction.options, fields)
            if named := self.asked.options.get("backbone"):
                given |= loaded(named, extraction.options)
        given |= {
            key: value for key, value in self.asked.options.items() if key not in ("dataset", "split", "backbone")
        }
        return {one.key: given[one.key] for one in fields if one.key in given and not _is_less(one, given[one.key])}


def _is_less(one: Field, value: Any) -> bool:
    """Whether the study has nothing to say where the command has a default of its own."""
    return value in (None, []) and one.default is not MISSING


def _typed_of(options: ExtractOptions, fields: Sequence[Field]) -> dict[str, Any]:
    return {one.key: one.typed(getattr(options, one.path[-1])) for one in fields}
