"""All built-in families; importing this module registers them."""

from metarl_envs import (
    acrobot,
    ant,
    bandit,
    cart_pole,
    grid_world,
    half_cheetah,
    hopper,
    humanoid,
    lunar_lander,
    mountain_car,
    pendulum,
    point,
    swimmer,
    tabular_mdp,
    walker2d,
)

__all__ = [
    "acrobot",
    "ant",
    "bandit",
    "cart_pole",
    "grid_world",
    "half_cheetah",
    "hopper",
    "humanoid",
    "lunar_lander",
    "mountain_car",
    "pendulum",
    "point",
    "swimmer",
    "tabular_mdp",
    "walker2d",
]
