"""What every registered learner must do, on a point and on a bandit."""

from typing import Any

import pytest

from metarl.algorithms import algorithms
from metarl.config import Config
from metarl.conformance.learners import LEARNER_CHECKS, TASKS, check_learning, tiny_config

FIXED = {"tasks.training_tasks": TASKS}
SETTINGS: dict[str, dict[str, Any]] = {
    "distillation_ppo": FIXED | {"algorithm.teacher_iterations": 1},
    "mutual_distance_ppo": FIXED,
    "pearl": FIXED
    | {
        "algorithm.encoder_hidden_sizes": [4],
        "algorithm.gradient_steps": 2,
        "algorithm.meta_batch": 2,
        "algorithm.batch_size": 4,
        "algorithm.context_size": 4,
        "algorithm.replay_capacity": 50,
    },
    "rl2_ppo": {"algorithm.hidden_size": 4},
}
CONTINUOUS_ONLY = {"pearl"}
LEARN_NOTHING = {"ppo_from_scratch", "random"}


def configs() -> dict[str, Config]:
    return {
        f"{name}-{world}": tiny_config(name, world, **SETTINGS.get(name, {}))
        for name in algorithms()
        for world in ("continuous", "discrete")
        if world == "continuous" or name not in CONTINUOUS_ONLY
    }


CONFIGS = configs()


@pytest.mark.parametrize("check", LEARNER_CHECKS.values(), ids=lambda check: check.__name__)
@pytest.mark.parametrize("run", CONFIGS)
def test_every_learner_passes_the_checks(run: str, check: Any):
    config = CONFIGS[run]
    if check is check_learning and config.algorithm.name in LEARN_NOTHING:
        return
    check(config)
