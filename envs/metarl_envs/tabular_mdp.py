"""Random finite Markov decision processes."""

from typing import TYPE_CHECKING

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.simulation import TensorFamily
from metarl.tasks import Dirichlet, Normal, OneHot, Tasks, TaskStreams, register
from metarl_envs.options import require_integer

if TYPE_CHECKING:  # matplotlib takes long to import, and pictures are rare
    from matplotlib.axes import Axes

STATES, ACTIONS, STEPS = 10, 5, 10

# The state: time steps so far, the current state of the MDP, the last reward; then the noise of
# every step of the episode, drawn with the start, so that equal states and actions always have
# equal outcomes: uniform for transitions, then normal for rewards.
STEP, CURRENT, REWARD, NOISE = range(4)


@register("TabularMDP-v0")
class TabularMDP(TensorFamily):
    """Gather reward in a random MDP of which neither transitions nor rewards are known.

    Observation: the current state as a one-hot vector, `[states]`.
    Action: 0 to actions - 1. Options: `states`, 10, and `actions`, 5.
    Reward: normal with the mean of the state before the step and the action, standard deviation 1.
    Termination: never. Horizon 10.
    Start: state 0.
    Task parameters: `transitions` [states, actions, states], the probabilities of the next state,
        flat Dirichlet for each state and action; `reward_means` [states, actions], each ~ N(1, 1).
        Out of distribution: deterministic transitions, to a state drawn with equal probability.
    Source: RL^2 (Duan et al. 2016), section 3.2, after Osband et al. 2013;
        tristandeleu/pytorch-maml-rl, maml_rl/envs/mdp.py, which observes the index of the state.
    """

    robot = "tabular MDP"
    parameters = {
        "transitions": Dirichlet(STATES, (STATES, ACTIONS)),
        "reward_means": Normal(1.0, 1.0, (STATES, ACTIONS)),
    }
    ood_parameters = {"transitions": OneHot(STATES, (STATES, ACTIONS))}
    horizon = STEPS
    observation_space = gymnasium.spaces.Box(0.0, 1.0, (STATES,), np.float32)
    action_space = gymnasium.spaces.Discrete(ACTIONS)

    def __init__(self, states: int = STATES, actions: int = ACTIONS):
        require_integer("states", states, 2)
        require_integer("actions", actions, 2)
        self.states = states
        pairs = (states, actions)
        self.parameters = {
            "transitions": Dirichlet(states, pairs),
            "reward_means": Normal(1.0, 1.0, pairs),
        }
        self.ood_parameters = {"transitions": OneHot(states, pairs)}
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (states,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(actions)

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        uniform = random.uniform(0.0, 1.0, (self.horizon,))
        normal = random.normal(1.0, (self.horizon,))
        start = uniform.new_zeros(len(uniform), NOISE)
        return torch.cat([start, uniform, normal], dim=1)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        rows = torch.arange(len(state), device=state.device)
        # Episodes that have ended come along unused, so the last columns may be asked for again.
        step = state[:, STEP].long().clamp(max=self.horizon - 1)
        current = state[:, CURRENT].long()
        uniform = state[rows, NOISE + step]
        normal = state[rows, NOISE + self.horizon + step]
        # Inverse of the cumulative distribution: how many states end at or below u.
        edges = tasks["transitions"][rows, current, action].cumsum(dim=1)[:, :-1]
        after = state.clone()
        after[:, STEP] += 1.0
        after[:, CURRENT] = (uniform[:, None] >= edges).sum(dim=1).to(state.dtype)
        after[:, REWARD] = tasks["reward_means"][rows, current, action] + normal
        return after

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        every = torch.arange(self.states, device=state.device)
        return (state[:, CURRENT, None] == every).to(state.dtype)

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return after[:, REWARD]

    def draw(self, axes: "Axes", state: Tensor, tasks: Tasks) -> None:
        from matplotlib.patches import Rectangle

        means = tasks["reward_means"][0].tolist()
        step, current, reward = state[0, :NOISE].tolist()
        axes.imshow(means, cmap="RdYlGn", vmin=-1.0, vmax=3.0, aspect="auto")
        box = (-0.5, current - 0.5), len(means[0]), 1.0
        axes.add_patch(Rectangle(*box, fill=False, color="tab:blue", linewidth=3))
        axes.set(xlabel="action", ylabel="state (coloured by mean reward)")
        axes.set_title(f"step {int(step)} of {self.horizon}, last reward {reward:.2f}")
