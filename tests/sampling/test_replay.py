"""Transitions of trajectories, and the ring of each task that keeps the newest."""

import numpy as np
import torch
from torch import Tensor

from metarl.sampling import Trajectories
from metarl.sampling.replay import Replay, Transitions, transitions


def three_episodes() -> Trajectories:
    """One task, T = 3: cut at the horizon; terminated after 2 steps; failed in the third step."""
    observations = torch.arange(1.0, 10.0).view(1, 3, 3, 1)
    mask = torch.tensor([[[True, True, True], [True, True, False], [True, True, False]]])
    return Trajectories(
        observations * mask.unsqueeze(-1),
        0.1 * observations * mask.unsqueeze(-1),
        -observations.squeeze(-1) * mask,
        mask,
        torch.tensor([[False, True, False]]),
        torch.tensor([[False, False, True]]),
    )


def test_transitions_know_their_next_observation_and_where_the_task_ended():
    (rows,) = transitions(three_episodes())
    # observation, action, reward, next observation, continues
    expected = [
        [1.0, 0.1, -1.0, 2.0, 1.0],
        [2.0, 0.2, -2.0, 3.0, 1.0],  # the step at 3 has no next observation
        [4.0, 0.4, -4.0, 5.0, 1.0],
        [5.0, 0.5, -5.0, 0.0, 0.0],  # terminated
        [7.0, 0.7, -7.0, 8.0, 1.0],  # the step at 8, before the failed one, has none either
    ]
    torch.testing.assert_close(rows, torch.tensor(expected))


def test_the_parts_of_a_row():
    row = Transitions(torch.arange(1.0, 10.0), observation_size=3, action_size=1)
    assert row.observations.tolist() == [1, 2, 3]
    assert row.actions.tolist() == [4]
    assert row.rewards.item() == 5
    assert row.evidence.tolist() == [1, 2, 3, 4, 5]
    assert row.next_observations.tolist() == [6, 7, 8]
    assert row.continues.item() == 9


def column(*values: float) -> Tensor:
    return torch.tensor(values).unsqueeze(-1)


def held(replay: Replay, task: int) -> list[float]:
    """What sampling reaches, each row once."""
    size = replay.size(task)
    every = (np.arange(size) + 0.5)[None] / size
    return sorted(replay.sample([task], every)[0, :, 0].tolist())


def test_the_ring_of_each_task_keeps_the_newest():
    replay = Replay(capacity=3, row_size=1)
    replay.add(7, column(1.0, 2.0))
    assert held(replay, 7) == [1, 2]
    replay.add(4, column(9.0))
    replay.add(7, column(3.0, 4.0))
    assert held(replay, 7) == [2, 3, 4]
    replay.add(7, column(5.0))
    assert held(replay, 7) == [3, 4, 5]
    replay.add(7, column(6.0, 7.0, 8.0, 9.0, 10.0))
    assert held(replay, 7) == [8, 9, 10]
    assert held(replay, 4) == [9]
    assert replay.tasks == [4, 7]


def test_a_cleared_task_is_not_there():
    replay = Replay(capacity=3, row_size=1)
    replay.add(0, column(1.0, 2.0))
    replay.add(1, column(3.0))
    replay.clear(0)
    assert replay.tasks == [1]
    assert replay.size(0) == 0
    replay.add(0, column(4.0))
    assert held(replay, 0) == [4]


def test_numbers_in_0_to_1_choose_the_rows():
    replay = Replay(capacity=5, row_size=1)
    replay.add(0, column(10.0, 11.0, 12.0, 13.0))
    replay.add(1, column(20.0, 21.0))
    uniform = np.array([[0.0, 0.49], [0.5, np.nextafter(1.0, 0.0)]])
    assert replay.sample([1, 0], uniform)[..., 0].tolist() == [[20, 20], [12, 13]]


def test_state_continues_in_the_middle_of_the_ring_and_is_a_copy():
    replay, resumed = Replay(capacity=3, row_size=1), Replay(capacity=3, row_size=1)
    replay.add(2, column(1.0, 2.0, 3.0, 4.0))
    replay.add(5, column(7.0))
    state = replay.state_dict()
    replay.add(2, column(5.0))
    assert state["2"]["rows"][:, 0].tolist() == [4, 2, 3]  # where they stand
    resumed.add(8, column(0.0))
    resumed.load_state_dict(state)
    resumed.add(2, column(5.0))
    assert resumed.tasks == replay.tasks
    assert held(resumed, 5) == [7]
    every = np.array([[0.0, 0.4, 0.7]])
    assert torch.equal(resumed.sample([2], every), replay.sample([2], every))
    assert state["2"]["rows"][:, 0].tolist() == [4, 2, 3]


def test_state_holds_no_more_than_what_is_there():
    replay = Replay(capacity=1000, row_size=2)
    replay.add(0, torch.ones(3, 2))
    assert replay.state_dict()["0"]["rows"].untyped_storage().nbytes() == 3 * 2 * 4
