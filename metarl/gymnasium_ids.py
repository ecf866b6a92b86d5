"""The families under Gymnasium's names: `gymnasium.make("metarl/HalfCheetahVel-v0")`.

`@register` adds a family here when its module is imported. Gymnasium itself loads no plugins, and
importing families takes seconds, so a package also lists its names, as a tuple, in the entry-point
group `metarl.gymnasium_ids`: `import metarl` (or the id `metarl:metarl/HalfCheetahVel-v0`) makes
them known, and nothing is imported before one of them is made.
"""

import importlib.metadata
import warnings

import gymnasium

ENTRY_POINT_GROUP = "metarl.gymnasium_ids"


def gymnasium_id(name: str) -> str:
    """Gymnasium's id of a family: `metarl/HalfCheetahVel-v0`."""
    return f"metarl/{name}"


def add(name: str) -> None:
    """Register a family with Gymnasium, unless it is there already."""
    if gymnasium_id(name) in gymnasium.registry:
        return
    gymnasium.register(
        id=gymnasium_id(name),
        # Strings: these modules import torch.
        entry_point="metarl.simulation.single_env:SingleTaskEnv",
        vector_entry_point="metarl.simulation.autoreset:make_vector_env",
        kwargs={"family": name},
    )


def add_listed() -> None:
    """Register the families that installed packages list by name."""
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            for name in entry_point.load():
                add(name)
        except Exception as error:
            # One broken plugin must not take the others down.
            warnings.warn(
                f"the Gymnasium ids of plugin {entry_point.name!r} are not known: {error!r}",
                stacklevel=3,
            )
