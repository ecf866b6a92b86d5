"""metarl: a meta-reinforcement-learning benchmark suite."""

from importlib.metadata import PackageNotFoundError, version

from metarl import gymnasium_ids

try:
    __version__ = version("metarl")
except PackageNotFoundError:  # a source tree on PYTHONPATH
    __version__ = "0+uninstalled"

gymnasium_ids.add_listed()
