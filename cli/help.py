"""How the help of a command is laid out: options in groups, then examples to paste."""

from __future__ import annotations

from collections.abc import Mapping

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Of what": (
        *("store", "dataset", "split", "data_root", "backbone", "weights", "view", "taps", "maps", "limit"),
        *("image_size", "image", "source", "file", "set", "group", "tap", "places", "results", "first", "second"),
        *("train_split", "val_split", "test_split", "hold_out", "sample", "space", "map", "annotations", "clean"),
        *("reference", "labels", "real", "grid", "transform", "target", "claims", "compare"),
    ),
    "Where it runs": (
        *("address", "device", "gpus", "threads", "batch_size", "timeout", "dashboard", "wait", "wheel"),
    ),
    "Numbers and their intervals": ("resamples", "seed", "seeds", "bins", "partial", "allow_chance", "repeats"),
    "Before it runs": (
        *("plan", "rate", "disk_mb_s", "max_bytes", "dry_run", "prices", "gpu_hour", "head_hour", "gb_month"),
        *("put_1000", "months", "start_minutes"),
    ),
    "What is shown": (
        *("format", "long", "out", "pdf", "examples", "per_class", "all_columns", "headline", "help", "to", "export"),
    ),
}
"""Heading -> names of options; all others stand under "How"."""
HOW = "How"

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "run": ("run study.yaml --plan", "run study.yaml --set extract.limit=64"),
    "status": ("status study.yaml",),
    "reproduce": ("reproduce --scale smoke",),
    "config schema": ("config schema > study.schema.json",),
    "config init": ("config init study.yaml",),
    "extract": (
        "extract --dataset digits --backbone test_vit --backbone test_convnext",
        "extract --dataset folder:birds --view head --store birds.zarr",
        "extract --dataset imagenet-val --data-root /data --analyze cka,spectra",
        "extract --dataset digits --backbone test_vit --taps list",
    ),
    "plan": (
        "plan --dataset digits --backbone test_vit --view maps",
        "plan --dataset cub200 --view maps --maps all --gpus 16",
    ),
    "report": ("report --store birds.zarr --out report",),
    "claims": ("claims --store birds.zarr",),
    "doctor": ("doctor", "doctor --address 127.0.0.1:6379"),
    "runs ls": ("runs ls --store birds.zarr",),
    "runs show": ("runs show --store birds.zarr",),
    "runs failures": ("runs failures --store birds.zarr --run 3f9a",),
    "cluster doctor": ("cluster doctor --address 10.0.0.1:6379 --dataset cub200",),
    "cluster plan": ("cluster plan --dataset cub200 --view maps --gpus 16 --gpu-hour 2.5",),
    "analyze cka": ("analyze cka --store birds.zarr", "analyze cka --view head --out figures"),
    "analyze similarity": ("analyze similarity --store birds.zarr --out figures",),
    "analyze spectra": ("analyze spectra --taps 'blocks.*' --taps 'stages.*' --long",),
    "analyze maps": ("analyze maps --source folder:birds --image robin/1.jpg --out maps",),
    "analyze cam": (
        "analyze cam --dataset digits --split test",
        "analyze cam --dataset folder:birds --method layercam --out figures",
    ),
    "analyze faithfulness": ("analyze faithfulness --dataset digits --method layercam --limit 256",),
    "analyze randomisation": ("analyze randomisation --dataset digits --method layercam --limit 256",),
    "analyze norms": ("analyze norms --store birds.zarr --out figures", "analyze norms --cutoff 150"),
    "analyze attention": ("analyze attention --dataset folder:birds --out figures",),
    "analyze residual": ("analyze residual --dataset folder:birds --out figures",),
    "analyze receptive-field": (
        "analyze receptive-field --dataset digits --backbone test_vit",
        "analyze receptive-field --dataset digits --taps 'blocks.*'",
    ),
    "analyze two-way": ("analyze two-way --cell a=x,u --cell b=x,v --cell c=y,u --cell d=y,v",),
    "analyze tsne": (
        "analyze tsne --view head --out figures",
        "analyze tsne --address local --repeats 10 --sample 4000",
    ),
    "analyze silhouette": ("analyze silhouette --space standardised --space tsne",),
    "eval accuracy": ("eval accuracy --store birds.zarr --dataset folder:birds",),
    "eval calibration": ("eval calibration --bins 15 --out figures",),
    "eval factorial": ("eval factorial --cell a=x,u --cell b=x,v --cell c=y,u --cell d=y,v",),
    "eval imagenet-x": ("eval imagenet-x --store inet.zarr --out figures",),
    "eval pug": ("eval pug --store pug.zarr --mode set",),
    "eval robustness": ("eval robustness --store inet.zarr",),
    "eval corruptions": ("eval corruptions --store inet.zarr",),
    "eval shape-bias": ("eval shape-bias --store cues.zarr",),
    "eval invariance": ("eval invariance --dataset digits --transform scale",),
    "eval import": ("eval import logits.csv --dataset imagenet-val --backbone my_model",),
    "transfer probe": (
        "transfer probe --dataset digits --train-split train",
        "transfer probe --dataset digits --keep-logits",
    ),
    "transfer dense": (
        "transfer dense --dataset scenes --store scenes.zarr --out figures",
        "transfer dense --dataset table:birds.csv --source table:birds.csv",
    ),
    "transfer finetune": ("transfer finetune --dataset digits --backbone test_vit --out tuned",),
    "results ls": ("results ls --store birds.zarr",),
    "results show": ("results show 0858d5fb --long",),
    "results diff": ("results diff 0858d5fb 8df785af",),
    "results rm": ("results rm 0858d5fb --dry-run",),
    "store info": ("store info --store birds.zarr",),
    "store verify": ("store verify --deep",),
    "store repair": ("store repair --dry-run",),
    "store gc": ("store gc --orphans --dry-run",),
    "store rm": ("store rm digits/test --dry-run", "store rm digits/test/test_vit@64/maps"),
    "store export": ("store export digits/test/test_vit@64/pooled --out files --to npz",),
    "models ls": ("models ls", "models ls dinov2", "models ls 'torchvision:*'"),
    "models info": ("models info test_vit", "models info torchvision:resnet50"),
    "datasets ls": ("datasets ls --data-root /data",),
    "datasets info": ("datasets info cub200", "datasets info folder:birds"),
    "datasets verify": ("datasets verify folder:birds --deep",),
    "datasets download": ("datasets download dtd --data-root /data",),
}
"""Words of a command -> what may follow `cvbench`."""


def section_of(name: str) -> str:
    """The heading that an option or argument stands under."""
    key = name.rstrip("_")
    return next((heading for heading, names in SECTIONS.items() if key in names), HOW)


def examples_of(words: str) -> list[str]:
    """Lines to paste, of a command by its words without the program."""
    return [f"cvbench {line}" for line in EXAMPLES.get(words, ())]
