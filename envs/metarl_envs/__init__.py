"""The built-in task families, one module per robot or world; `metarl_envs.families` has them all."""
