"""All built-in families; importing this module registers them."""

from metarl_envs import half_cheetah, point

__all__ = ["half_cheetah", "point"]
