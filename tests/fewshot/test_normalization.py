"""Where BatchNorm's statistics come from."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.fewshot.episodes import Episodes
from metarl.fewshot.models.encoder import Encoder, Statistics
from metarl.fewshot.normalization import RunningStatistics, embed


class Centred(Encoder):
    """Features are inputs minus their mean: a BatchNorm that a person can redo."""

    features = 1

    def initial_parameters(self, generator: np.random.Generator) -> dict[str, Tensor]:
        return {}

    def __call__(self, parameters, inputs, statistics: Statistics | None = None):
        if statistics is None:
            statistics = ((inputs.mean(dim=1), inputs.var(dim=1, unbiased=False)),)
        mean = statistics[0][0]
        return inputs - (mean.unsqueeze(1) if mean.dim() == 2 else mean), statistics


def an_episode(queries: list[float]) -> Episodes:
    support, query = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[q] for q in queries]])
    targets = torch.tensor([[0, 1]])
    return Episodes(support, targets, query, targets, torch.tensor([[0, 1]]))


def averages_at(mean: float) -> RunningStatistics:
    running = RunningStatistics()
    running.observe(((torch.tensor([[mean]]), torch.ones(1, 1)),))
    return running


@pytest.mark.parametrize(
    ("mode", "support", "queries"),
    [
        ("transductive", [-2.0, 0.0], [2.0, 0.0]),  # mean of 1 3 5 3 is 3
        ("support", [-1.0, 1.0], [3.0, 1.0]),  # mean of 1 3 is 2
        ("running", [-9.0, -7.0], [-5.0, -7.0]),  # running mean 10
    ],
)
def test_each_mode_takes_its_own_statistics(mode, support, queries):
    found = embed(Centred(), {}, an_episode([5.0, 3.0]), mode, averages_at(10.0))
    assert found[0].flatten().tolist() == support
    assert found[1].flatten().tolist() == queries


def test_training_in_mode_running_normalises_by_the_call():
    support, _, statistics = embed(Centred(), {}, an_episode([5.0, 3.0]), "running")
    assert support.flatten().tolist() == [-2.0, 0.0]
    assert statistics[0][0].tolist() == [[3.0]]


def test_without_averages_queries_still_do_not_see_each_other():
    one, other = (
        embed(Centred(), {}, an_episode(q), "running", RunningStatistics())[1]
        for q in ([5.0, 3.0], [5.0, 30.0])
    )
    assert one[0, 0] == other[0, 0] == 3.0


def test_running_averages_by_hand_and_their_state():
    running = RunningStatistics(momentum=0.25)
    running.observe(((torch.tensor([[2.0], [4.0]]), torch.tensor([[1.0], [3.0]])),))
    running.observe(((torch.tensor([[7.0]]), torch.tensor([[4.0]])),))
    assert running.values is not None
    mean, variance = running.values[0]
    assert mean.tolist() == [4.0]  # 3 + 0.25 (7 - 3)
    assert variance.tolist() == [2.5]  # 2 + 0.25 (4 - 2)
    resumed = RunningStatistics(momentum=0.25)
    resumed.load_state_dict(running.state_dict())
    assert resumed.values is not None
    assert torch.equal(resumed.values[0][0], mean)


def test_the_state_of_no_averages_is_no_averages():
    resumed = averages_at(1.0)
    resumed.load_state_dict(RunningStatistics().state_dict())
    assert resumed.values is None
