"""3 x 3 convolutions in which every episode may have weights of its own."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

MANY = 16
"""Images of an episode from which on one convolution for each episode is faster on the CPU: the
patches of so many leave its caches."""


def convolve(images: Tensor, weight: Tensor, stride: int) -> Tensor:
    """`[B, n, H', W', O]` of images `[B, n, H, W, C]`, with a border of one zero.

    Args:
        images: channels last.
        weight: `[3, 3, C, O]`, or of each episode `[B, 3, 3, C, O]`.
        stride: 1 keeps H and W, 2 halves them, rounding up.
    """
    if weight.dim() == 4:
        return _convolve_shared(images, weight, stride)
    episodes, n = images.shape[:2]
    if images.device.type == "cpu" and n >= MANY:
        if episodes == 1:
            return _convolve_shared(images, weight[0], stride)
        pairs = zip(images.split(1), weight, strict=True)
        return torch.cat([_convolve_shared(image, own, stride) for image, own in pairs])
    height, width = _sizes(images.shape, stride)
    patches: Tensor = _Patches.apply(images, stride)  # pyright: ignore[reportAssignmentType]
    return torch.bmm(patches, weight.flatten(1, 3)).view(episodes, n, height, width, -1)


def _convolve_shared(images: Tensor, weight: Tensor, stride: int) -> Tensor:
    channels_first = images.flatten(0, 1).permute(0, 3, 1, 2)
    kernel = weight.permute(3, 2, 0, 1).contiguous()
    found = functional.conv2d(channels_first, kernel, stride=stride, padding=1)
    return found.permute(0, 2, 3, 1).unflatten(0, images.shape[:2])


class _Patches(torch.autograd.Function):
    """What each 3 x 3 window sees, `[B, n H' W', 9 C]`: a convolution is one matrix product."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, stride: int) -> Tensor:
        ctx.shape, ctx.stride = images.shape, stride
        return _patches(images, stride)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _Fold.apply(gradients[0], ctx.shape, ctx.stride), None


class _Fold(torch.autograd.Function):
    """The adjoint of `_Patches`: adds every window's numbers to where they came from."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor, shape: torch.Size, stride: int) -> Tensor:
        ctx.stride = stride
        return _fold(patches, shape, stride)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _Patches.apply(gradients[0], ctx.stride), None, None


def _sizes(shape: torch.Size, stride: int) -> tuple[int, int]:
    """Height and width of what a convolution gives."""
    return (shape[2] - 1) // stride + 1, (shape[3] - 1) // stride + 1


def _patches(images: Tensor, stride: int) -> Tensor:
    episodes, n, rows, columns, channels = images.shape
    height, width = _sizes(images.shape, stride)
    padded = images.new_zeros(episodes * n, rows + 2, columns + 2, channels)
    padded[:, 1:-1, 1:-1] = images.reshape(episodes * n, rows, columns, channels)
    image, row, column, _ = padded.stride()
    # The three columns of a window lie side by side in memory: 3 C numbers are copied at once.
    windows = padded.as_strided(
        (episodes * n, height, width, 3, 3 * channels),
        (image, row * stride, column * stride, row, 1),
    )
    return windows.reshape(episodes, n * height * width, 9 * channels)


def _fold(patches: Tensor, shape: torch.Size, stride: int) -> Tensor:
    episodes, n, rows, columns, channels = shape
    height, width = _sizes(shape, stride)
    windows = patches.reshape(episodes * n, height, width, 3, 3, channels)
    padded = patches.new_zeros(episodes * n, rows + 2, columns + 2, channels)
    down, right = stride * (height - 1) + 1, stride * (width - 1) + 1
    for i in range(3):
        for j in range(3):
            padded[:, i : i + down : stride, j : j + right : stride] += windows[:, :, :, i, j]
    return padded[:, 1:-1, 1:-1].reshape(shape)
