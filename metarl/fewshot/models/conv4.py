"""Conv-4: the four convolutional blocks that most few-shot papers use."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor
from torch.nn import functional

from metarl.fewshot.models.batch_norm import normalization_parameters, normalize_or_shift
from metarl.fewshot.models.convolution import convolve
from metarl.fewshot.models.encoder import Encoder, Statistics
from metarl.fewshot.models.layers import glorot
from metarl.policies import Parameters

BLOCKS = 4


class Conv4(Encoder):
    """Four blocks of a 3 x 3 convolution, BatchNorm, ReLU and halving of both sides.

    Vinyals et al. 2016, section 4.1, with 2 x 2 max pooling, whose last feature map is flattened
    (28 x 28: one place, F = channels); or with convolutions of stride 2 instead, as MAML has it on
    Omniglot (Finn et al. 2017, appendix A.1), whose last map is averaged over its places as in
    that paper's code (28 x 28: 2 x 2 places, F = channels).

    Weights start Glorot-uniform as in MAML's code, for which its inner learning rates were chosen.
    A convolution has a bias only without BatchNorm, which would subtract it.

    Args:
        image: channels, height and width.
        channels: of every block.
        pool: max pooling; else stride 2.
        batch_norm: normalise after each convolution.
        halvings: blocks that halve, the first ones: 2 for Relation Networks, which compare maps.
    """

    def __init__(
        self,
        image: tuple[int, int, int],
        channels: int,
        pool: bool,
        batch_norm: bool = True,
        halvings: int = BLOCKS,
    ):
        self.image, self.channels, self.pool = image, channels, pool
        self.normalizes, self.halvings = batch_norm, halvings
        height, width = image[1:]
        for _ in range(halvings):
            height, width = (height // 2, width // 2) if pool else (-(-height // 2), -(-width // 2))
        self.map_shape = (height, width, channels) if pool else (1, 1, channels)
        """Height, width and channels of the map that the features are, in that order."""
        self.features = channels * height * width if pool else channels

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """`convI.weight` `[3, 3, C, channels]`, and `.scale` and `.shift`, or only `.shift`."""
        parameters: Parameters = {}
        before = self.image[0]
        for block in range(BLOCKS):
            name, shape = f"conv{block}", (3, 3, before, self.channels)
            weight = glorot(generator, shape, 9 * before, 9 * self.channels)
            parameters[f"{name}.weight"] = weight
            parameters |= normalization_parameters(name, self.channels, self.normalizes)
            before = self.channels
        return parameters

    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        inputs: Tensor,
        statistics: Statistics | None = None,
    ) -> tuple[Tensor, Statistics]:
        """Features `[B, n, F]` of images `[B, n, C, H, W]`."""
        hidden = inputs.permute(0, 1, 3, 4, 2)
        if inputs.shape[2] == 1:
            # The same numbers with other strides, by which torch knows that channels come last;
            # else it puts them first, and every feature map of this block is copied twice.
            hidden = inputs.reshape(hidden.shape)
        used: list[tuple[Tensor, Tensor]] = []
        for block in range(BLOCKS):
            name = f"conv{block}"
            weight = parameters[f"{name}.weight"]
            halves = block < self.halvings
            hidden = convolve(hidden, weight, stride=2 if halves and not self.pool else 1)
            given = statistics[block] if statistics else None
            rows, own = normalize_or_shift(parameters, name, hidden.flatten(1, 3), given)
            used += own
            hidden = rows.view(hidden.shape)
            if self.pool and halves:  # before ReLU: the same, and a quarter of the work
                hidden = _max_pool(hidden)
            hidden = hidden.relu()
        features = hidden.flatten(2) if self.pool else hidden.mean(dim=(2, 3))
        return features, tuple(used)


def _max_pool(images: Tensor) -> Tensor:
    """The highest of each 2 x 2 places of `[B, n, H, W, C]`; an odd last row or column is left."""
    channels_first = images.flatten(0, 1).permute(0, 3, 1, 2)
    pooled = functional.max_pool2d(channels_first, 2)
    return pooled.permute(0, 2, 3, 1).unflatten(0, images.shape[:2])
