"""A grid of cells with a hidden goal."""

import itertools
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.simulation import TensorFamily
from metarl.tasks import Choice, Tasks, TaskStreams, register

if TYPE_CHECKING:  # matplotlib takes long to import, and pictures are rare
    from matplotlib.axes import Axes

SIZE = 5
NEAR_START = [(0, 1), (1, 0), (1, 1)]
"""Cells beside the start, where no training goal lies."""
GOALS = [
    cell for cell in itertools.product(range(SIZE), repeat=2) if cell not in [(0, 0), *NEAR_START]
]
# Stay, up, right, down, left.
MOVES = torch.tensor([(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)], dtype=torch.float64)


@register("GridWorld-v0")
class GridWorld(TensorFamily):
    """Search a 5 x 5 grid for the hidden goal cell, and stay there.

    Observation: the cell (x, y), `[2]`, each 0 to 4. The goal is not in it.
    Action: 0 stay, 1 up (y + 1), 2 right (x + 1), 3 down (y - 1), 4 left (x - 1); a move off the
        grid stays.
    Reward: 1 on the goal after the move, else -0.1.
    Termination: never. Horizon 15.
    Start: the cell (0, 0).
    Task parameters: `goal` [2], one of the 21 cells other than (0, 0), (0, 1), (1, 0), (1, 1) with
        equal probability, so validation and test hold all of them; out of distribution: the three
        cells beside the start, (0, 1), (1, 0), (1, 1).
    Source: VariBAD (Zintgraf et al. 2020), section 5.1; environments/navigation/gridworld.py.
    """

    robot = "grid world"
    parameters = {"goal": Choice(GOALS)}
    ood_parameters = {"goal": Choice(NEAR_START)}
    horizon = 15
    observation_space = gymnasium.spaces.Box(0.0, SIZE - 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(len(MOVES))

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        return torch.zeros_like(tasks["goal"], dtype=torch.float64)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        return (state + MOVES.to(state.device)[action]).clamp(0.0, SIZE - 1.0)

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        on_goal = (after == tasks["goal"]).all(dim=1)
        return after.new_full((len(after),), -0.1).masked_fill(on_goal, 1.0)

    def draw(self, axes: "Axes", state: Tensor, tasks: Tasks) -> None:
        from matplotlib.patches import Rectangle

        (x, y), robot = tasks["goal"][0].tolist(), state[0].tolist()
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1.0, 1.0, color="tab:green", alpha=0.4))
        axes.plot(0.0, 0.0, "+", color="grey")
        axes.plot(*robot, "o", color="tab:blue", markersize=14)
        axes.set(xlim=(-0.5, SIZE - 0.5), ylim=(-0.5, SIZE - 0.5), aspect="equal")
        axes.set_xticks([cell + 0.5 for cell in range(SIZE)], labels=[])
        axes.set_yticks([cell + 0.5 for cell in range(SIZE)], labels=[])
        axes.grid()
