"""A multi-layer perceptron over images or the x of curves."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from metarl.fewshot.models.batch_norm import normalization_parameters, normalize
from metarl.fewshot.models.encoder import Encoder, Statistics
from metarl.fewshot.models.layers import dense_parameters, linear
from metarl.policies import Parameters


class Perceptron(Encoder):
    """Layers of `sizes` units, each with ReLU; with BatchNorm before it where that is asked for.

    The features are those of the last layer. Finn et al. 2017, appendix A.1: 256, 128, 64, 64 with
    BatchNorm for images ("no conv"), section 5.1: 40, 40 without for sinusoids. Weights start
    Glorot-uniform.

    Args:
        inputs: numbers of one example, flattened.
        sizes: units of each layer.
        batch_norm: normalise each layer before its ReLU.
    """

    def __init__(self, inputs: int, sizes: tuple[int, ...], batch_norm: bool):
        self.inputs, self.sizes, self.normalizes = inputs, sizes, batch_norm
        self.features = sizes[-1]

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """`denseI.weight` and `denseI.bias`, or `denseI.scale` and `denseI.shift` of BatchNorm."""
        parameters = dense_parameters(generator, self.inputs, self.sizes)
        if self.normalizes:
            for index, size in enumerate(self.sizes):
                del parameters[f"dense{index}.bias"]  # BatchNorm would subtract it
                parameters |= normalization_parameters(f"dense{index}", size)
        return parameters

    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        inputs: Tensor,
        statistics: Statistics | None = None,
    ) -> tuple[Tensor, Statistics]:
        """Features `[B, n, F]` of inputs `[B, n, ...]`."""
        hidden = inputs.flatten(2)
        used: list[tuple[Tensor, Tensor]] = []
        for index in range(len(self.sizes)):
            name = f"dense{index}"
            hidden = linear(parameters, name, hidden)
            if self.normalizes:
                given = statistics[index] if statistics else None
                hidden, own = normalize(parameters, name, hidden, given)
                used.append(own)
            hidden = hidden.relu()
        return hidden, tuple(used)
