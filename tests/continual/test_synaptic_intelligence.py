"""SI: the path integral on a quadratic loss, where it has a closed form, and within PPO."""

from typing import Any

import pytest
import torch

from metarl.algorithms.ppo import UpdateRule
from metarl.continual.methods.synaptic_intelligence import SI
from metarl.policies import Parameters
from metarl.tasks.streams import stream
from tests.continual.linear_problem import (
    configured,
    linear_parameters,
    linear_setting,
    samples,
    strengths,
)
from tests.continual.small_sequence import Run, episodes, make_setting

START, CURVATURE = 3.0, 2.0
EVERYTHING = ("trunk", "head", "value")
DATA = samples((1.0, 0.0))


def make(strength: float = 1.0, **settings: Any) -> tuple[SI, Parameters]:
    """One learner whose every parameter starts at 3."""
    parameters = {n: torch.full_like(v, START) for n, v in linear_parameters().items()}
    return SI(linear_setting(**settings), parameters, strengths(strength)), parameters


def step(method: SI, leaves: Parameters, optimizer: torch.optim.Optimizer, slope: Any) -> None:
    """One step of the optimiser, as `StackedPPO` takes it; `slope` is the loss's gradient."""
    slopes = {name: slope(value.detach()) for name, value in leaves.items()}
    followed = method.gradients(slopes, leaves, slice(0, 1))
    for name, value in leaves.items():
        value.grad = followed[name].detach().clone()
    optimizer.step()
    method.after_step(leaves, optimizer, slice(0, 1))


def descend(method: SI, start: Parameters, rate: float, steps: int) -> Parameters:
    """Plain descent of curvature * x^2 / 2 for each parameter x."""
    leaves = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.SGD(leaves.values(), lr=rate)
    for _ in range(steps):
        step(method, leaves, optimizer, lambda value: CURVATURE * value)
    return {name: value.detach() for name, value in leaves.items()}


@pytest.mark.parametrize(("rate", "steps"), [(0.25, 3), (0.1, 7), (0.001, 200)])
def test_path_integral_is_the_drop_of_a_quadratic_loss(rate: float, steps: int) -> None:
    # x_t = q^t x_0 with q = 1 - rate * h. Each step adds h x_t * rate h x_t; the sum is
    # rate h^2 x_0^2 (1 - q^2T) / (1 - q^2) = drop / (1 - rate h / 2).
    method, start = make()
    end = descend(method, start, rate, steps)
    left = (1.0 - rate * CURVATURE) ** steps
    drop = 0.5 * CURVATURE * START**2 * (1.0 - left**2)
    assert set(method.path) == {"weight0", "bias0", "log_std"}
    for name, path in method.path.items():
        assert end[name].item() == pytest.approx(START * left)
        assert path.item() == pytest.approx(drop / (1.0 - rate * CURVATURE / 2.0))
        assert path.item() == pytest.approx(drop, rel=1.01 * rate * CURVATURE)


def test_penalty_of_a_quadratic_loss_is_the_loss_itself() -> None:
    # All the way down: omega = h x_0^2 / 2, over the squared distance x_0^2: h / 2 (x - x*)^2.
    method, start = make(si_damping=1e-9)
    end = descend(method, start, 0.004, 1200)
    method.end_stage(0, end, DATA, [])
    for name, importance in method.importance.items():
        assert importance.item() == pytest.approx(CURVATURE / 2, rel=5e-3)
        assert torch.equal(method.anchor[name], end[name])


def test_two_stages_by_hand() -> None:
    # x goes 3 -> 2 -> 1.5 while its gradients are 4 and 2: omega = 4 + 1 = 5, moved 1.5.
    method, _ = make(si_damping=0.25, strength=0.0)
    leaves = {n: torch.full_like(v, START) for n, v in linear_parameters().items()}
    optimizer = torch.optim.SGD([v.requires_grad_() for v in leaves.values()], lr=0.25)
    step(method, leaves, optimizer, lambda value: torch.full_like(value, 4.0))
    step(method, leaves, optimizer, lambda value: torch.full_like(value, 2.0))
    assert method.path["bias0"].item() == 5.0
    method.end_stage(0, {n: v.detach() for n, v in leaves.items()}, DATA, [])
    assert method.importance["bias0"].item() == 2.0  # 5 / (2.25 + 0.25)
    assert method.anchor["bias0"].item() == 1.5
    assert method.path["bias0"].item() == 0.0
    # Then 1.5 -> 1: omega = 2 * 0.5 = 1, moved 1/2: 1 / (0.25 + 0.25) more.
    step(method, leaves, optimizer, lambda value: torch.full_like(value, 2.0))
    method.end_stage(1, {n: v.detach() for n, v in leaves.items()}, DATA, [])
    assert method.importance["bias0"].item() == 4.0
    assert method.anchor["bias0"].item() == 1.0


def test_a_way_uphill_counts_as_0() -> None:
    # The loss rises by 1 * 0.5: omega is -1/2, and what mattered before matters still.
    method, start = make(si_damping=1.0)
    for name, value in method.importance.items():
        value.fill_(0.75)
        method.path[name].fill_(-0.5)
    method.end_stage(0, {n: v + 1.0 for n, v in start.items()}, DATA, [])
    for name, value in method.importance.items():
        assert value.item() == 0.75
        assert method.path[name].item() == 0.0


def test_the_step_counts_as_it_came_out_and_the_gradient_as_the_loss_gave_it() -> None:
    # Gradient 2. Plain step 3 -> 2, with the proximal step 2 -> 1 (2 eta lambda w = 1, anchor 0):
    # omega = 2 * 2.
    method, _ = make()
    leaves = {n: torch.full_like(v, START) for n, v in linear_parameters().items()}
    for name, anchor in method.anchor.items():
        anchor.zero_()
        method.importance[name].fill_(1.0)
    optimizer = torch.optim.SGD([v.requires_grad_() for v in leaves.values()], lr=0.5)
    step(method, leaves, optimizer, lambda value: torch.full_like(value, 2.0))
    assert leaves["bias0"].item() == 1.0
    assert method.path["bias0"].item() == 4.0
    # The same with the penalty's gradient, 2 * 3: 3 - 0.5 * (2 + 6) = -1, omega = 2 * 4.
    method, _ = make(penalty_step="gradient")
    leaves = {n: torch.full_like(v, START) for n, v in linear_parameters().items()}
    for name, anchor in method.anchor.items():
        anchor.zero_()
        method.importance[name].fill_(1.0)
    optimizer = torch.optim.SGD([v.requires_grad_() for v in leaves.values()], lr=0.5)
    step(method, leaves, optimizer, lambda value: torch.full_like(value, 2.0))
    assert leaves["bias0"].item() == -1.0
    assert method.path["bias0"].item() == 8.0


class Recorder(UpdateRule):
    """Lets SI act, and adds up gradient times movement by itself."""

    def __init__(self, method: SI, parameters: Parameters):
        self.method = method
        self.path = {name: torch.zeros_like(value) for name, value in parameters.items()}

    def gradients(self, gradients: Parameters, parameters: Parameters, rows: slice) -> Parameters:
        for name, slope in gradients.items():
            self.path[name][rows] += slope * parameters[name].detach()
        self.present = {name: slope.clone() for name, slope in gradients.items()}
        return self.method.gradients(gradients, parameters, rows)

    def after_step(self, parameters: Parameters, optimizer: Any, rows: slice) -> None:
        self.method.after_step(parameters, optimizer, rows)
        for name, slope in self.present.items():
            self.path[name][rows] -= slope * parameters[name].detach()


@pytest.mark.parametrize("penalized", [EVERYTHING, ("trunk",)])
def test_path_within_ppo_in_the_second_stage(penalized: Any) -> None:
    # Adam, clipped gradients, chunks, and a penalty that acts.
    setting = make_setting(tasks_per_chunk=2, iterations=2, max_gradient_norm=0.1)
    setting = configured(setting, penalized=penalized)
    run = Run.of(SI, setting, strength=10.0, dtype=torch.float64).train(range(1))
    assert all((value > 0).any() for value in run.method.importance.values())
    recorder = Recorder(run.method, run.parameters)
    drawn = episodes(setting, run.parameters, run.learners, 1, 0)
    run.ppo.update(drawn, [stream(0, "minibatches", 1, n) for n in run.learners], recorder)
    for name, path in run.method.path.items():
        torch.testing.assert_close(path, recorder.path[name], atol=1e-12, rtol=1e-9)
        assert (path != 0).any()
    assert ("value.bias0" in run.method.path) == ("value" in penalized)
