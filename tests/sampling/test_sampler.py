"""Rollouts: shapes, random streams, ends of episodes, failures."""

import importlib
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from metarl.algorithms.maml_trpo import MAMLTRPO, MAMLTRPOConfig
from metarl.errors import UserError
from metarl.policies import Parameters, make_policy, stack
from metarl.sampling import ActionBoundary, ObservationNormalizer, Sampler, Trajectories
from metarl.simulation import TaskVectorEnv, TensorFamily
from metarl.tasks import Choice, Tasks, TaskStreams
from metarl.workers import Workers
from metarl_envs.half_cheetah import HalfCheetahVel
from metarl_envs.point import PointNavigation


class Walk(TensorFamily):
    """A walk on the line by the action; a task with `fails` has diverged physics from step 2 on."""

    parameters = {"fails": Choice((0.0, 1.0))}
    horizon = 5
    observation_space = Box(-np.inf, np.inf, (1,), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        # position, time
        return torch.cat([random.uniform(-1.0, 1.0, (1,)), torch.zeros(len(tasks), 1)], dim=1)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        moved = state[:, :1] + action.to(state.dtype).view(-1, 1)
        diverged = (tasks["fails"] > 0) & (state[:, 1] >= 2)
        moved = torch.where(diverged.unsqueeze(1), torch.nan, moved)
        return torch.cat([moved, state[:, 1:] + 1], dim=1)

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state[:, :1]

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return -after[:, 0].abs()


class DiscreteWalk(Walk):
    action_space = Discrete(3)


def make(
    family: TensorFamily | HalfCheetahVel, tasks: int, episodes: int = 2, threads: int = 1
) -> tuple[Sampler, Parameters]:
    """A sampler and stacked parameters; task k's policy is the same for any number of tasks."""
    env = TaskVectorEnv(family, tasks, episodes, threads)
    policy = make_policy(family.observation_space, family.action_space, (4,))
    sampler = Sampler(env, policy, ActionBoundary(family.action_space, "none"))
    each = [policy.initial_parameters(np.random.default_rng(task)) for task in range(tasks)]
    return sampler, {name: torch.stack([p[name] for p in each]) for name in each[0]}


def point_navigation(horizon: int = 6) -> PointNavigation:
    family = PointNavigation()
    family.horizon = horizon
    return family


def goals(*positions: tuple[float, float]) -> Tasks:
    return Tasks({"goal": torch.tensor(positions, dtype=torch.float64)})


FAR = goals((0.4, 0.4), (-0.3, 0.2), (0.1, -0.5))


def collect_far(tasks: int = 3, seed: int = 0, iteration: int = 0, purpose: str = "train"):
    sampler, parameters = make(point_navigation(), tasks)
    sampler.begin(FAR[:tasks], purpose, seed, iteration)
    return sampler.collect(parameters)


def assert_same_bits(first: Trajectories, second: Trajectories) -> None:
    for field in fields(Trajectories):
        assert torch.equal(getattr(first, field.name), getattr(second, field.name)), field.name


def test_trajectories_have_axes_of_tasks_episodes_and_time_steps():
    trajectories = collect_far()
    assert trajectories.observations.shape == (3, 2, 6, 2)
    assert trajectories.actions.shape == (3, 2, 6, 2)
    assert trajectories.rewards.shape == trajectories.mask.shape == (3, 2, 6)
    assert trajectories.terminated.shape == trajectories.failed.shape == (3, 2)
    assert trajectories.observations.dtype == trajectories.rewards.dtype == torch.float32
    assert trajectories.mask.all()
    assert not trajectories.terminated.any()


def test_observation_is_what_the_policy_saw_before_it_acted():
    trajectories = collect_far()
    assert torch.equal(trajectories.observations[:, :, 0], torch.zeros(3, 2, 2))
    moves = trajectories.actions.clamp(-0.1, 0.1)
    torch.testing.assert_close(
        trajectories.observations[:, :, 1:], moves[:, :, :-1].cumsum(dim=2), atol=1e-6, rtol=0.0
    )
    position = trajectories.observations[:, :, -1] + moves[:, :, -1]
    distance = (position - FAR["goal"][:, None].float()).norm(dim=-1)
    torch.testing.assert_close(trajectories.rewards[:, :, -1], -distance)


def test_recorded_actions_are_the_policy_s_own_not_the_clipped_ones():
    assert collect_far().actions.abs().max() > 0.5


def test_same_seed_and_iteration_give_the_same_bits_whatever_else_draws():
    first = collect_far(seed=3, iteration=5)
    torch.manual_seed(99)
    np.random.default_rng(99).random()
    assert_same_bits(first, collect_far(seed=3, iteration=5))


@pytest.mark.parametrize("other", [{"seed": 1}, {"iteration": 1}, {"purpose": "test"}])
def test_seed_iteration_and_purpose_change_the_noise(other):
    assert not torch.isclose(collect_far().actions, collect_far(**other).actions).any()


def test_stages_of_an_iteration_have_their_own_noise_and_begin_starts_over():
    sampler, parameters = make(point_navigation(), 3)
    sampler.begin(FAR, "train", 0, 0)
    first, second = sampler.collect(parameters), sampler.collect(parameters)
    assert not torch.isclose(first.actions, second.actions).any()
    sampler.begin(FAR, "train", 0, 0)
    assert_same_bits(sampler.collect(parameters), first)
    assert_same_bits(sampler.collect(parameters), second)


def test_tasks_and_episodes_have_their_own_noise():
    sampler, parameters = make(point_navigation(), 3)
    shared = stack({name: value[0] for name, value in parameters.items()}, 3)
    sampler.begin(goals((0.4, 0.4), (0.4, 0.4), (0.4, 0.4)), "train", 0, 0)
    rows = sampler.collect(shared).actions[:, :, 0].flatten(0, 1)
    assert len(rows.unique(dim=0)) == 6


def test_resets_of_stages_and_tasks_are_drawn_from_their_own_streams():
    sampler, parameters = make(Walk(), 2)
    sampler.begin(Tasks({"fails": [0.0, 0.0]}), "train", 0, 0)
    starts = torch.cat([sampler.collect(parameters).observations[:, :, 0] for _ in range(2)])
    assert len(starts.unique()) == 8


def test_trajectories_of_a_task_do_not_depend_on_the_other_tasks():
    alone, together = collect_far(tasks=1), collect_far(tasks=3)
    assert_same_bits(alone, together[:1])
    assert not torch.isclose(together.actions[0], together.actions[1]).any()


def test_the_policy_sees_normalised_observations_and_the_trajectories_keep_them():
    family = point_navigation()
    plain, parameters = make(family, 3)
    normalizer = ObservationNormalizer(2)
    normalizer.mean, normalizer.std = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 4.0])
    boundary = ActionBoundary(family.action_space, "none")
    normalized = Sampler(plain.envs, plain.policy, boundary, normalizer=normalizer)
    for sampler in (plain, normalized):
        sampler.begin(FAR, "train", 0, 0)
    seen = normalized.collect(parameters)
    # at the origin: (0 - 1) / 0.5 and (0 + 2) / 4
    assert (seen.observations[:, :, 0] == torch.tensor([-2.0, 0.5])).all()
    # a network whose first layer normalises does the same: W / std, b - mean / std W
    weight, bias = parameters["weight0"], parameters["bias0"]
    folded = weight / normalizer.std[:, None]
    shift = ((normalizer.mean / normalizer.std)[:, None] * weight).sum(dim=1)
    unfolded = plain.collect({**parameters, "weight0": folded, "bias0": bias - shift})
    torch.testing.assert_close(seen.actions, unfolded.actions)
    torch.testing.assert_close(seen.observations, normalizer(unfolded.observations))


def test_trajectories_do_not_depend_on_how_tasks_are_spread_over_environments():
    sampler, parameters = make(point_navigation(), 3)
    family, boundary = sampler.family, sampler.boundary
    envs = [TaskVectorEnv(family, tasks, 2) for tasks in (1, 2)]
    spread = Sampler(envs, sampler.policy, boundary, Workers(2))
    assert spread.task_count == 3
    for one in (sampler, spread):
        one.begin(FAR, "train", 0, 0)
    for _ in range(2):
        assert_same_bits(sampler.collect(parameters), spread.collect(parameters))
    assert sampler.environment_steps == spread.environment_steps == 2 * 3 * 2 * 6


def test_trajectories_do_not_depend_on_the_number_of_threads():
    family = HalfCheetahVel()
    family.horizon = 5
    plain, parameters = make(family, 3)
    results = []
    for threads in (1, 2, 3):
        sampler = Sampler.of(family, 3, 2, plain.policy, plain.boundary, threads)
        sampler.begin(Tasks({"velocity": [0.5, 1.5, 2.5]}), "train", 0, 0)
        results.append(sampler.collect(parameters))
    assert results[0].observations[:, :, -1].abs().max() > 0.1
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


@pytest.mark.parametrize(
    ("ends_early", "tasks", "threads", "expected"),
    [
        (False, 5, 1, [5]),
        (False, 5, 2, [2, 3]),
        (False, 3, 8, [1, 1, 1]),
        (False, 9, 8, [2, 2, 2, 3]),
        (True, 5, 1, [5]),
        (True, 5, 3, [5]),
        (True, 5, 4, [2, 3]),
        (True, 9, 8, [2, 2, 2, 3]),
    ],
)
def test_tasks_are_shared_out_over_an_environment_for_each_thread_or_two(
    ends_early, tasks, threads, expected, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Walk, "ends_early", ends_early)
    family = Walk()
    family.max_shards = 4  # pyright: ignore[reportAttributeAccessIssue]
    plain, _ = make(family, 1)
    sampler = Sampler.of(family, tasks, 4, plain.policy, plain.boundary, threads)
    assert [env.task_count for env in sampler.envs] == expected
    assert sampler.task_count == tasks


@pytest.mark.parametrize(
    ("episodes", "expected"), [(4, [3, 3, 3]), (2, [2, 2, 5]), (3, [4, 5]), (5, [4, 5])]
)
def test_first_tasks_of_shards_lie_where_matrix_products_round_alike(
    episodes: int, expected: list[int]
):
    # Batches of `episodes` rows of one number: 4 / gcd(4, episodes) tasks are a multiple of four.
    family = Walk()
    family.max_shards = 3  # pyright: ignore[reportAttributeAccessIssue]
    plain, _ = make(family, 1)
    sampler = Sampler.of(family, 9, episodes, plain.policy, plain.boundary, 3)
    assert [env.task_count for env in sampler.envs] == expected


@pytest.mark.parametrize("episodes", [1, 3, 5])
def test_a_layer_of_any_shape_rounds_alike_in_every_shard(episodes: int):
    family = HalfCheetahVel()
    family.horizon = 3
    policy = make_policy(family.observation_space, family.action_space, (64,))
    boundary = ActionBoundary(family.action_space, "none")
    shared = policy.initial_parameters(np.random.default_rng(0))
    results = []
    for threads in (1, 2, 3):
        sampler = Sampler.of(family, 10, episodes, policy, boundary, threads)
        sampler.begin(family.sample(0, 0, 10), "train", 0, 0)
        results.append(
            sampler.collect({n: v.repeat(10, *[1] * v.dim()) for n, v in shared.items()})
        )
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


def test_number_of_tasks_must_be_the_sampler_s():
    sampler, _ = make(point_navigation(), 2)
    with pytest.raises(ValueError, match="holds 2 tasks, got 3"):
        sampler.begin(FAR, "train", 0, 0)


def test_leaving_out_tasks_that_have_ended_changes_no_bit(monkeypatch: pytest.MonkeyPatch):
    sampler, parameters = make(Walk(), 8)
    actors = importlib.import_module("metarl.sampling.rollout")._Actors
    results, here = [], []
    for leave_out in (False, True):

        def keep(self: Any, wanted: Tensor, on: bool = leave_out, keep: Any = actors.keep) -> None:
            if on:
                keep(self, wanted)
                here.append(8 if self._tasks is None else len(self._tasks))

        with monkeypatch.context() as patch:
            patch.setattr(actors, "keep", keep)
            # half of them end in the third of five steps
            sampler.begin(Tasks({"fails": [1.0, 0.0, 1.0, 0.0] * 2}), "train", 0, 0)
            results.append(sampler.collect(parameters))
    assert_same_bits(*results)
    assert here[-1] == 4


def test_ended_episode_is_masked_and_zero_after_its_end_and_never_continues():
    # Moves of exactly 0.1: a goal at (0.3, 0) is reached in 3 steps, one at (0.5, 0.5) never.
    sampler, parameters = make(point_navigation(), 2)
    still = {name: torch.zeros_like(value) for name, value in parameters.items()}
    still["bias1"] = torch.tensor([[0.1, 0.0], [0.1, 0.0]])
    still["log_std"] = torch.full((2, 2), -50.0)
    sampler.begin(goals((0.3, 0.0), (0.5, 0.5)), "train", 0, 0)

    trajectories = sampler.collect(still)

    assert trajectories.mask[0].tolist() == [[True, True, True, False, False, False]] * 2
    assert trajectories.mask[1].all()
    assert trajectories.terminated.tolist() == [[True, True], [False, False]]
    assert not trajectories.failed.any()
    assert torch.equal(trajectories.rewards[0, :, 3:], torch.zeros(2, 3))
    assert torch.equal(trajectories.observations[0, :, 3:], torch.zeros(2, 3, 2))
    assert torch.equal(trajectories.actions[0, :, 3:], torch.zeros(2, 3, 2))
    # -0.2 after the first move, -0.1, 0
    torch.testing.assert_close(trajectories.returns[0].item(), -0.3, atol=1e-5, rtol=0.0)
    assert trajectories.environment_steps.tolist() == [6, 12]
    assert sampler.environment_steps == 18


def test_mask_has_no_gap_in_random_episodes():
    # a goal next to the start: noise of 0.02 ends many episodes after a few steps
    sampler, parameters = make(point_navigation(20), 1, episodes=50)
    still = {name: torch.zeros_like(value) for name, value in parameters.items()}
    still["log_std"] = torch.full((1, 2), float(np.log(0.02)))
    sampler.begin(goals((0.02, 0.0)), "train", 0, 0)
    mask = sampler.collect(still).mask
    lengths = mask.sum(dim=-1)
    assert len(lengths.unique()) > 3
    assert torch.equal(mask, torch.arange(20) < lengths.unsqueeze(-1))


def test_environment_steps_count_all_stages_since_begin():
    sampler, parameters = make(point_navigation(), 3)
    sampler.begin(FAR, "train", 0, 0)
    sampler.collect(parameters)
    assert sampler.environment_steps == 3 * 2 * 6
    sampler.collect(parameters)
    assert sampler.environment_steps == 2 * 3 * 2 * 6
    sampler.begin(FAR, "train", 0, 1)
    assert sampler.environment_steps == 0


def test_failed_episodes_end_alone_are_masked_and_counted():
    sampler, parameters = make(Walk(), 3)
    sampler.begin(Tasks({"fails": [0.0, 1.0, 0.0]}), "train", 0, 0)
    trajectories = sampler.collect(parameters)
    assert trajectories.failed.tolist() == [[False, False], [True, True], [False, False]]
    assert not trajectories.terminated.any()
    # two steps took place; the third, which diverged, is no sample
    assert trajectories.mask[1].tolist() == [[True, True, False, False, False]] * 2
    assert trajectories.mask[[0, 2]].all()
    assert torch.equal(trajectories.rewards[1, :, 2:], torch.zeros(2, 3))
    for field in fields(Trajectories):
        assert torch.isfinite(getattr(trajectories, field.name)).all()


def test_gradients_of_a_meta_update_stay_finite_with_failed_episodes():
    sampler, _ = make(Walk(), 3)
    learner = MAMLTRPO(sampler.policy, MAMLTRPOConfig(), np.random.default_rng(0))
    old = learner.parameters
    sampler.begin(Tasks({"fails": [0.0, 1.0, 0.0]}), "train", 0, 0)
    metrics = learner.meta_update(sampler)
    # two episodes fail before and two after adaptation
    assert metrics["train/failed_episodes"] == 4.0
    assert all(np.isfinite(value) for value in metrics.values())
    assert metrics["loss/gradient_norm"] > 0
    assert all(torch.isfinite(value).all() for value in learner.parameters.values())
    assert not torch.equal(learner.parameters["weight0"], old["weight0"])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_policy_action_that_is_not_finite_is_the_user_s_error(bad):
    sampler, parameters = make(Walk(), 2)
    parameters["bias1"][1] = bad
    sampler.begin(Tasks({"fails": [0.0, 0.0]}), "train", 0, 0)
    with pytest.raises(UserError, match="not finite in time step 0; lower the learning rates"):
        sampler.collect(parameters)


def test_discrete_actions_are_recorded_as_indices():
    sampler, parameters = make(DiscreteWalk(), 2, episodes=4)
    sampler.begin(Tasks({"fails": [0.0, 1.0]}), "train", 0, 0)
    trajectories = sampler.collect(parameters)
    assert trajectories.actions.shape == (2, 4, 5, 1)
    assert trajectories.actions.dtype == torch.int64
    assert trajectories.actions[0].unique().tolist() == [0, 1, 2]
    # the walk moves by the index itself
    starts = trajectories.observations[0, :, 0, 0]
    torch.testing.assert_close(
        trajectories.observations[0, :, 1, 0], starts + trajectories.actions[0, :, 0, 0]
    )


def test_a_learner_s_own_streams_differ_by_task_name_stage_and_iteration():
    sampler, parameters = make(point_navigation(), 3)

    def draws(name: str = "minibatches") -> list[float]:
        return [generator.random() for generator in sampler.generators(name)]

    sampler.begin(FAR, "train", 0, 0)
    first = draws()
    assert draws() == first
    others = [draws("latent")]
    sampler.collect(parameters)
    others.append(draws())
    sampler.begin(FAR, "train", 0, 1)
    others.append(draws())
    assert len({*first, *(number for other in others for number in other)}) == 12


def test_task_indices_are_those_of_the_meta_batch():
    sampler, _ = make(point_navigation(), 3)
    sampler.begin(FAR, "train", 0, 0, indices=[5, 7, 9])
    assert sampler.task_indices == [5, 7, 9]
    assert sampler.tasks == FAR
    sampler.begin(FAR, "train", 0, 1)
    assert list(sampler.task_indices) == [0, 1, 2]


def test_learners_with_one_stream_number_see_the_same_random_numbers() -> None:
    sampler, parameters = make(point_navigation(), 3)
    parameters = {name: value[:1].expand_as(value) for name, value in parameters.items()}
    sampler.begin(FAR[torch.zeros(3, dtype=torch.int64)], "train", 0, 0, streams=[5, 5, 6])
    found = sampler.collect(parameters).actions
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_every_episode_may_have_a_task_of_its_own() -> None:
    # Reward at the origin's first step is minus the distance to the goal after it.
    sampler, parameters = make(point_navigation(), 2)
    sampler.begin(FAR[torch.tensor([0, 1, 1, 2])], "train", 0, 0)
    found = sampler.collect(parameters)
    step = sampler.boundary(found.actions[:, :, 0].reshape(4, 2)).clamp(-0.1, 0.1)
    distance = (step - FAR["goal"][[0, 1, 1, 2]].float()).norm(dim=1)
    torch.testing.assert_close(found.rewards[:, :, 0].reshape(4), -distance)
    with pytest.raises(ValueError, match="holds 2 tasks, got 3"):
        sampler.begin(FAR, "train", 0, 0)
