"""Point robots on the plane."""

import math
from typing import TYPE_CHECKING, ClassVar

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.simulation import TensorFamily
from metarl.tasks import Choice, Tasks, TaskStreams, Uniform, UniformDisc, register

if TYPE_CHECKING:  # matplotlib takes long to import, and pictures are rare
    from matplotlib.axes import Axes

ARRIVED = 0.01
"""2D navigation: distance along each axis within which the goal counts as reached."""
CORNERS = [(-2.0, -2.0), (2.0, -2.0), (-2.0, 2.0), (2.0, 2.0)]
NO_REWARD_RADIUS = 0.5
"""Corners: L1 distance from the origin below which no reward is given."""
GOAL_RADIUS = 0.2
"""Sparse points: distance from the goal within which reward is given."""
PEARL_TRAINING_GOALS = 80


def _pearl_angles() -> list[float]:
    """PEARL's 100 goals in its order: the first 80 for meta-training, the last 20 for meta-test."""
    angles = np.linspace(0.0, math.pi, 100)
    # The generator of its `np.random.seed(1337)`; shuffling goals or their angles is the same.
    np.random.RandomState(1337).shuffle(angles)
    return angles.tolist()


class PointRobot(TensorFamily):
    """A point on the plane that takes the action as its next move, clipped along each axis."""

    robot = "point"
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    max_step: ClassVar[float] = 0.1
    """Largest move along an axis in one time step."""
    view: ClassVar[float] = 1.25
    """Pictures show [-view, view]^2."""

    def goal(self, tasks: Tasks) -> Tensor:
        """Where the goals are, `[n, 2]`."""
        return tasks["goal"]

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        return torch.zeros_like(self.goal(tasks), dtype=torch.float64)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        return state + action.clamp(-self.max_step, self.max_step)

    def draw(self, axes: "Axes", state: Tensor, tasks: Tasks) -> None:
        goal, robot = self.goal(tasks)[0].tolist(), state[0].tolist()
        self.draw_reward_region(axes, goal)
        axes.plot(0.0, 0.0, "+", color="grey", label="start")
        axes.plot(*goal, "*", color="tab:green", markersize=14, label="goal")
        axes.plot(*robot, "o", color="tab:blue", label="robot")
        axes.set(xlim=(-self.view, self.view), ylim=(-self.view, self.view), aspect="equal")
        axes.legend(loc="lower right")

    def draw_reward_region(self, axes: "Axes", goal: list[float]) -> None:
        """Draw where the reward is another than elsewhere; nothing unless overridden."""


@register("PointNavigation-v0")
class PointNavigation(PointRobot):
    """Walk to a hidden goal in the unit square: the 2D navigation of the MAML paper.

    Observation: position (x, y), `[2]`. The goal is not in it.
    Action: the move (dx, dy), each clipped to [-0.1, 0.1].
    Reward: minus the Euclidean distance to the goal after the move. (The paper's text says
        *squared* distance; its code, and the numbers it reports, use the distance.)
    Termination: within 0.01 of the goal along both axes. Horizon 100.
    Start: the origin.
    Task parameters: `goal` ~ U[-0.5, 0.5]^2; out of distribution: uniform on the ring
        of radii 0.75 to 1 around the start, which lies outside that square.
    Source: Finn et al. 2017 (MAML), section 5.3; cbfinn/maml_rl,
        maml_examples/point_env_randgoal.py.
    """

    parameters = {"goal": Uniform(-0.5, 0.5, (2,))}
    ood_parameters = {"goal": UniformDisc(1.0, inner_radius=0.75)}
    horizon = 100
    action_space = gymnasium.spaces.Box(-0.1, 0.1, (2,), np.float32)

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return -(after - tasks["goal"]).norm(dim=1)

    def terminated(self, state: Tensor, tasks: Tasks) -> Tensor:
        return ((state - tasks["goal"]).abs() < ARRIVED).all(dim=1)


@register("PointCorner-v0")
class PointCorner(PointRobot):
    """Find out which of four corners is rewarded, and walk there.

    Observation: position (x, y), `[2]`. The goal is not in it.
    Action: the move (dx, dy), each clipped to [-0.2, 0.2].
    Reward: 0 where |x| + |y| < 0.5 after the move; else, where no other corner is nearer than the
        goal, the Euclidean distance to the goal before the move minus that after it; else 0.
    Termination: never. Horizon 100.
    Start: uniform on [-0.2, 0.2]^2.
    Task parameters: `goal` [2], one of the corners (-2, -2), (2, -2), (-2, 2), (2, 2) with equal
        probability. There are four tasks only, so every split holds all of them and there is no
        task out of distribution.
    Source: ProMP (Rothfuss et al. 2019), meta_policy_search/envs/point_envs/point_env_2d_corner.py,
        with its default `sparse` reward.
    """

    parameters = {"goal": Choice(CORNERS)}
    horizon = 100
    action_space = gymnasium.spaces.Box(-0.2, 0.2, (2,), np.float32)
    max_step = 0.2
    view = 3.0

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        return random.uniform(-0.2, 0.2, (2,))

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        goal = tasks["goal"]
        # The corner of a quadrant is the nearest one from everywhere in it.
        rewarded = (after * goal >= 0.0).all(dim=1) & (after.abs().sum(dim=1) >= NO_REWARD_RADIUS)
        progress = (before - goal).norm(dim=1) - (after - goal).norm(dim=1)
        return torch.where(rewarded, progress, 0.0)

    def draw_reward_region(self, axes: "Axes", goal: list[float]) -> None:
        for x, y in CORNERS:
            axes.plot(x, y, "*", color="lightgrey", markersize=14)
        edge, x, y = NO_REWARD_RADIUS, *(math.copysign(self.view, value) for value in goal)
        x_edge, y_edge = math.copysign(edge, x), math.copysign(edge, y)
        corners = [(x_edge, 0.0), (x, 0.0), (x, y), (0.0, y), (0.0, y_edge)]
        axes.fill(*zip(*corners, strict=True), color="tab:green", alpha=0.15)


class SparsePoint(PointRobot):
    """A point whose goal lies on the unit circle and gives reward in its neighbourhood only."""

    def goal(self, tasks: Tasks) -> Tensor:
        angle = tasks["angle"]
        return torch.stack([angle.cos(), angle.sin()], dim=1)

    def distance(self, state: Tensor, tasks: Tasks) -> Tensor:
        """Euclidean distance to the goal, `[n]`."""
        return (state - self.goal(tasks)).norm(dim=1)

    def draw_reward_region(self, axes: "Axes", goal: list[float]) -> None:
        from matplotlib.patches import Circle

        axes.add_patch(Circle((0.0, 0.0), 1.0, fill=False, color="lightgrey"))
        axes.add_patch(Circle((goal[0], goal[1]), GOAL_RADIUS, color="tab:green", alpha=0.2))


@register("SparsePointRobot-v0")
class SparsePointRobot(SparsePoint):
    """Walk to a hidden goal on a half circle; held-out tasks reward the goal's neighbourhood only.

    Observation: position (x, y), `[2]`. The goal is not in it.
    Action: the move (dx, dy), each clipped to [-0.1, 0.1].
    Reward, with d the Euclidean distance to the goal after the move: -d where sparse = 0;
        1 - d within d <= 0.2 and 0 elsewhere where sparse = 1.
    Termination: never. Horizon 20.
    Start: the origin.
    Task parameters: `angle` (rad) of the goal on the unit circle, and `sparse`, 0 in training, 1 in
        every other split, as PEARL trains on the dense reward and is tested on the sparse one.
        Of 100 angles evenly spaced on [0, pi], PEARL's 80 for training and, in the test split, its
        20 others; validation: angle ~ U[0, pi]; out of distribution: angle ~ U[pi, 2 pi], the other
        half circle.
    Source: PEARL (Rakelly et al. 2019), oyster rlkit/envs/point_robot.py (seed 1337) and
        configs/sparse-point-robot.json. PEARL's agent adapts at meta-test on the sparse reward, and
        multiplies rewards by 100 with discount 0.9, which are settings and no part of the task.
    """

    parameters = {
        "angle": Choice(_pearl_angles()[:PEARL_TRAINING_GOALS]),
        "sparse": Choice([0.0]),
    }
    validation_parameters = {"angle": Uniform(0.0, math.pi), "sparse": Choice([1.0])}
    test_parameters = {
        "angle": Choice(_pearl_angles()[PEARL_TRAINING_GOALS:]),
        "sparse": Choice([1.0]),
    }
    ood_parameters = {"angle": Uniform(math.pi, 2.0 * math.pi), "sparse": Choice([1.0])}
    horizon = 20
    action_space = gymnasium.spaces.Box(-0.1, 0.1, (2,), np.float32)

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        distance = self.distance(after, tasks)
        sparse = torch.where(distance <= GOAL_RADIUS, 1.0 - distance, 0.0)
        return torch.where(tasks["sparse"] > 0.0, sparse, -distance)


@register("SparsePointRobotVariBAD-v0")
class SparsePointRobotVariBAD(SparsePoint):
    """Search a half circle for the hidden goal, which is rewarded in its neighbourhood only.

    Observation: position (x, y), `[2]`. The goal is not in it.
    Action: the move in tenths, (10 dx, 10 dy), each clipped to [-1, 1].
    Reward, with d the Euclidean distance to the goal after the move: 1 - d where d <= 0.2, else 0.
    Termination: never. Horizon 100.
    Start: the origin.
    Task parameters: `angle` ~ U[0, 3.14159] (pi) rad, of the goal on the unit circle; out of
        distribution: U[pi, 2 pi], the other half circle.
    Source: VariBAD (Zintgraf et al. 2020), environments/navigation/point_robot.py, SparsePointEnv
        with its semi-circle of goals.
    """

    parameters = {"angle": Uniform(0.0, math.pi)}
    ood_parameters = {"angle": Uniform(math.pi, 2.0 * math.pi)}
    horizon = 100
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        return state + self.max_step * action.clamp(-1.0, 1.0)

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        distance = self.distance(after, tasks)
        return torch.where(distance <= GOAL_RADIUS, 1.0 - distance, 0.0)
