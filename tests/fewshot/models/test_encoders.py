"""Networks that read images: shapes, BatchNorm, shared and stacked parameters."""

import numpy as np
import pytest
import torch

from metarl.fewshot.models.batch_norm import normalize
from metarl.fewshot.models.conv4 import Conv4
from metarl.fewshot.models.encoder import Encoder
from metarl.fewshot.models.perceptron import Perceptron
from metarl.policies import stack

ENCODERS = {
    "pooled": Conv4((1, 17, 16), 3, pool=True),
    "strided": Conv4((2, 9, 12), 3, pool=False),
    "bare": Conv4((1, 12, 9), 3, pool=False, batch_norm=False),
    "perceptron": Perceptron(12, (6, 4), batch_norm=True),
    "plain": Perceptron(12, (6, 4), batch_norm=False),
}


def read(encoder: Encoder) -> torch.Tensor:
    """Inputs of 3 episodes with 4 examples each."""
    shape = encoder.image if isinstance(encoder, Conv4) else (12,)
    return torch.from_numpy(np.random.default_rng(1).standard_normal((3, 4, *shape))).float()


def own_parameters(encoder: Encoder) -> dict[str, torch.Tensor]:
    """Other ones for each of 3 episodes, with scales and shifts that do something."""
    several = [encoder.initial_parameters(np.random.default_rng(seed)) for seed in range(3)]
    stacked = {name: torch.stack([each[name] for each in several]) for name in several[0]}
    noise = np.random.default_rng(9)
    return {
        name: value + 0.1 * torch.from_numpy(noise.standard_normal(value.shape)).float()
        for name, value in stacked.items()
    }


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_stacked_parameters_are_so_many_separate_networks(encoder: Encoder) -> None:
    inputs, parameters = read(encoder), own_parameters(encoder)
    together, statistics = encoder(parameters, inputs)
    assert together.shape == (3, 4, encoder.features)
    assert bool(statistics) == encoder.normalizes
    for episode in range(3):
        one = {name: value[episode] for name, value in parameters.items()}
        alone, own = encoder(one, inputs[episode : episode + 1])
        torch.testing.assert_close(together[episode], alone[0], rtol=1e-4, atol=1e-5)
        for (mean, variance), (own_mean, own_variance) in zip(statistics, own, strict=True):
            torch.testing.assert_close(mean[episode], own_mean[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(variance[episode], own_variance[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_equal_stacked_parameters_do_what_shared_ones_do(encoder: Encoder) -> None:
    inputs = read(encoder)
    shared = encoder.initial_parameters(np.random.default_rng(0))
    copies = {name: value.clone() for name, value in stack(shared, 3).items()}
    features, _ = encoder(shared, inputs)
    torch.testing.assert_close(encoder(copies, inputs)[0], features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["pooled", "strided", "perceptron"])
def test_given_statistics_keep_examples_apart(name: str) -> None:
    encoder = ENCODERS[name]
    inputs = read(encoder)
    parameters = encoder.initial_parameters(np.random.default_rng(0))
    _, statistics = encoder(parameters, inputs[:, :2])
    changed = inputs.clone()
    changed[:, 3] += 1.0
    for given, kept in ((statistics, True), (None, False)):
        before, after = (encoder(parameters, each, given)[0] for each in (inputs, changed))
        assert torch.equal(before[:, :3], after[:, :3]) == kept
        assert not torch.equal(before[:, 3], after[:, 3])


def test_statistics_of_all_episodes_are_those_of_each() -> None:
    encoder = ENCODERS["strided"]
    parameters = encoder.initial_parameters(np.random.default_rng(0))
    inputs = read(encoder)[:1].expand(3, -1, -1, -1, -1)
    features, statistics = encoder(parameters, inputs)
    for_all = tuple((mean[0], variance[0]) for mean, variance in statistics)
    torch.testing.assert_close(encoder(parameters, inputs, for_all)[0], features)


def test_batch_norm_by_hand() -> None:
    # 1 and 3: mean 2, variance 1; scale 2 and shift 5: 5 -+ 2 / sqrt(1 + 1e-5)
    parameters = {"a.scale": torch.tensor([2.0]), "a.shift": torch.tensor([5.0])}
    values, (mean, variance) = normalize(parameters, "a", torch.tensor([[[1.0], [3.0]]]))
    torch.testing.assert_close(values.flatten(), torch.tensor([3.00001, 6.99999]))
    assert (mean.tolist(), variance.tolist()) == ([[2.0]], [[1.0]])


@pytest.mark.parametrize(
    ("image", "pool", "features"),
    [
        ((1, 28, 28), True, 64),  # 28 14 7 3 1
        ((1, 28, 28), False, 64),  # mean over 2 x 2 places
        ((3, 84, 84), True, 1600),  # 84 42 21 10 5
    ],
)
def test_sizes_of_the_papers(image: tuple[int, int, int], pool: bool, features: int) -> None:
    encoder = Conv4(image, 64, pool)
    assert encoder.features == features
    parameters = encoder.initial_parameters(np.random.default_rng(0))
    assert encoder(parameters, torch.rand(1, 2, *image))[0].shape == (1, 2, features)


def test_initial_weights_are_glorot_uniform() -> None:
    encoder = Conv4((1, 28, 28), 64, pool=True)
    parameters = encoder.initial_parameters(np.random.default_rng(0))
    for block, channels in enumerate((1, 64, 64, 64)):
        weight = parameters[f"conv{block}.weight"]
        limit = (6 / (9 * channels + 9 * 64)) ** 0.5
        assert weight.shape == (3, 3, channels, 64)
        assert 0.98 * limit < float(weight.abs().max()) <= limit
        assert f"conv{block}.bias" not in parameters, "BatchNorm would take it out again"


def test_a_maximum_is_taken_of_the_right_places() -> None:
    encoder = Conv4((1, 16, 16), 1, pool=True, batch_norm=False)
    parameters = encoder.initial_parameters(np.random.default_rng(0))
    for block in range(4):
        parameters[f"conv{block}.weight"] = torch.zeros(3, 3, 1, 1)
        parameters[f"conv{block}.weight"][1, 1] = 1.0  # copies the image
    image = torch.zeros(2, 1, 1, 16, 16)
    image[0, 0, 0, 15, 0], image[1, 0, 0, 3, 7] = 3.0, 5.0
    features, _ = encoder(parameters, image)
    assert features.flatten().tolist() == [3.0, 5.0]


@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_batch_norm_has_first_and_second_derivatives(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(2)
    shapes = ((2, 4, 3), shape, shape)
    arguments = [torch.from_numpy(generator.standard_normal(s)).requires_grad_() for s in shapes]

    def function(values, scale, shift):
        parameters = {"a.scale": scale, "a.shift": shift}
        normalized, statistics = normalize(parameters, "a", values)
        return normalized, *statistics

    assert torch.autograd.gradcheck(function, arguments)
    assert torch.autograd.gradgradcheck(function, arguments)
    # The statistics alone, as where queries are normalised with those of the support set.
    assert torch.autograd.gradgradcheck(lambda *a: function(*a)[1:], arguments)


def test_one_episode_by_torchs_operator_is_normalised_as_among_others() -> None:
    """Values and, in the two ways there are, derivatives."""
    values = torch.randn(2, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scale, shift = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]], dtype=torch.float64)

    def derivatives(some: torch.Tensor, create_graph: bool) -> list[torch.Tensor]:
        given = [each.clone().requires_grad_() for each in (some, scale, shift)]
        parameters = {"a.scale": given[1], "a.shift": given[2]}
        normalized, statistics = normalize(parameters, "a", given[0])
        loss = (normalized**3).sum()
        found = torch.autograd.grad(loss, given, create_graph=create_graph)
        return [normalized, *statistics, *(each.detach() for each in found)]

    both = derivatives(values, create_graph=False)
    for create_graph in (False, True):
        alone = [derivatives(values[[index]], create_graph) for index in range(2)]
        for wanted, first, second in zip(both, *alone, strict=True):
            found = torch.cat([first, second]) if wanted.dim() > 1 else first + second
            torch.testing.assert_close(found, wanted)
