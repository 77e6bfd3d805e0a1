"""`cvbench models`: which backbones can be named, and what one of them is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

from cvbench.cli import options as shared
from cvbench.cli.command import command
from cvbench.cli.commands import Commands, Place, on_demand
from cvbench.cli.options import echo_json, echo_table
from cvbench.cli.say import say
from cvbench.options import Option

PLACES: dict[str, Place] = {
    "ls": ("cvbench.cli.models", "ls", "List the models that fit a pattern, or the forms of names."),
    "info": ("cvbench.cli.models", "info", "Describe one backbone: images, parameters, layers, head and classes."),
}
app = Commands(
    cls=on_demand(PLACES, {"list": "ls"}), help="List and describe the backbones that there are.", no_args_is_help=True
)
_SCHEMA = {"schema_version": 1}


@app.callback()
def group() -> None:
    """List and describe the backbones that there are."""


@dataclass(frozen=True)
class Fitting:
    """Names by a pattern."""

    pattern: Annotated[
        tuple[str, ...], Option("Part of a name, or a glob; 'torchvision:*' and 'open_clip:*' too.", alone=True)
    ] = ()


@dataclass(frozen=True)
class Named:
    """One backbone."""

    backbone: Annotated[str, Option("As --backbone takes it.", alone=True)]
    image_size: Annotated[int | None, Option("Input size in pixels, if not the model's own.", least=8)] = None


def _ls(fitting: Fitting, printed: shared.Printed) -> None:
    """List the models that fit a pattern, or the forms of names."""
    from cvbench.jobs.catalogue.models import list_forms, list_models

    if not fitting.pattern:
        forms = list_forms()
        if printed.format == "json":
            echo_json({**_SCHEMA, "forms": [asdict(one) for one in forms]})
            return
        echo_table(["--backbone", "what it is", ""], [[one.form, one.about, one.fix] for one in forms])
        return
    models = list_models(fitting.pattern)
    if printed.format == "json":
        echo_json({**_SCHEMA, "models": [asdict(one) for one in models]})
        return
    echo_table(
        ["name", "pixels", "classes", "weights"],
        [
            [
                one.name,
                "" if one.input_size is None else str(one.input_size),
                "" if one.classes is None else str(one.classes),
                "pretrained" if one.pretrained else "-",
            ]
            for one in models
        ],
    )


def _info(named: Named, printed: shared.Printed) -> None:
    """Describe one backbone: images, parameters, layers, head and classes."""
    from cvbench.jobs.catalogue.models import describe_model

    found = describe_model(named.backbone, named.image_size)
    if printed.format == "json":
        echo_json({**_SCHEMA, **found.as_dict()})
        return
    geometry = found.preprocess["geometry"]
    for name, value in (
        ("model", found.model),
        ("in a store", found.name),
        (
            "images",
            f"{found.input_size[0]} x {found.input_size[1]} pixels, {geometry['interpolation']}, {geometry['crop']}",
        ),
        ("parameters", f"{found.parameters:,}"),
        ("head", "-" if found.head is None else f"{found.head} channels"),
        ("logits", "-" if found.classes is None else f"{found.classes} classes"),
        ("layers", f"{found.blocks} blocks, {found.taps} taps"),
    ):
        say(f"{name:<11} {value}")


ls = command("ls", [Fitting, shared.Printed], _ls)
info = command("info", [Named, shared.Printed], _info)
