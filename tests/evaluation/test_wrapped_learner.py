"""Our learners as agents of Meta-World's protocol: the same curve as by our own evaluation."""

from typing import Any

import numpy as np
import pytest
import torch

from metarl.algorithms import ALGORITHMS
from metarl.config import EvaluationConfig, from_mapping
from metarl.errors import UserError
from metarl.evaluation.evaluate import evaluate
from metarl.evaluation.meta_world import Timestep, evaluate_agent
from metarl.evaluation.wrapped_learner import LearnerAgent, as_meta_learning_agent
from metarl.simulation.autoreset import AutoresetVectorEnv
from metarl.training.experiment import Experiment
from metarl.training.trainer import Trainer

TASKS, HORIZON = 4, 12
SPECIAL = {
    "distillation_ppo": {"tasks.training_tasks": 4},
    "mutual_distance_ppo": {"tasks.training_tasks": 4},
    "pearl": {"tasks.training_tasks": 4},
}


def make(name: str, episodes: int, **overrides: Any) -> Experiment:
    config = {
        "tasks": {
            "family": "PointNavigation-v0",
            "horizon": HORIZON,
            "tasks_per_iteration": 4,
            "episodes_per_task": 2,
        },
        "policy": {"hidden_sizes": [8]},
        "algorithm": {"name": name},
        "evaluation": {"tasks": TASKS, "episodes": episodes, "steps": 2},
        "run": {"threads": 1, "device": "cpu"},
    }
    return Experiment.from_config(from_mapping(config, "test", SPECIAL.get(name, {}) | overrides))


def both_curves(experiment: Experiment) -> tuple[np.ndarray, np.ndarray]:
    settings = experiment.config.evaluation
    own = evaluate(
        experiment.learner, experiment.sampler(settings.tasks, settings.episodes), settings
    )
    agent = as_meta_learning_agent(experiment)
    wrapped = evaluate_agent(agent, "PointNavigation-v0", settings, horizon=HORIZON, threads=1)
    return own.returns, wrapped.returns


# The same actions but for rounding: an environment's row is computed in a batch of another shape.
@pytest.mark.parametrize("name", sorted(ALGORITHMS.keys() - {"oracle_ppo"}))
def test_every_learner_has_the_curve_of_our_own_evaluation(name: str):
    episodes = 1 if ALGORITHMS[name].learner.trials_are_independent else 3
    own, wrapped = both_curves(make(name, episodes))
    np.testing.assert_allclose(wrapped, own, atol=2e-3)
    assert not np.isclose(own[:, 0], own[:, 1], atol=2e-3).all()


def test_adaptation_itself_is_that_of_the_learner():
    # A rate at which one step changes returns by far more than the tolerance above.
    experiment = make("maml_trpo", 3, **{"algorithm.inner_learning_rate": 5.0})
    settings = experiment.config.evaluation
    agent = as_meta_learning_agent(experiment)
    agent.adapt = lambda: setattr(agent, "_exploring", None)
    frozen = evaluate_agent(agent, "PointNavigation-v0", settings, horizon=HORIZON, threads=1)
    own, wrapped = both_curves(experiment)
    np.testing.assert_allclose(wrapped, own, atol=2e-3)
    assert abs(frozen.returns[:, 1:] - own[:, 1:]).min() > 0.02


def test_normalised_observations_and_scaled_actions_stay_inside_the_agent():
    overrides = {"policy.normalize_observations": True, "policy.action_scaling": "ten"}
    experiment = make("maml_trpo", 2, **overrides)
    experiment.measure_observations()
    assert not torch.equal(experiment.normalizer.std, torch.ones(2))
    own, wrapped = both_curves(experiment)
    np.testing.assert_allclose(wrapped, own, atol=2e-3)


def meta_worlds_loop(agent: Any, envs: AutoresetVectorEnv, rounds: int, episodes: int) -> list[Any]:
    """Mean returns `[K]` of `metalearning_evaluation` (release 3.1.1), restated."""
    agent.init()
    for _ in range(rounds):
        observation, _ = envs.reset()
        elapsed = np.zeros(envs.num_envs)
        while not (elapsed >= episodes).all():
            actions, auxiliary = agent.adapt_action(observation.astype(np.float64))
            following, reward, terminated, truncated, _ = envs.step(actions)
            agent.step(Timestep(observation, actions, reward, terminated, truncated, auxiliary))
            elapsed += terminated | truncated
            observation = following
        agent.adapt()
    observation, _ = envs.reset()
    agent.reset(np.ones(envs.num_envs, dtype=bool))
    running, returns = np.zeros(envs.num_envs), [[] for _ in range(envs.num_envs)]
    while min(map(len, returns)) < episodes:
        observation, reward, terminated, truncated, _ = envs.step(agent.eval_action(observation))
        running += reward
        ended = terminated | truncated
        agent.reset(ended)
        for index in ended.nonzero()[0]:
            returns[index].append(running[index])
        running[ended] = 0.0
    return [np.mean(each[:episodes]) for each in returns]


@pytest.mark.parametrize("name", ["maml_trpo", "reptile_ppo", "pearl"])
def test_another_loop_with_anothers_environments_gives_the_curve(name: str):
    episodes = 1 if name == "pearl" else 2
    experiment = make(name, episodes)
    settings = experiment.config.evaluation
    sampler = experiment.sampler(TASKS, episodes)
    own = evaluate(experiment.learner, sampler, settings).returns
    tasks = experiment.family.split("test").cycle(TASKS)
    envs = AutoresetVectorEnv(experiment.family, tasks, threads=1, autoreset_mode="same_step")
    envs.reset(seed=0)
    agent = as_meta_learning_agent(experiment)
    for rounds in range(3):
        returns = meta_worlds_loop(agent, envs, rounds, episodes)
        np.testing.assert_allclose(returns, own[:, rounds], atol=2e-3)


def test_trials_go_on_with_each_episode_and_measuring_leaves_them_alone():
    experiment = make("rl2_ppo", 1)
    agent = LearnerAgent(experiment, 1)
    seen = np.zeros((TASKS, 2))

    def step(ended: list[bool]) -> None:
        actions, auxiliary = agent.adapt_action(seen)
        no = np.zeros(TASKS, dtype=bool)
        agent.step(Timestep(seen, actions, np.ones(TASKS), no, np.array(ended), auxiliary))

    agent.init()
    step([True, False, False, False])
    assert [feed.stage for feed in agent._feeds] == [1, 0, 0, 0]
    step([True, False, True, False])
    assert [feed.stage for feed in agent._feeds] == [2, 0, 1, 0]
    assert [len(feed.recorded) for feed in agent._feeds] == [2, 0, 1, 0]
    # the second episode of environment 2 was its first with two time steps
    assert [int(episode.mask.sum()) for episode, _ in agent._feeds[2].recorded] == [2]
    agent.adapt()
    agent.reset(np.ones(TASKS, dtype=bool))
    assert agent._measured is not None
    memory = agent._measured.memory
    assert memory is not None
    before = memory.clone()
    # episode boundaries are marked where an episode has ended, and nowhere else
    assert before[:, 0, -1].tolist() == [1.0, 0.0, 1.0, 0.0]
    agent.eval_action(seen)
    agent.reset(np.array([True, True, False, False]))
    assert torch.equal(memory[:2], before[:2])
    assert not torch.equal(memory[2:], before[2:])


def test_mistakes_of_a_loop_are_answered_in_one_line():
    agent = as_meta_learning_agent(make("maml_trpo", 3))
    seen, no = np.zeros((TASKS, 2)), np.zeros(TASKS, dtype=bool)
    with pytest.raises(UserError, match="adapt comes after adapt_action"):
        agent.adapt()

    def step(ended: bool) -> None:
        actions, auxiliary = agent.adapt_action(seen)
        agent.step(Timestep(seen, actions, np.ones(TASKS), no, no | ended, auxiliary))

    step(True)
    with pytest.raises(UserError, match=r"adapts to 3 episodes of each task, got 1; .* episodes=1"):
        agent.adapt()
    with pytest.raises(UserError, match="was adapting to 4 tasks, and now sees 5"):
        agent.adapt_action(np.zeros((5, 2)))
    for _ in range(HORIZON):
        step(False)
    with pytest.raises(UserError, match="longer than the horizon of 12 time steps"):
        step(False)


def test_the_oracle_is_no_agent():
    agent = as_meta_learning_agent(make("oracle_ppo", 1))
    with pytest.raises(UserError, match="oracle_ppo needs to be told the task, which no agent is"):
        evaluate_agent(agent, "PointNavigation-v0", EvaluationConfig(tasks=2, episodes=1))


def test_a_run_folder_gives_its_last_checkpoint(tmp_path: Any):
    run = tmp_path / "run"
    overrides = {"run.output": str(run), "run.iterations": 1}
    trainer = Trainer.start(make("maml_trpo", 2, **overrides).config)
    trainer.train()
    experiment = trainer.experiment
    assert isinstance(experiment, Experiment)
    settings, sampler = experiment.config.evaluation, experiment.sampler(TASKS, 2)
    own = evaluate(experiment.learner, sampler, settings).returns
    agent = as_meta_learning_agent(run)
    assert agent.name == "maml_trpo"
    curve = evaluate_agent(agent, "PointNavigation-v0", settings, horizon=HORIZON, threads=1)
    np.testing.assert_allclose(curve.returns, own, atol=2e-3)
    with pytest.raises(UserError, match="no run folder"):
        as_meta_learning_agent(tmp_path / "absent")
