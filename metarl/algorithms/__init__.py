"""Learners, one file each, and their names."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from metarl.algorithms.cavia import CAVIA, CAVIAConfig
from metarl.algorithms.distillation_ppo import DistillationPPO, DistillationPPOConfig
from metarl.algorithms.learner import Learner, Metrics
from metarl.algorithms.maml_ppo import MAMLPPO, MAMLPPOConfig
from metarl.algorithms.maml_trpo import MAMLTRPO, MAMLTRPOConfig
from metarl.algorithms.meta_sgd import MetaSGD, MetaSGDConfig
from metarl.algorithms.multi_task_ppo import MultiTaskPPO, MultiTaskPPOConfig
from metarl.algorithms.mutual_distance_ppo import MutualDistancePPO, MutualDistancePPOConfig
from metarl.algorithms.oracle_ppo import OraclePPO, OraclePPOConfig
from metarl.algorithms.pearl import PEARL, PEARLConfig
from metarl.algorithms.ppo_from_scratch import PPOFromScratch, PPOFromScratchConfig
from metarl.algorithms.promp import ProMP, ProMPConfig
from metarl.algorithms.random_policy import RandomActions, RandomConfig
from metarl.algorithms.registry import (
    ALGORITHMS,
    Algorithm,
    algorithms,
    find_learner,
    register_learner,
)
from metarl.algorithms.reptile_ppo import ReptilePPO, ReptilePPOConfig
from metarl.algorithms.rl2_ppo import RL2PPO, RL2PPOConfig
from metarl.plugins import ConfigClasses
from metarl.policies import Policy
from metarl.simulation.engine import SimulatedFamily
from metarl.workers import Workers

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Learner",
    "Metrics",
    "algorithms",
    "config_classes",
    "find_learner",
    "make_learner",
    "register_learner",
]


ALGORITHMS |= {
    "maml_trpo": Algorithm(
        MAMLTRPOConfig, MAMLTRPO, "MAML with a TRPO meta-update through the inner step"
    ),
    "maml_ppo": Algorithm(MAMLPPOConfig, MAMLPPO, "MAML with PPO's clipped objective outside"),
    "promp": Algorithm(ProMPConfig, ProMP, "clipped meta-objective, KL penalty before adaptation"),
    "meta_sgd": Algorithm(
        MetaSGDConfig, MetaSGD, "MAML-TRPO that learns the inner rate of every parameter too"
    ),
    "cavia": Algorithm(CAVIAConfig, CAVIA, "only a context vector adapts; TRPO meta-update"),
    "reptile_ppo": Algorithm(
        ReptilePPOConfig, ReptilePPO, "steps towards what PPO learns on tasks"
    ),
    "ppo_from_scratch": Algorithm(
        PPOFromScratchConfig, PPOFromScratch, "baseline: PPO on the test task alone"
    ),
    "random": Algorithm(RandomConfig, RandomActions, "baseline: uniformly random actions"),
    "multi_task_ppo": Algorithm(
        MultiTaskPPOConfig, MultiTaskPPO, "baseline: PPO on all tasks at once, then fine-tuning"
    ),
    "oracle_ppo": Algorithm(
        OraclePPOConfig, OraclePPO, "baseline: PPO on all tasks at once, told which task it is"
    ),
    "mutual_distance_ppo": Algorithm(
        MutualDistancePPOConfig, MutualDistancePPO, "PPO on each task, held to the others' policies"
    ),
    "distillation_ppo": Algorithm(
        DistillationPPOConfig,
        DistillationPPO,
        "baseline: policies of many tasks distilled into one",
    ),
    "pearl": Algorithm(
        PEARLConfig, PEARL, "soft actor-critic told a latent task, inferred off policy"
    ),
    "rl2_ppo": Algorithm(
        RL2PPOConfig, RL2PPO, "a recurrent policy that learns within trials, trained by PPO"
    ),
}


def config_classes() -> Mapping[str, type]:
    """The settings dataclass of each algorithm by its name, or by `module:name`."""
    return ConfigClasses(algorithms, find_learner)


def make_learner(
    config: Any,
    policy: Policy,
    family: SimulatedFamily,
    generator: np.random.Generator,
    device: torch.device | str = "cpu",
    workers: Workers | None = None,
) -> Learner:
    """The learner that `config.name` names, with the policy that it wants in place of `policy`."""
    learner = find_learner(config.name).learner
    policy = learner.policy_for(policy, family, config)
    return learner(policy, config, generator, device, workers)
