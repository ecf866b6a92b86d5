"""`MultiHeadPolicy`: the told head acts, and no other one."""

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from metarl.policies import MLP, CategoricalPolicy, GaussianPolicy, MultiHeadPolicy, Policy

PLAIN = {
    "gaussian": GaussianPolicy(MLP((3, 4, 2)), initial_std=0.5),
    "categorical": CategoricalPolicy(MLP((3, 4, 5))),
}


def parameters_of(policy: Policy, tasks: int = 2) -> dict[str, torch.Tensor]:
    """Stacked, every number another one."""
    draws = [policy.initial_parameters(np.random.default_rng(task)) for task in range(tasks)]
    stacked = {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}
    generator = torch.Generator().manual_seed(0)
    return {n: v + 0.1 * torch.randn(v.shape, generator=generator) for n, v in stacked.items()}


def own_parameters(parameters: dict[str, torch.Tensor], head: int, outputs: int):
    """The plain policy's, of one head: its columns of the output layer, its standard deviation."""
    columns = slice(head * outputs, (head + 1) * outputs)
    own = dict(parameters)
    own["weight1"] = own["weight1"][..., columns]
    own["bias1"] = own["bias1"][..., columns]
    if "log_std" in own:
        own["log_std"] = own["log_std"][:, head]
    return own


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("head", range(3))
def test_a_head_is_a_plain_policy(kind: str, head: int) -> None:
    plain = PLAIN[kind]
    policy = MultiHeadPolicy(plain, 3)
    parameters = parameters_of(policy)
    seen = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1))
    told = one_hot(torch.full((2, 6), head), 3).float()
    outputs = plain.network.sizes[-1]
    expected = plain.distribution(own_parameters(parameters, head, outputs), seen)
    found = policy.distribution(parameters, torch.cat([seen, told], dim=-1))
    noise = torch.full((2, 6, plain.action_size), 0.3)
    actions = expected.sample(noise)
    torch.testing.assert_close(found.log_prob(actions), expected.log_prob(actions))
    torch.testing.assert_close(found.entropy(), expected.entropy())
    torch.testing.assert_close(policy.memory_actor(parameters, told)(seen, noise), actions)


def test_the_heads_that_are_not_told_get_no_gradient() -> None:
    policy = MultiHeadPolicy(PLAIN["gaussian"], 3)
    parameters = {n: v.requires_grad_() for n, v in parameters_of(policy, 1).items()}
    told = one_hot(torch.full((1, 4), 1), 3).float()
    found = policy.distribution(parameters, torch.cat([torch.ones(1, 4, 3), told], dim=-1))
    found.log_prob(torch.zeros(1, 4, 2)).sum().backward()
    weight, log_std = parameters["weight1"].grad, parameters["log_std"].grad
    assert weight is not None
    assert log_std is not None
    assert (weight[..., 2:4] != 0).all()
    assert (log_std[:, 1] != 0).all()
    assert not weight[..., :2].any()
    assert not weight[..., 4:].any()
    assert not log_std[:, [0, 2]].any()


def test_every_head_starts_as_the_plain_policy() -> None:
    plain = PLAIN["gaussian"]
    policy = MultiHeadPolicy(plain, 3)
    first = plain.initial_parameters(np.random.default_rng(0))
    heads = policy.initial_parameters(np.random.default_rng(0))
    assert torch.equal(heads["weight1"], torch.cat([first["weight1"]] * 3, dim=1))
    assert torch.equal(heads["log_std"], first["log_std"].expand(3, 2))
    assert policy.input_size == 3 + 3
