"""The lunar lander of Gymnasium's Box2D worlds: tasks that vary gravity and wind."""

from metarl.simulation import GymnasiumFamily
from metarl.tasks import Uniform, register


@register("LunarLanderRandParams-v0")
class LunarLanderRandParams(GymnasiumFamily):
    """Land between the flags under unknown gravity and wind.

    Observation `[8]`: position (x, y) relative to the pad and velocity (x, y) in the units of
        LunarLander-v3 (scaled by the window's size and 50 time steps a second), angle in rad,
        angular velocity times 0.4 s/rad, and whether the left and the right leg touch the ground,
        0 or 1. The task is not in it; but Gymnasium's reset takes a first time step by itself,
        without engines, so the first velocity includes 0.02 s of the task's gravity and wind.
    Action: one of 4 indices: nothing, left engine, main engine, right engine.
    Reward: the gain of -100 |position| - 100 |velocity| - 100 |angle| + 10 for each leg on the
        ground over the time step, minus 0.3 for the main engine, 0.03 for a side engine; instead
        of that, -100 for a crash or for leaving the window, +100 for coming to rest.
    Termination: the lander's body touches the ground, |x| >= 1, or it has come to rest.
    Horizon 500 (10 s): of the landings of Gymnasium's own heuristic pilot on training tasks, four
        in five end by then. Its registered limit, 1000, mostly adds hovering.
    Start: the top centre of the window, with a random push; the ground, and the phase of the wind,
        are drawn for each episode.
    Task parameters: `gravity` ~ U[-11.5, -4] m/s^2; `wind_power` ~ U[0, 20] and
        `turbulence_power` ~ U[0, 2], the greatest force and torque of the wind, on the ranges that
        Gymnasium recommends; out of distribution: weaker gravity, U[-4, -2] m/s^2.
    Source: Gymnasium's LunarLander-v3 (gymnasium/envs/box2d/lunar_lander.py), which admits gravity
        between -12 and 0. Needs Box2D: `pip install "metarl[box2d]"`.
    """

    robot = "lunar lander"
    env_id = "LunarLander-v3"
    env_options = {"enable_wind": True}
    parameters = {
        "gravity": Uniform(-11.5, -4.0),
        "wind_power": Uniform(0.0, 20.0),
        "turbulence_power": Uniform(0.0, 2.0),
    }
    ood_parameters = {"gravity": Uniform(-4.0, -2.0)}
    # In the first observation, by what the first time step did.
    visible_parameters = ("gravity", "wind_power", "turbulence_power")
    horizon = 500
    dt = 1.0 / 50.0  # s
