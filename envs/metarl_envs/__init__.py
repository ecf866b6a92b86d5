"""The built-in task families; importing this package registers them."""

from metarl_envs import half_cheetah, point

__all__ = ["half_cheetah", "point"]
