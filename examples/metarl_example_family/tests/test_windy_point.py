"""The windy point: metarl's own checks, and a step by hand."""

import pytest
import torch

from metarl.conformance import check_family
from metarl.simulation import TensorFamily
from metarl.tasks import Tasks, TaskStreams, make


@pytest.fixture
def family() -> TensorFamily:
    made = make("WindyPoint-v0")
    assert isinstance(made, TensorFamily)
    return made


def test_metarls_checks_pass(family: TensorFamily) -> None:
    assert [str(result) for result in check_family(family) if not result.ok] == []


def test_a_step_against_the_wind(family: TensorFamily) -> None:
    tasks = Tasks({"wind": [[0.05, 0.0], [0.0, -0.05]]})
    random = TaskStreams.of(0, "test", 0, range(2), 1)
    before = torch.tensor([[0.2, 0.3], [0.2, 0.3]], dtype=torch.float64)
    # The first move is clipped to 0.1.
    action = torch.tensor([[0.5, 0.1], [0.1, -0.05]], dtype=torch.float64)
    after = family.transition(before, action, tasks, random)
    assert after.tolist() == [
        pytest.approx([0.2 + 0.1 + 0.05, 0.3 + 0.1]),
        pytest.approx([0.2 + 0.1, 0.3 - 0.05 - 0.05]),
    ]
    reward = family.reward(before, torch.tensor([[0.3, 0.4], [0.0, 0.1]]), action, tasks)
    assert reward.tolist() == pytest.approx([-0.5, -0.1])
