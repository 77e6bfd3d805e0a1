"""`cvbench analyze ...`: one module per analysis, imported when its command is called."""

from __future__ import annotations

from cvbench.cli.commands import Commands, Place, on_demand

COMMANDS: dict[str, Place] = {
    "cka": (
        "cvbench.cli.analyze.cka",
        "cka",
        "Layerwise linear CKA (HSIC1, minibatch) of every pair of layers of every backbone, with 95 % intervals.",
    ),
    "similarity": (
        "cvbench.cli.analyze.similarity",
        "similarity",
        "Cosine similarity between the local features of every layer, with 95 % intervals over images.",
    ),
    "spectra": (
        "cvbench.cli.analyze.spectra",
        "spectra",
        "Fourier spectra of the stored maps of every layer of every backbone, with 95 % intervals over images.",
    ),
    "maps": (
        "cvbench.cli.analyze.maps",
        "maps",
        "Channel-mean feature maps beside the images; foreground share and outlier tokens over all images.",
    ),
    "cam": (
        "cvbench.cli.analyze.cam",
        "cam",
        "Class activation maps (Grad-CAM and its kin), kept in the store, and what is measured on them.",
    ),
    "silhouette": (
        "cvbench.cli.analyze.silhouette",
        "silhouette",
        "Silhouette of the classes, exact, per data set, backbone and space, with 95 % intervals.",
    ),
    "tsne": (
        "cvbench.cli.analyze.tsne",
        "tsne",
        "t-SNE maps of the features, and how far they can be believed, with 95 % intervals over images.",
    ),
}
app = Commands(cls=on_demand(COMMANDS), help="Compute results from a feature store.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Compute results from a feature store. Partials are kept per unit: a result is never computed twice."""
