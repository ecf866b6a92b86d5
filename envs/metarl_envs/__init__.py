"""The built-in task families, a module per robot or world; `metarl_envs.families` has all."""
