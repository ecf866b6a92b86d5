"""Convolutions with weights of every episode's own."""

import pytest
import torch
from torch.nn.functional import conv2d

from metarl.fewshot.models.convolution import MANY, convolve


def numbers(*shape: int) -> torch.Tensor:
    """Reproducible ones, of both signs."""
    count = torch.Size(shape).numel()
    return torch.sin(torch.arange(1.0, count + 1, dtype=torch.float64) ** 1.5).view(shape)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(5, 4), (6, 7), (1, 2)])
@pytest.mark.parametrize("inputs", [2, MANY])
def test_every_episode_is_convolved_with_its_own_weights(stride, height, width, inputs):
    images, weight = numbers(3, inputs, height, width, 2), numbers(3, 3, 3, 2, 4)
    found = convolve(images, weight, stride)
    for episode in range(3):
        kernel = weight[episode].permute(3, 2, 0, 1)
        channels_first = images[episode].permute(0, 3, 1, 2)
        expected = conv2d(channels_first, kernel, stride=stride, padding=1).permute(0, 2, 3, 1)
        torch.testing.assert_close(found[episode], expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_shared_weights_do_what_equal_stacked_ones_do(stride):
    images, weight = numbers(3, 2, 5, 6, 2), numbers(3, 3, 2, 4)
    shared = convolve(images, weight, stride)
    stacked = convolve(images, weight.expand(3, 3, 3, 2, 4), stride)
    torch.testing.assert_close(shared, stacked)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("episodes", "inputs"), [(2, 2), (2, MANY), (1, MANY)])
def test_first_and_second_derivatives_are_right(stride, episodes, inputs):
    images, weight = numbers(episodes, inputs, 3, 4, 2), numbers(episodes, 3, 3, 2, 2)
    arguments = (images.requires_grad_(), weight.requires_grad_())

    def function(images: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return convolve(images, weight, stride)

    assert torch.autograd.gradcheck(function, arguments, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, arguments, fast_mode=True)
