"""What continual learners start from: a policy, random parameters, or a meta-learned start."""

from collections.abc import Sequence

import torch

from metarl.algorithms.ppo import ActorCritic
from metarl.continual.config import ContinualConfig
from metarl.continual.learner import ContinualPPO
from metarl.continual.record import Row
from metarl.errors import UserError
from metarl.policies import ConditionedPolicy, MultiHeadPolicy, Parameters, Policy
from metarl.policies import make_policy as make_plain_policy
from metarl.sampling import ObservationNormalizer
from metarl.simulation.engine import SimulatedFamily
from metarl.tasks import stream


def make_policy(
    family: SimulatedFamily, config: ContinualConfig, tasks: int
) -> tuple[Policy, Policy]:
    """The plain policy of the family, and the one that is told what `identity` says."""
    settings = config.policy
    plain = make_plain_policy(
        family.observation_space,
        family.action_space,
        settings.hidden_sizes,
        settings.activation,
        settings.initial_std,
        settings.min_std,
    )
    if config.algorithm.identity == "given":
        return plain, ConditionedPolicy(plain, tasks)
    if config.algorithm.identity == "heads":
        return plain, MultiHeadPolicy(plain, tasks)
    return plain, plain


def initial_parameters(actor_critic: ActorCritic, rows: Sequence[Row], seed: int) -> Parameters:
    """Stacked `[L, ...]`: learners of one seed start alike, whatever else is in the stack."""
    of_seed = {
        number: actor_critic.initial_parameters(stream(seed, "initial parameters", 0, number))
        for number in sorted({row.seed for row in rows})
    }
    first = of_seed[rows[0].seed]
    return {name: torch.stack([of_seed[row.seed][name] for row in rows]) for name in first}


def learned_start(
    config: ContinualConfig, learner: ContinualPPO, normalizer: ObservationNormalizer
) -> None:
    """Start from a meta-learner's parameters and its normaliser, but for `from_scratch`.

    What it has not learned (a value network, say) keeps its random start. UserError for a run of
    another family, policy or learner.
    """
    # Late: a run is only opened where one is wanted.
    from metarl.training.restore import open_run, restore

    path = config.algorithm.initial_run
    assert path is not None
    run, experiment = open_run(path)
    where = f"algorithm.initial_run: {run.path}"
    if experiment.family.name != config.sequence.family:
        raise UserError(
            f"{where} was trained on {experiment.family.name}, not on {config.sequence.family}"
        )
    if experiment.config.policy.normalize_observations != config.policy.normalize_observations:
        raise UserError(f"{where} has another policy.normalize_observations; make them equal")
    restore(experiment, run)
    learned = getattr(experiment.learner, "parameters", None)
    if not isinstance(learned, dict):
        name = experiment.config.algorithm.name
        raise UserError(f"{where} is of {name}, which has no one set of initial parameters")
    start = learner.parameters
    for name, value in start.items():
        if name in learned:
            start[name] = _fitted(name, learned[name].detach().cpu(), value, where)
        elif not name.startswith("value."):
            raise UserError(f"{where} has no parameter {name}; use a learner of plain policies")
    for group in learner.groups:
        if not group.method.forgets_optimizer:
            learner.ppo.replace({n: v[group.rows] for n, v in start.items()}, group.rows)
    normalizer.load_state_dict(experiment.normalizer.state_dict())


def _fitted(name: str, learned: torch.Tensor, stacked: torch.Tensor, where: str) -> torch.Tensor:
    """A learned parameter for every learner; UserError where its shape is another."""
    if learned.shape != stacked.shape[1:]:
        raise UserError(
            f"{where} has {name} of shape {list(learned.shape)}, this policy "
            f"{list(stacked.shape[1:])}; make policy.hidden_sizes and identity fit"
        )
    return learned.expand_as(stacked).clone()
