"""Formulas of class activation maps: activation A and gradient G = dy_c/dA, both (B, H, W, C), to a raw map (B, H, W).

gradcam     sum_k w_k A_k, w_k = mean over positions of G_k                            Selvaraju et al. 2017
gradcam++   the same, w_k = sum over positions of a relu(G), a = 1 / (2 + G sum A_k)   Chattopadhay et al. 2018, eq. 19
layercam    sum_k relu(G_k) A_k                                                        Jiang et al. 2021
hirescam    sum_k G_k A_k                                                              Draelos & Carin 2021
xgradcam    the same, w_k = sum over positions of G_k A_k / sum A_k                    Fu et al. 2020
eigencam    projection on the first principal axis of the positions; knows no class    Muhammad & Yeasin 2020

The raw map is signed. Evidence for the class is its positive part.

Two more are of transformers alone. They read the attention of all layers, see `attended`, and their maps are never
negative:

rollout     product over the layers of (A + I) / 2, A the mean over heads; knows no class   Abnar & Zuidema 2020
legrad      mean over layers, heads and queries of relu(ds_l/dA_l), s_l the class's         Bousselham et al. 2024
            logit of the tokens that layer l gives
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cvbench.errors import UnknownNameError


@dataclass(frozen=True)
class Method:
    """One formula.

    Attributes:
        name: Its key.
        title: Its name in the field.
        formula: (activation, gradient) -> raw map; the gradient is None where none is needed. None for a method that
            reads attention and not the activation of a layer.
        needs_gradient: Whether it depends on a class.
        instead: Of what its map is if not of a class.
    """

    name: str
    title: str
    formula: Callable[[Tensor, Tensor | None], Tensor] | None
    needs_gradient: bool = True
    instead: str = ""

    @property
    def reads_attention(self) -> bool:
        """Whether it is made of the attention of all layers: it is for transformers, and has no target to choose."""
        return self.formula is None


def find_method(name: str) -> Method:
    """The method of this name.

    Raises:
        UnknownNameError: naming the nearest.
    """
    if name not in METHODS:
        raise UnknownNameError.among("method", name, METHODS, fix=f"--method {', '.join(METHODS)}")
    return METHODS[name]


def gradcam(activation: Tensor, gradient: Tensor | None) -> Tensor:
    """Channels weighted by their mean gradient over the patch positions."""
    assert gradient is not None
    return torch.einsum("bhwc,bc->bhw", activation, gradient.mean(dim=(1, 2)))


def gradcam_plus_plus(activation: Tensor, gradient: Tensor | None) -> Tensor:
    """Channels weighted by a weighted sum of their positive gradients.

    The paper differentiates exp(y), whose factor exp(y) is the same for the whole map and left out. Its
    a = G^2 / (2 G^2 + G^3 sum A) is cancelled by G^2, so that small gradients do not need the constant that other
    implementations add below; where the rest is exactly 0, a is 1, as in the paper's code.
    """
    assert gradient is not None
    below = 2 + gradient * activation.sum(dim=(1, 2), keepdim=True)
    shares = 1 / torch.where(below == 0, torch.ones_like(below), below)
    return torch.einsum("bhwc,bc->bhw", activation, (gradient.relu() * shares).sum(dim=(1, 2)))


def layercam(activation: Tensor, gradient: Tensor | None) -> Tensor:
    """Every position weighted by its own positive gradient."""
    assert gradient is not None
    return torch.einsum("bhwc,bhwc->bhw", activation, gradient.relu())


def hirescam(activation: Tensor, gradient: Tensor | None) -> Tensor:
    """Every position weighted by its own gradient. Where the gradient is the same everywhere, this is Grad-CAM."""
    assert gradient is not None
    return torch.einsum("bhwc,bhwc->bhw", activation, gradient)


def xgradcam(activation: Tensor, gradient: Tensor | None) -> Tensor:
    """Channels weighted by their gradient, averaged with the activation as weight of each position.

    Meant for activations after a ReLU. Where these have both signs, their sum may be small, and that channel's weight
    large; where it is exactly 0, as of a channel that is off, the channel has no weight.
    """
    assert gradient is not None
    total = activation.sum(dim=(1, 2))
    weights = (gradient * activation).sum(dim=(1, 2)) / torch.where(total == 0, torch.ones_like(total), total)
    return torch.einsum("bhwc,bc->bhw", activation, torch.where(total == 0, torch.zeros_like(total), weights))


def eigencam(activation: Tensor, gradient: Tensor | None = None) -> Tensor:
    """Projection of the centred positions on their first principal axis, through the P x P Gram matrix in float64.

    An axis has no sign: the larger extreme becomes positive (Chung & Ying 2025, eq. 13).
    """
    batch, height, width, channels = activation.shape
    positions = activation.reshape(batch, height * width, channels).double()
    positions = positions - positions.mean(dim=1, keepdim=True)
    values, vectors = torch.linalg.eigh(positions @ positions.transpose(1, 2))
    projection = vectors[..., -1] * values[:, -1:].clamp(min=0).sqrt()
    low, high = projection.amin(dim=1, keepdim=True), projection.amax(dim=1, keepdim=True)
    return torch.where(-low > high, -projection, projection).reshape(batch, height, width).float()


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("gradcam", "Grad-CAM", gradcam),
        Method("gradcam++", "Grad-CAM++", gradcam_plus_plus),
        Method("layercam", "LayerCAM", layercam),
        Method("hirescam", "HiResCAM", hirescam),
        Method("xgradcam", "XGrad-CAM", xgradcam),
        Method("eigencam", "EigenCAM", eigencam, needs_gradient=False, instead="the image's strongest pattern"),
        Method("rollout", "Attention rollout", None, needs_gradient=False, instead="what the head's tokens attend to"),
        Method("legrad", "LeGrad", None),
    )
}
