"""Prototypes, attention, contrastive and relation losses against arithmetic a person can redo."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import Problem
from metarl.fewshot.methods.classifiers import class_means, class_sums, squared_distances
from metarl.fewshot.methods.matching import (
    Matching,
    MatchingConfig,
    lstm_cell,
    query_in_context,
    support_in_context,
)
from metarl.fewshot.methods.prototypical import Prototypical, PrototypicalConfig
from metarl.fewshot.methods.relation import Relation, RelationConfig, RelationModule, relation_loss
from metarl.fewshot.methods.siamese import Siamese, SiameseConfig, contrastive_loss
from metarl.fewshot.models.conv4 import Conv4
from metarl.fewshot.models.encoder import Encoder
from metarl.tasks import stream


class Identity(Encoder):
    """Features are the inputs, `[B, n, F]`."""

    def __init__(self, features: int):
        self.features = features

    def initial_parameters(self, generator: np.random.Generator) -> dict[str, Tensor]:
        return {"unused": torch.zeros(1)}

    def __call__(self, parameters, inputs, statistics=None):
        return inputs, ()


def of(learner: type, config: Any, features: int = 1, shots: int = 1) -> Any:
    problem = Problem("classification", Identity(features), 2, shots, 1, 9, (), "none")
    return learner(problem, config, stream(0, "test"))


def episode(support: list[list[float]], targets: list[int], queries: list[list[float]]) -> Episodes:
    none = torch.zeros(1, len(queries), dtype=torch.int64)
    return Episodes(
        torch.tensor([support]), torch.tensor([targets]), torch.tensor([queries]), none, none[:, :2]
    )


def one_query(support: list[list[float]], targets: list[int], query: list[float]) -> Episodes:
    found = episode(support, targets, [query])
    return dataclasses.replace(found, classes=torch.tensor([[0, 1]]))


def log_probs(learner: Any, episodes: Episodes) -> list[float]:
    (prediction,) = learner.predict(episodes, 0)
    return prediction.log_probs.flatten().tolist()


def softmax(*numbers: float) -> list[float]:
    total = sum(math.exp(number) for number in numbers)
    return [number - math.log(total) for number in numbers]


def test_class_means_and_sums_whatever_the_order():
    values = torch.tensor([[[1.0], [10.0], [3.0], [20.0]]])
    targets = torch.tensor([[0, 1, 0, 1]])
    assert class_means(values, targets, 2).flatten().tolist() == [2.0, 15.0]
    assert class_sums(values, targets, 2).flatten().tolist() == [4.0, 30.0]


def test_squared_distances():
    found = squared_distances(
        torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[4.0, 6.0], [1.0, 2.0]]])
    )
    assert found.tolist() == [[[25.0, 0.0]]]


def test_prototypical_by_hand():
    # Prototypes 1 and 4 (means of 0 2 and 3 5), a query at 2: squared distances 1 and 4.
    found = one_query([[0.0], [3.0], [2.0], [5.0]], [0, 1, 0, 1], [2.0])
    assert log_probs(of(Prototypical, PrototypicalConfig()), found) == pytest.approx(
        softmax(-1, -4)
    )


def test_prototypical_with_cosine_by_hand():
    found = one_query([[2.0, 0.0], [0.0, 5.0]], [0, 1], [3.0, 3.0])
    learner = of(Prototypical, PrototypicalConfig(distance="cosine", scale=4.0), features=2)
    assert log_probs(learner, found) == pytest.approx([-math.log(2)] * 2)
    found = one_query([[2.0, 0.0], [0.0, 5.0]], [0, 1], [7.0, 0.0])
    assert log_probs(learner, found) == pytest.approx(softmax(4.0, 0.0), abs=1e-6)


def test_prototypes_of_features_of_length_1_by_hand():
    # Class 0 points to (1, 0) and (0, 1), mean (1/2, 1/2); class 1 to (-1, 0); a query to (1, 0):
    # squared distances 1/2 and 4.
    found = one_query([[9.0, 0.0], [0.0, 2.0], [-3.0, 0.0]], [0, 0, 1], [7.0, 0.0])
    learner = of(Prototypical, PrototypicalConfig(normalize=True), features=2)
    assert log_probs(learner, found) == pytest.approx(softmax(-0.5, -4.0))


def test_the_learning_rate_is_halved_by_updates():
    learner = of(Prototypical, PrototypicalConfig(learning_rate=0.5, halve_every=2))
    rates = []
    for learner.updates in range(5):
        learner._set_rate()
        rates.append(learner.optimizer.param_groups[0]["lr"])
    assert rates == [0.5, 0.5, 0.25, 0.25, 0.125]


def test_matching_by_hand():
    # Cosines 1 and 0 to class 0, -1 to class 1: shares e + 1 and 1/e of their sum.
    found = one_query([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]], [0, 0, 1], [5.0, 0.0])
    total = math.e + 1 + 1 / math.e
    expected = [math.log((math.e + 1) / total), math.log(1 / math.e / total)]
    assert log_probs(of(Matching, MatchingConfig(), 2), found) == pytest.approx(expected, rel=1e-5)


def test_matching_excludes_no_class_for_good():
    found = one_query([[0.0], [40.0]], [0, 1], [0.0])
    probable = log_probs(of(Matching, MatchingConfig(distance="euclidean")), found)
    assert math.isfinite(probable[1])


def of_lstm(lstm: torch.nn.Module, name: str, suffix: str) -> dict[str, Tensor]:
    values = dict(lstm.named_parameters())
    return {
        f"{name}.lstm_input": values[f"weight_ih_{suffix}"].detach().T,
        f"{name}.lstm_state": values[f"weight_hh_{suffix}"].detach().T,
        f"{name}.lstm_bias": (values[f"bias_ih_{suffix}"] + values[f"bias_hh_{suffix}"]).detach(),
    }


@pytest.fixture
def lstm() -> torch.nn.LSTM:
    lstm = torch.nn.LSTM(3, 3, batch_first=True, bidirectional=True)
    for index, value in enumerate(lstm.parameters()):
        drawn = stream(0, "lstm", index).normal(size=tuple(value.shape))
        value.data.copy_(torch.from_numpy(drawn))
    return lstm


def test_support_in_context_is_that_of_torchs_bidirectional_lstm(lstm):
    support = torch.from_numpy(stream(1, "support").normal(size=(2, 4, 3))).float()
    parameters = {**of_lstm(lstm, "forward", "l0"), **of_lstm(lstm, "backward", "l0_reverse")}
    both, _ = lstm(support)
    expected = both[..., :3] + both[..., 3:] + support
    assert torch.allclose(support_in_context(parameters, support), expected, atol=1e-5)


def test_query_in_context_by_its_equations():
    normal = stream(2, "context").normal
    query, first, second = (torch.from_numpy(normal(size=(1, 1, 2))).float() for _ in range(3))
    parameters = {
        "attention.lstm_input": torch.from_numpy(normal(size=(2, 8))).float(),
        "attention.lstm_state": torch.from_numpy(normal(size=(4, 8))).float(),
        "attention.lstm_bias": torch.from_numpy(normal(size=8)).float(),
    }
    nothing = torch.zeros_like(query)
    # h_0 and c_0 are zero, so that r_0 attends to both alike.
    state = torch.cat([nothing, (first + second) / 2], dim=-1)
    hidden, cell = lstm_cell(parameters, "attention", query, state, nothing)
    hidden = hidden + query
    likeness = [float((hidden * each).sum()) for each in (first, second)]
    share = 1 / (1 + math.exp(likeness[1] - likeness[0]))
    read = share * first + (1 - share) * second
    state = torch.cat([hidden, read], dim=-1)
    expected = lstm_cell(parameters, "attention", query, state, cell)[0] + query
    support = torch.cat([first, second], dim=1)
    assert torch.allclose(query_in_context(parameters, query, support, 1), hidden, atol=1e-6)
    assert torch.allclose(query_in_context(parameters, query, support, 2), expected, atol=1e-6)


def test_full_context_depends_on_the_order_of_the_support_set():
    learner = of(Matching, MatchingConfig(full_context=True), 2)
    one = one_query([[1.0, 0.5], [0.2, 2.0]], [0, 1], [1.0, 0.7])
    other = one_query([[0.2, 2.0], [1.0, 0.5]], [1, 0], [1.0, 0.7])
    assert log_probs(learner, one) != pytest.approx(log_probs(learner, other), abs=1e-4)
    plain = of(Matching, MatchingConfig(), 2)
    assert log_probs(plain, one) == pytest.approx(log_probs(plain, other))


def test_contrastive_loss_by_hand():
    # Same: .3^2 = .09. Others: max(0, 1 - .6)^2 = .16 and, beyond the margin, 0; mean .08.
    distances = torch.tensor([[[0.3, 0.6, 1.7]]])
    same = torch.tensor([[[True, False, False]]])
    found = contrastive_loss(distances, same, margin=1.0)
    assert found.tolist() == pytest.approx([0.5 * (0.09 + 0.08)])


def test_siamese_predicts_by_the_mean_distance():
    # Distances 1 and 3 (mean 2) to class 0, 4 to class 1.
    found = one_query([[1.0], [3.0], [-4.0]], [0, 0, 1], [0.0])
    learner = of(Siamese, SiameseConfig(normalize=False))
    assert log_probs(learner, found) == pytest.approx(softmax(-2.0, -4.0), abs=1e-5)


def test_siamese_distance_has_a_gradient_where_it_is_zero():
    point = torch.zeros(1, 1, 2, requires_grad=True)
    from metarl.fewshot.methods.siamese import distances

    (gradient,) = torch.autograd.grad(distances(point, torch.zeros(1, 1, 2)).sum(), point)
    assert torch.equal(gradient, torch.zeros(1, 1, 2))


def test_relation_loss_by_hand():
    scores = torch.tensor([[[0.75, 0.5], [0.0, 1.0]]])  # errors .25 .5 (class 0), 0 0 (class 1)
    assert relation_loss(scores, torch.tensor([[0, 1]])).tolist() == [(0.0625 + 0.25) / 4]


def test_relation_scores_become_shares_of_their_sum():
    learner = of(Relation, RelationConfig())
    scores = torch.tensor([[[0.6, 0.2]]]).logit()
    found = learner.log_probs(scores, None).exp()
    assert found.flatten().tolist() == pytest.approx([0.75, 0.25])


def test_relation_sums_the_shots_and_puts_the_class_before_the_query():
    module = RelationModule((1, 1, 2), channels=3, hidden_size=4)
    pairs = module._pairs(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0, 4.0], [5.0, 6.0]]]))
    assert pairs.flatten(2).tolist() == [[[3.0, 4.0, 1.0, 2.0], [5.0, 6.0, 1.0, 2.0]]]
    learner = of(Relation, RelationConfig())
    twice = one_query([[1.0], [2.0], [7.0]], [0, 0, 1], [5.0])
    once = one_query([[3.0], [7.0]], [0, 1], [5.0])
    assert log_probs(learner, twice) == pytest.approx(log_probs(learner, once))


def test_relation_module_pools_maps_and_leaves_single_places():
    assert RelationModule((7, 7, 4), 8, 2).flat == 8  # 7 -> 3 -> 1
    assert RelationModule((5, 5, 4), 8, 2).flat == 8  # 5 -> 2 -> 1
    assert RelationModule((1, 1, 4), 8, 2).flat == 8


def test_relation_reads_the_maps_of_conv4():
    encoder = Conv4((1, 8, 8), channels=3, pool=True, halvings=2)
    assert encoder.map_shape == (2, 2, 3)
    problem = Problem("classification", encoder, 2, 1, 1, 9, (), "transductive")
    learner = Relation(problem, RelationConfig(channels=4), stream(0, "test"))
    images = torch.from_numpy(stream(0, "images").random((1, 3, 1, 8, 8))).float()
    none = torch.zeros(1, 1, dtype=torch.int64)
    episodes = Episodes(
        images[:, :2], torch.tensor([[0, 1]]), images[:, 2:], none, torch.tensor([[0, 1]])
    )
    (prediction,) = learner.predict(episodes, 0)
    assert prediction.log_probs is not None
    assert prediction.log_probs.exp().sum().item() == pytest.approx(1.0, abs=1e-6)


def test_relation_clips_the_gradients_of_each_network():
    learner = of(Relation, RelationConfig(max_gradient_norm=0.5))
    seen: list[Tensor] = []
    learner.optimizer.step = lambda: seen.extend(v.grad for v in learner.parameters.values())
    learner.step([torch.full_like(value, 3.0) for value in learner.parameters.values()])
    assert seen[0].norm().item() == pytest.approx(0.5, rel=1e-4)  # the encoder's only parameter
    others = torch.stack([each.norm() for each in seen[1:]]).norm()
    assert others.item() == pytest.approx(0.5, rel=1e-4)
