"""A small problem in float64 for the MAML family, and a reference written task by task.

The reference uses torch.distributions, a loop over tasks and inner steps, and old log-probabilities
that stay those of the policies that drew the samples. Derivatives come from central differences.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal

from metarl.algorithms.maml import MAML
from metarl.optimization import from_vector, to_vector
from metarl.policies import MLP, CategoricalPolicy, GaussianPolicy, Parameters, Policy
from metarl.sampling import Batch
from metarl.workers import Workers
from metarl_envs.point import PointNavigation

TASKS, SAMPLES = 3, 8

steps = pytest.mark.parametrize("inner_steps", [1, 2])
actions = pytest.mark.parametrize("discrete", [False, True], ids=["gaussian", "categorical"])


def make_problem(
    learner_class: Any,
    config: Any,
    tasks: int = TASKS,
    discrete: bool = False,
    seed: int = 0,
    workers: Workers | None = None,
    device: str = "cpu",
) -> tuple[Any, list[Batch], Batch]:
    """A learner and random samples of every inner step and of the post-update policies."""
    network = MLP((3, 4, 3 if discrete else 2))
    plain = CategoricalPolicy(network) if discrete else GaussianPolicy(network, initial_std=0.7)
    policy = in_float64(learner_class.policy_for(plain, PointNavigation(), config))
    learner = learner_class(policy, config, np.random.default_rng(seed), device, workers)
    generator = np.random.default_rng(seed + 1)
    policies = learner.start(learner.parameters, tasks)
    batches: list[Batch] = []
    for step in range(config.inner_steps + 1):
        if step > 0:
            rate = config.inner_learning_rate
            policies = learner.adapt_in_chunks(policies, batches[-1], rate)
        batches.append(random_batch(learner, policies, generator))
    return learner, batches[:-1], batches[-1]


def maker(learner_class: Any, config_class: Any, settings: dict[str, Any]) -> Any:
    """`make_problem` of one learner: its settings by name, beside where and how many tasks."""

    def make(
        tasks: int = TASKS,
        discrete: bool = False,
        seed: int = 0,
        workers: Workers | None = None,
        device: str = "cpu",
        **others: Any,
    ) -> tuple[Any, list[Batch], Batch]:
        config = config_class(**(settings | others))
        return make_problem(learner_class, config, tasks, discrete, seed, workers, device)

    return make


def in_float64(policy: Policy) -> Policy:
    """The policy, which from now on starts with parameters in float64."""
    initial_parameters = policy.initial_parameters

    def in_double(generator: np.random.Generator) -> Parameters:
        return {name: value.double() for name, value in initial_parameters(generator).items()}

    policy.initial_parameters = in_double
    return policy


@torch.no_grad()
def random_batch(learner: MAML, policies: Parameters, generator: np.random.Generator) -> Batch:
    """Samples that the policies drew at random observations; each task's last weighs nothing."""
    tasks = len(policies["bias0"])
    lead = (tasks, SAMPLES)
    device = learner.device
    observations = torch.from_numpy(generator.standard_normal((*lead, 3))).to(device)
    noise = learner.policy.draw_noise(generator, (*lead, learner.policy.action_size))
    actions = learner.policy.act(policies, observations, noise.double().to(device))
    log_probs = torch.stack(
        [
            log_prob(reference_policy(select(policies, task), observations[task]), actions[task])
            for task in range(tasks)
        ]
    )
    advantages = torch.from_numpy(generator.standard_normal(lead)).to(device)
    weights = torch.from_numpy(generator.uniform(0.5, 1.5, lead)).to(device)
    weights[:, -1] = 0.0
    returns = torch.from_numpy(generator.standard_normal(tasks)).to(device)
    return Batch(
        observations, actions, advantages, weights / weights.sum(1, True), log_probs, returns
    )


def emptied(batch: Batch, task: int | slice) -> Batch:
    """The batch as if every sample of the task had failed."""
    values = {"observations": batch.observations, "actions": batch.actions}
    values |= {"advantages": batch.advantages, "weights": batch.weights}
    cleared = {name: value.clone() for name, value in values.items()}
    for value in cleared.values():
        value[task] = 0
    return replace(batch, **cleared)


# The reference ----------------------------------------------------------------------------------


def select(policies: Parameters, task: int) -> Parameters:
    return {name: value[task] for name, value in policies.items()}


def reference_policy(parameters: Parameters, observations: Tensor) -> Distribution:
    """The policy of one task; Gaussian where there is a standard deviation.

    Where there is a context vector, it stands beside every observation.
    """
    first = parameters["weight0"]
    if "context" in parameters:
        context = parameters["context"].expand(len(observations), -1)
        observations = torch.cat([observations, context], dim=1)
        first = torch.cat([first, parameters["context_weight"]])
    hidden = torch.tanh(observations @ first + parameters["bias0"])
    outputs = hidden @ parameters["weight1"] + parameters["bias1"]
    if "log_std" in parameters:
        std = parameters["log_std"].exp().expand_as(outputs)
        return Independent(Normal(outputs, std), 1)
    return Categorical(logits=outputs)


def log_prob(policy: Distribution, actions: Tensor) -> Tensor:
    return policy.log_prob(actions.squeeze(-1) if isinstance(policy, Categorical) else actions)


def reference_gradient(
    learner: MAML, parameters: Parameters, batch: Batch, task: int
) -> Parameters:
    """Gradient of one task's inner loss, with a graph; zero where it does not depend on one."""
    policy = reference_policy(parameters, batch.observations[task])
    score = log_prob(policy, batch.actions[task])
    if learner.config.inner_loss == "likelihood_ratio":
        # relative to the policy that drew the samples, wherever `parameters` are now
        score = torch.exp(score - batch.log_probs[task])
    loss = -(score * batch.advantages[task] * batch.weights[task]).sum()
    values = list(parameters.values())
    gradients = torch.autograd.grad(loss, values, create_graph=True, materialize_grads=True)
    return dict(zip(parameters, gradients, strict=True))


def reference_step(learner: MAML, parameters: Parameters, gradients: Parameters) -> Parameters:
    """MAML's inner step, in all parameters at one rate."""
    rate = learner.config.inner_learning_rate
    return {name: value - rate * gradients[name] for name, value in parameters.items()}


def reference_stages(
    learner: MAML,
    parameters: Parameters,
    pre: list[Batch],
    task: int,
    step: Callable[[MAML, Parameters, Parameters], Parameters] = reference_step,
) -> list[Parameters]:
    """Parameters of one task before the first and after each inner step."""
    stages = [parameters]
    for batch in pre:
        gradients = reference_gradient(learner, stages[-1], batch, task)
        if learner.config.first_order:
            gradients = {name: gradient.detach() for name, gradient in gradients.items()}
        stages.append(step(learner, stages[-1], gradients))
    return stages


def reference_post_update(
    learner: MAML, parameters: Parameters, pre: list[Batch], task: int, step: Any = reference_step
) -> Parameters:
    return reference_stages(learner, parameters, pre, task, step)[-1]


def reference_ratio(parameters: Parameters, batch: Batch, task: int) -> Tensor:
    policy = reference_policy(parameters, batch.observations[task])
    return torch.exp(log_prob(policy, batch.actions[task]) - batch.log_probs[task])


def reference_meta_loss(
    learner: MAML, parameters: Parameters, pre: list[Batch], post: Batch, step: Any = reference_step
) -> Tensor:
    losses = []
    for task in range(len(post)):
        policy = reference_post_update(learner, parameters, pre, task, step)
        ratio = reference_ratio(policy, post, task)
        losses.append(-(ratio * post.advantages[task] * post.weights[task]).sum())
    return torch.stack(losses).mean()


def reference_sampling_loss(
    parameters: Parameters, pre: list[Batch], post: Batch, start: Parameters | None = None
) -> Tensor:
    """E-MAML's term: how much likelier the first samples become, times what they bring."""
    mean = float(post.returns.mean())
    spread = float(((post.returns - mean) ** 2).mean()) ** 0.5 + 1e-8
    losses = []
    for task in range(len(post)):
        ratio = reference_ratio(parameters | (start or {}), pre[0], task)
        gain = (float(post.returns[task]) - mean) / spread
        losses.append(-(ratio * pre[0].weights[task]).sum() * gain)
    return torch.stack(losses).mean()


# Derivatives ------------------------------------------------------------------------------------


def as_leaves(parameters: Parameters) -> Parameters:
    return {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}


def at(learner: MAML, vector: Tensor) -> Parameters:
    """The learner's parameters with other values."""
    return as_leaves(from_vector(vector, learner.parameters))


def vector_of(learner: MAML) -> Tensor:
    return to_vector(learner.parameters).detach().clone()


def finite_differences(function: Callable[[Tensor], float], point: Tensor) -> Tensor:
    """Central differences; an error of about 1e-9 in float64."""
    width = 1e-6
    units = width * torch.eye(len(point), dtype=point.dtype)
    slopes = [(function(point + u) - function(point - u)) / (2 * width) for u in units]
    return torch.tensor(slopes, dtype=point.dtype)


def moved(learner: MAML, size: float = 0.2) -> Parameters:
    """Initial parameters some way from the learner's."""
    point = vector_of(learner)
    generator = torch.Generator().manual_seed(3)
    step = torch.randn(len(point), generator=generator, dtype=point.dtype)
    return from_vector(point + size * step, learner.parameters)
