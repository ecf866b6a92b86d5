"""Policy actions to environment actions, by hand."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from metarl.sampling import ActionBoundary


def boundary(low: list[float], high: list[float], scaling) -> ActionBoundary:
    space = Box(np.array(low, np.float32), np.array(high, np.float32))
    return ActionBoundary(space, scaling)


# A box from -1 to 3: middle 1, half-width 2.
@pytest.mark.parametrize(
    ("scaling", "action", "expected"),
    [
        ("unit", 0.0, 1.0),
        ("unit", 0.5, 2.0),  # 1 + 2 * 0.5
        ("unit", -1.0, -1.0),
        ("unit", 1.5, 3.0),  # 1 + 2 * 1.5 = 4, clipped
        ("unit", -7.0, -1.0),
        ("ten", 0.0, 1.0),
        ("ten", 5.0, 2.0),  # 1 + 2 * 5 / 10
        ("ten", -10.0, -1.0),
        ("ten", 15.0, 3.0),
        ("none", 0.0, 0.0),
        ("none", 2.5, 2.5),
        ("none", -1.5, -1.0),
        ("none", 9.0, 3.0),
    ],
)
def test_scaling_and_clipping_of_an_asymmetric_box(scaling, action, expected):
    result = boundary([-1.0], [3.0], scaling)(torch.tensor([[action]]))
    torch.testing.assert_close(result, torch.tensor([[expected]]))


def test_every_dimension_has_its_own_range():
    # [0, 4]: 2 + 2 a; [-0.1, 0.1]: 0.1 a
    actions = torch.tensor([[0.5, 0.5], [-2.0, 2.0]])
    expected = torch.tensor([[3.0, 0.05], [0.0, 0.1]])
    torch.testing.assert_close(boundary([0.0, -0.1], [4.0, 0.1], "unit")(actions), expected)


def test_boundary_without_scaling_leaves_an_unbounded_box_alone():
    actions = torch.tensor([[-1e6, 1e6]])
    assert torch.equal(boundary([-np.inf] * 2, [np.inf] * 2, "none")(actions), actions)


def test_policy_s_own_actions_stay_as_they_were():
    actions = torch.tensor([[5.0]])
    boundary([-1.0], [1.0], "unit")(actions)
    assert actions.item() == 5.0


def test_discrete_actions_become_a_row_of_indices():
    actions = torch.tensor([[2], [0], [1]])
    assert ActionBoundary(Discrete(3), "unit")(actions).tolist() == [2, 0, 1]
