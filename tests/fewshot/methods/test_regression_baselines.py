"""Baselines of curves: closed forms by hand, averages, fine-tuning, resume."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from metarl.fewshot.episodes import Episodes
from metarl.validation import InvalidValue
from tests.fewshot.methods.probabilistic import Source, make_episodes, make_learner

LINEAR = ["constant", "linear_regression", "random_features"]
TRAINED = ["regression_pretraining", "parameter_averaging"]


def learner_of(name: str, **settings: Any) -> Any:
    fast = {"steps_per_task": 20} if name == "parameter_averaging" else {}
    return make_learner(name, "regression", **{**fast, **settings})


def an_episode(points: list[tuple[float, float]], query: float) -> Episodes:
    x, y = (torch.tensor(each).view(1, -1, 1) for each in zip(*points, strict=True))
    q = torch.tensor([[[query]]])
    return Episodes(x, y, q, torch.zeros(1, 1, 1), torch.empty(1, 0, dtype=torch.int64))


def test_the_constant_by_hand():
    """Prior N(1, 4), noise variance 2, y = 3 and 5: precision 1/4 + 2/2, mean (1/4 + 8/2) / it."""
    learner = learner_of("constant")
    learner.parameters["mean"].data.fill_(1.0)
    learner.parameters["log_std"].data.fill_(math.log(2.0))
    learner.parameters["log_noise"].data.fill_(0.5 * math.log(2.0))
    (found,) = learner.predict(an_episode([(0.0, 3.0), (9.0, 5.0)], 100.0), 0)
    assert found.mean.item() == pytest.approx(4.25 / 1.25)
    assert found.std.item() == pytest.approx(math.sqrt(1 / 1.25 + 2.0))


def test_with_a_wide_prior_the_line_is_that_of_least_squares():
    learner = learner_of("linear_regression")
    learner.parameters["log_std"].data.fill_(math.log(1e3))
    points = [(0.0, 1.0), (1.0, 2.0), (2.0, 5.0), (3.0, 4.0)]
    (found,) = learner.predict(an_episode(points, 10.0), 0)
    slope, intercept = np.polyfit([x for x, _ in points], [y for _, y in points], 1)
    assert found.mean.item() == pytest.approx(10 * slope + intercept, rel=1e-4)


def test_predictions_are_those_of_the_gaussian_process_with_the_same_kernel():
    """Bishop 2006, equations 6.66 and 6.67: the same model from the side of functions."""
    learner, episodes = learner_of("random_features"), make_episodes("regression", 1)
    learner.parameters["log_noise"].data.fill_(math.log(0.3))
    with torch.no_grad():
        mean, std = learner.distribution(episodes)
        prior = learner.parameters["log_std"].double().exp()
        support = learner.features(episodes.support_inputs)[0] * prior
        query = learner.features(episodes.query_inputs)[0] * prior
    inverse = torch.linalg.inv(support @ support.T + 0.09 * torch.eye(10))
    cross = query @ support.T
    wanted = cross @ inverse @ episodes.support_targets[0].double()
    variance = (query @ query.T - cross @ inverse @ cross.T).diagonal() + 0.09
    torch.testing.assert_close(mean[0], wanted)
    torch.testing.assert_close(std[0, :, 0], variance.sqrt())


@pytest.mark.parametrize("name", LINEAR)
def test_the_prior_is_learned(name):
    learner = learner_of(name)
    losses = [learner.update(Source("regression", i, 16))["loss/total"] for i in range(1, 101)]
    assert sum(losses[-10:]) < sum(losses[:10])


@pytest.mark.parametrize("name", [*LINEAR, *TRAINED])
def test_state_goes_on_bit_for_bit(name):
    learner = learner_of(name)
    learner.update(Source("regression", 1))
    state = learner.state_dict()
    wanted = learner.update(Source("regression", 2))
    resumed = learner_of(name)
    resumed.load_state_dict(state)
    assert resumed.update(Source("regression", 2)) == wanted
    episodes = make_episodes("regression", seed=9)
    for mine, other in zip(learner.predict(episodes, 2), resumed.predict(episodes, 2), strict=True):
        assert mine.mean is not None
        assert other.mean is not None
        assert torch.equal(mine.mean, other.mean)


def test_pre_training_looks_at_all_points_of_all_curves_with_one_network():
    learner, episodes = learner_of("regression_pretraining"), make_episodes("regression", 2)
    found = learner.losses(episodes, Source("regression"))["total"]
    for index in range(2):
        errors = []
        for x, y in (
            (episodes.support_inputs, episodes.support_targets),
            (episodes.query_inputs, episodes.query_targets),
        ):
            with torch.no_grad():
                outputs = learner.outputs(learner.parameters, x[index : index + 1])[0]
            errors += (outputs - y[index]).square().flatten().tolist()
        assert len(errors) == 15
        assert found[index].item() == pytest.approx(sum(errors) / 15, rel=1e-5)


def test_fine_tuning_is_gradient_descent_on_the_support_set():
    learner = learner_of("regression_pretraining", fine_tuning_rate=0.1)
    episodes = make_episodes("regression", 2)
    with torch.no_grad():
        before, after = learner.predict(episodes, 1)
    outputs = learner.outputs(learner.parameters, episodes.support_inputs[:1])
    loss = (outputs - episodes.support_targets[:1]).square().mean()
    names = list(learner.parameters)
    gradients = torch.autograd.grad(loss, [learner.parameters[name] for name in names])
    stepped = {
        name: learner.parameters[name] - 0.1 * gradient
        for name, gradient in zip(names, gradients, strict=True)
    }
    with torch.no_grad():
        wanted = learner.outputs(stepped, episodes.query_inputs[:1])
    torch.testing.assert_close(after.mean[:1], wanted)
    assert not torch.allclose(before.mean, after.mean)


def test_the_average_is_that_of_all_networks():
    """Two iterations of 4 and 4 networks, each trained anew, against one of all 8."""
    learner = learner_of("parameter_averaging")
    seen = []
    add = learner._add

    def keep(networks):
        seen.append({name: value.detach().clone() for name, value in networks.items()})
        add(networks)

    learner._add = keep
    for iteration in (1, 2):
        learner.update(Source("regression", iteration))
    for name, mean in learner.parameters.items():
        both = torch.cat([networks[name] for networks in seen])
        assert len(both) == 8
        torch.testing.assert_close(mean.detach(), both.mean(dim=0))


def test_networks_are_trained_and_penalties_hold_them():
    free = learner_of("parameter_averaging", steps_per_task=100)
    first = free.update(Source("regression", 1))["loss/total"]
    assert first < 0.7 * float(make_episodes("regression", 4, 1).query_targets.square().mean())

    def distance(regularization: str) -> float:
        """Of second networks from the mean of the first ones, for `l2_to_mean`, or from 0."""
        settings = {"regularization": regularization, "regularization_strength": 1.0}
        learner = learner_of("parameter_averaging", steps_per_task=100, **settings)
        learner.update(Source("regression", 1))
        means = {n: v.detach().clone() for n, v in learner.parameters.items()}
        found = {}
        learner._add = found.update
        learner.update(Source("regression", 2))
        origin = means if "mean" in regularization else {n: 0 * v for n, v in means.items()}
        return sum(float((found[n].detach() - origin[n]).square().sum()) for n in means)

    zero = learner_of("parameter_averaging", steps_per_task=100)
    found = {}
    zero._add = found.update
    zero.update(Source("regression", 2))
    own = sum(float(value.detach().square().sum()) for value in found.values())
    assert distance("l2") < 0.5 * own
    assert distance("l2_to_mean") < 0.5 * own


def test_impossible_settings_are_refused():
    with pytest.raises(InvalidValue, match="fine_tuning_rate"):
        learner_of("regression_pretraining", fine_tuning_rate=0.0)
    with pytest.raises(InvalidValue, match="steps_per_task"):
        learner_of("parameter_averaging", steps_per_task=0)
