"""All built-in families; importing this module registers them."""

from metarl_envs import (
    ant,
    bandit,
    grid_world,
    half_cheetah,
    hopper,
    humanoid,
    lunar_lander,
    point,
    swimmer,
    tabular_mdp,
    walker2d,
)

__all__ = [
    "ant",
    "bandit",
    "grid_world",
    "half_cheetah",
    "hopper",
    "humanoid",
    "lunar_lander",
    "point",
    "swimmer",
    "tabular_mdp",
    "walker2d",
]
