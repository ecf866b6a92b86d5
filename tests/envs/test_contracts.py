"""What holds for every built-in family: all of the conformance checks."""

import pytest

from metarl.conformance import check_family
from metarl.tasks import make, names
from metarl.tasks.registry import family_class

BUILT_IN = [name for name in names() if family_class(name).__module__.startswith("metarl_envs")]


def test_there_are_built_in_families():
    assert {"PointNavigation-v0", "HalfCheetahVel-v0"} <= set(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_family_passes_every_check(name):
    failures = [str(result) for result in check_family(make(name)) if not result.ok]
    assert not failures, "\n".join(failures)
