"""A-GEM: the projection by hand, the reference gradient by hand, and whole sequences."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.algorithms.ppo import ActorCritic, PPOConfig, Samples
from metarl.continual.config import ContinualPPOConfig
from metarl.continual.methods.a_gem import AGEM, project
from metarl.continual.methods.method import Method, Setting
from metarl.continual.methods.references import FineTuning
from metarl.policies import MLP, CategoricalPolicy, Parameters
from tests.continual import small_sequence
from tests.continual.small_sequence import LEARNERS, Run, make_setting

one_torch_thread = small_sequence.one_torch_thread

# The projection ---------------------------------------------------------------------------------


def split(vectors: list[list[float]]) -> Parameters:
    """Vectors of two numbers, each number a parameter."""
    stacked = torch.tensor(vectors, dtype=torch.float64)
    return {"weight0": stacked[:, :1].unsqueeze(-1), "bias0": stacked[:, 1:]}


def joined(parameters: Parameters) -> list[list[float]]:
    return torch.cat([parameters["weight0"].squeeze(-1), parameters["bias0"]], dim=1).tolist()


def test_gradient_against_the_reference_is_projected() -> None:
    # g = (1, 0), g_ref = (-1, 1): product -1, square 2, so g + g_ref / 2 = (1/2, 1/2).
    # g = (3, 1), g_ref = (-2, 0): product -6, square 4, so g + 3/2 g_ref = (0, 1).
    found = project(split([[1.0, 0.0], [3.0, 1.0]]), split([[-1.0, 1.0], [-2.0, 0.0]]))
    assert joined(found) == [[0.5, 0.5], [0.0, 1.0]]


def test_other_learners_keep_their_gradients() -> None:
    # Against, along, at a right angle, and no reference at all.
    given = [[1.0, 0.0], [0.3, 0.7], [0.3, 0.0], [0.3, -0.7]]
    found = project(split(given), split([[-1.0, 1.0], [5.0, -1.0], [0.0, 2.0], [0.0, 0.0]]))
    assert joined(found) == [[0.5, 0.5], *given[1:]]


# The reference gradient -------------------------------------------------------------------------
#
# State 0 is observed as (1, 0). The policy is linear with two logits, both 0: probabilities 1/2.

ROWS = slice(0, 2)


def two_state(learners: int = 2) -> tuple[AGEM, Parameters]:
    config = PPOConfig(minibatches=1, clip=0.2, entropy_bonus=0.3)
    actor_critic = ActorCritic(CategoricalPolicy(MLP((2, 2))), config)
    setting = Setting(
        actor_critic, ContinualPPOConfig(methods={"a_gem": ()}, ppo=config), (0, 1), 1
    )
    shapes = {"weight0": (2, 2), "bias0": (2,), "value.weight0": (3, 1), "value.bias0": (1,)}
    parameters = {n: torch.zeros(learners, *shape).double() for n, shape in shapes.items()}
    return AGEM(setting, parameters, torch.zeros(learners)), parameters


def one_sample(old: list[float], advantages: list[float]) -> Samples:
    """State 0, action 0, whose probability was `old`, for each learner; and one that is absent."""
    count = len(old)
    fields: dict[str, Any] = {
        "inputs": torch.tensor([[[1.0, 0.0, 0.0]] * 2] * count).double(),
        "actions": torch.zeros(count, 2, 1, dtype=torch.int64),
        "advantages": torch.tensor([[advantage, 1e6] for advantage in advantages]).double(),
        "targets": torch.full((count, 2), 1e6).double(),
        "weights": torch.tensor([[1.0, 0.0]] * count).double(),
        "log_probs": torch.tensor([[p, 1e-6] for p in old]).double().log(),
    }
    return Samples(**fields)


def remember(method: AGEM, parameters: Parameters, samples: Samples) -> None:
    generators = [np.random.default_rng(row) for row in range(len(samples.weights))]
    method.end_stage(0, parameters, samples, generators)


def flat(parameters: Parameters) -> list[list[float]]:
    return torch.cat([value.flatten(1) for value in parameters.values()], dim=1).tolist()


def test_reference_is_the_gradient_of_the_clipped_surrogate() -> None:
    # Learner 0: ratio (1/2) / (1/2) = 1, advantage 2. d(-ratio A) / d logits = -2 (1/2, -1/2) =
    # (-1, 1), for the bias and for the weights of state 0: g_ref . g_ref = 4.
    # Learner 1: ratio (1/2) / (2/5) = 5/4 has gained all that 1.2 allows: no gradient.
    method, parameters = two_state()
    remember(method, parameters, one_sample([0.5, 0.4], [2.0, 2.0]))
    given = {n: torch.ones_like(v) for n, v in parameters.items()}
    given["bias0"][:, 0] = 3.0
    # Product of learner 0, bias (-1, 1) and weights of state 0 (-1, 1): -3 + 1 - 1 + 1 = -2,
    # so half of g_ref is added: bias (3 - 1/2, 1 + 1/2), weights (1/2, 3/2) and (1, 1).
    found = method.gradients(given, parameters, ROWS)
    assert found["bias0"].tolist() == [[2.5, 1.5], [3.0, 1.0]]
    assert found["weight0"].tolist() == [[[0.5, 1.5], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]]
    for name in ("value.weight0", "value.bias0"):
        assert torch.equal(found[name], given[name])


def test_nothing_happens_in_the_first_stage() -> None:
    method, parameters = two_state()
    given = {n: torch.ones_like(v) for n, v in parameters.items()}
    assert method.gradients(given, parameters, ROWS) is given


# Samples that are kept --------------------------------------------------------------------------


def test_samples_that_took_place_are_kept_as_many_of_every_stage() -> None:
    setting = make_setting(minibatches=3)
    run = Run.of(AGEM, setting)
    seen: list[Tensor] = []
    for stage in range(2):
        samples = run.last_samples(stage)
        assert (samples.weights == 0).any(dim=1).all()
        seen.append(torch.where(samples.weights > 0, samples.log_probs, torch.nan))
        run.end(stage)
    kept = run.method.kept
    size = seen[0].shape[1]
    assert kept["inputs"].shape == (LEARNERS, 2 * size, 4)
    assert (kept["weights"] == 1).all()
    for row in range(LEARNERS):
        for own in seen:
            of_stage = kept["log_probs"][row][torch.isin(kept["log_probs"][row], own[row])]
            assert len(of_stage) == size
            assert set(of_stage.tolist()) == set(own[row][~own[row].isnan()].tolist())
        first = torch.isin(kept["log_probs"][row, :size], seen[0][row])
        assert first.any()  # in a random order, not one stage after the other
        assert not first.all()


def test_every_sample_has_its_turn_before_any_has_another() -> None:
    run = Run.of(AGEM, make_setting(minibatches=3))
    run.end(0)
    total = run.method.kept["log_probs"].shape[1]  # 24, in parts of 8
    run.method.kept["targets"] = torch.arange(total).expand(LEARNERS, -1)
    parts = [run.method.next_part(slice(0, 2))["targets"] for _ in range(4)]
    assert [part.shape for part in parts] == [(2, 8)] * 4
    assert torch.equal(torch.cat(parts[:3], dim=1)[0], torch.arange(total))
    assert torch.equal(parts[3], parts[0])
    first = run.method.next_part(slice(2, 3))["targets"]  # nobody has taken a turn of its own
    assert first.tolist() == [list(range(8))]


# In updates -------------------------------------------------------------------------------------


def test_a_step_never_goes_against_the_earlier_task() -> None:
    setting = small_sequence.plain_steps(make_setting(stages=(0, 1)))
    plain, held = (first_step_along_the_reference(kind, setting) for kind in (FineTuning, AGEM))
    assert (plain < -1e-3).any()
    assert (plain > 1e-3).any()
    torch.testing.assert_close(held, plain.clamp(min=0.0), atol=1e-12, rtol=0.0)


def first_step_along_the_reference(kind: type[Method], setting: Setting) -> Tensor:
    """Inner product of the gradient that the second stage follows first with g_ref, `[k]`."""
    run = Run.of(AGEM, setting, range(6), dtype=torch.float64)
    run.end(0)
    memory = Samples(**run.method.kept)
    before = {name: value.requires_grad_() for name, value in run.parameters.items()}
    loss = setting.actor_critic.losses(before, memory)["policy"].sum()
    names = [name for name in before if not name.startswith("value")]
    reference = torch.autograd.grad(loss, [before[name] for name in names])
    if kind is FineTuning:
        run.method = FineTuning(setting, run.parameters, torch.zeros(6))
    run.iterate(1, 0)
    rate, after = setting.config.ppo.learning_rate, run.parameters
    steps = [(before[name].detach() - after[name]) / rate for name in names]
    pairs = zip(steps, reference, strict=True)
    return torch.stack([(one * other).flatten(1).sum(dim=1) for one, other in pairs]).sum(dim=0)


def test_stacked_learners_are_as_separate_ones() -> None:
    small_sequence.check_stacked_is_separate(AGEM)


def test_number_of_threads_changes_no_bit() -> None:
    small_sequence.check_threads_change_nothing(AGEM)


@pytest.mark.parametrize("settings", [{}, {"discrete": True}, {"heads": True}])
def test_resumed_is_as_never_stopped(settings: dict[str, Any]) -> None:
    small_sequence.check_resumed_is_as_never_stopped(AGEM, **settings)
