"""Episodes: without replacement, disjoint halves, streams of their own, turned class by class."""

from collections import Counter

import numpy as np
import pytest
import torch

from metarl.errors import UserError
from metarl.fewshot.data.examples import Examples
from metarl.fewshot.sampler import EpisodeSampler, _without_replacement, require_enough
from metarl.tasks import stream

COUNTS = (4, 7, 5, 6, 9, 4)


def numbered(rotations: bool = False) -> Examples:
    """Images `[1, 2, 2]` that say which they are: class, number in the class, 0 and 255."""
    rows = [(label, row, 0, 255) for label, count in enumerate(COUNTS) for row in range(count)]
    images = torch.tensor(rows, dtype=torch.uint8).view(-1, 1, 2, 2)
    names = tuple(f"class {label}" for label in range(len(COUNTS)))
    return Examples(images, torch.tensor(COUNTS), names, (), rotations)


def generators(count: int, iteration: int = 0) -> list[np.random.Generator]:
    return [stream(3, "test episodes", iteration, index) for index in range(count)]


def as_read(inputs: torch.Tensor) -> torch.Tensor:
    return (inputs * 255).round().long()[..., 0, :, :].flatten(-2)


def test_examples_are_of_the_classes_that_are_told() -> None:
    episodes = EpisodeSampler(numbered(), 3, 1, 2).sample(generators(8))
    for images, targets in (
        (episodes.support_inputs, episodes.support_targets),
        (episodes.query_inputs, episodes.query_targets),
    ):
        assert torch.equal(as_read(images)[..., 0], episodes.classes.gather(1, targets))
    assert episodes.support_targets[0].tolist() == [0, 1, 2]
    assert episodes.query_targets[0].tolist() == [0, 0, 1, 1, 2, 2]


def test_no_example_twice_and_no_class_twice_in_an_episode() -> None:
    episodes = EpisodeSampler(numbered(), 4, 2, 2).sample(generators(50))
    for episode in range(50):
        images = torch.cat([episodes.support_inputs[episode], episodes.query_inputs[episode]])
        assert len({tuple(row) for row in as_read(images).tolist()}) == 16
        assert len(set(episodes.classes[episode].tolist())) == 4


def test_a_class_is_drawn_whole_where_all_its_examples_are_needed() -> None:
    episodes = EpisodeSampler(numbered(), 6, 1, 3).sample(generators(30))
    classes = episodes.classes.tolist()
    assert all(sorted(each) == list(range(6)) for each in classes)
    read = as_read(torch.cat([episodes.support_inputs, episodes.query_inputs], dim=1)).tolist()
    for images in read:
        assert sorted(row for label, row, *_ in images if label == 0) == [0, 1, 2, 3]


def test_draws_are_uniform() -> None:
    """Every (class, support example) has probability 1/6 x 1/count; 6 sigma of 6,000 draws."""
    _, rows, _ = EpisodeSampler(numbered(), 2, 1, 3).draw(generators(6000))
    probability = np.repeat(1 / 3 / np.array(COUNTS), COUNTS)  # two of six classes
    for place in range(4):
        counts = np.bincount(rows[:, :, place].ravel(), minlength=sum(COUNTS))
        spread = np.sqrt(6000 * probability * (1 - probability))
        assert (np.abs(counts - 6000 * probability) < 6 * spread).all()


def test_order_of_classes_is_uniform() -> None:
    classes, _, _ = EpisodeSampler(numbered(), 6, 1, 1).draw(generators(3000))
    for place in range(6):
        assert (np.abs(np.bincount(classes[:, place], minlength=6) - 500) < 6 * 20.4).all()


def test_an_episode_depends_on_its_own_stream_alone() -> None:
    sampler = EpisodeSampler(numbered(rotations=True), 3, 2, 2)
    together = sampler.sample(generators(5))
    for index in range(5):
        alone = sampler.sample([generators(5)[index]])
        assert torch.equal(alone.support_inputs[0], together.support_inputs[index])
        assert torch.equal(alone.query_inputs[0], together.query_inputs[index])
    other = sampler.sample(generators(5, iteration=1))
    assert not torch.equal(other.classes, together.classes)


def test_each_class_has_its_own_turn_support_and_queries_alike() -> None:
    sampler = EpisodeSampler(numbered(rotations=True), 4, 2, 2)
    episodes, (_, rows, turns) = sampler.sample(generators(40)), sampler.draw(generators(40))
    for episode, label, place in np.ndindex(40, 4, 4):
        upright = sampler.examples.inputs[rows[episode, label, place]]
        half = episodes.support_inputs if place < 2 else episodes.query_inputs
        drawn = (half[episode, 2 * label + place % 2] * 255).round().to(torch.uint8)
        assert torch.equal(drawn, upright.rot90(int(turns[episode, label]), (-2, -1)))
    assert max(len(set(each)) for each in turns.tolist()) == 4
    assert all(count > 20 for count in Counter(turns.ravel().tolist()).values())


def test_images_stay_upright_without_rotations() -> None:
    episodes = EpisodeSampler(numbered(), 6, 2, 2).sample(generators(20))
    assert (as_read(episodes.support_inputs)[..., 2:] == torch.tensor([0, 255])).all()


def test_tokens_stay_whole_numbers() -> None:
    tokens = Examples(torch.arange(24).view(8, 3), torch.tensor([4, 4]), ("a", "b"))
    episodes = EpisodeSampler(tokens, 2, 1, 1).sample(generators(2))
    assert episodes.support_inputs.dtype == torch.int64
    assert episodes.support_inputs.shape == (2, 2, 3)


def test_contents_tell_episodes_apart_whatever_the_batch() -> None:
    sampler = EpisodeSampler(numbered(rotations=True), 3, 1, 2)
    together = list(sampler.contents(generators(5)))
    assert together == [next(sampler.contents([each])) for each in generators(5)]
    assert len(set(together)) == 5
    others = [
        EpisodeSampler(numbered(rotations=True), 3, 2, 1),  # as many examples of each class
        EpisodeSampler(numbered(rotations=False), 3, 1, 2),  # never turned
        EpisodeSampler(numbered(rotations=True), 2, 1, 2),
    ]
    for other in others:
        assert not set(other.contents(generators(5))) & set(together)


def test_examples_of_all_come_with_their_classes() -> None:
    inputs, classes = EpisodeSampler(numbered(), 2, 1, 1).examples_of_all(generators(1)[0], 500)
    read = as_read(inputs)
    assert torch.equal(read[:, 0], classes)
    assert len({tuple(row) for row in read.tolist()}) == sum(COUNTS)


def test_floyds_algorithm_by_hand() -> None:
    """Three of five: 0.5 x 3 is 1; 0.3 x 4 is 1 again, so 3; 0.9 x 5 is 4. Then by the last three
    numbers: the second, the third, the first."""
    numbers = np.array([0.5, 0.3, 0.9, 0.8, 0.1, 0.2])
    assert _without_replacement(numbers, np.array(5)).tolist() == [3, 4, 1]


def test_first_episode_is_pinned() -> None:
    """Test episodes are the same on every machine, and from release to release."""
    classes, rows, turns = EpisodeSampler(numbered(rotations=True), 3, 1, 2).draw(generators(1))
    assert classes.tolist() == [[0, 2, 4]]
    assert rows.tolist() == [[[3, 0, 1], [13, 14, 11], [25, 24, 27]]]
    assert turns.tolist() == [[1, 3, 3]]


@pytest.mark.parametrize(
    ("ways", "shots", "queries", "message"),
    [
        (7, 1, 1, "6 classes are too few for 7-way episodes; lower episodes.ways"),
        (5, 2, 3, "class class 0 has 4 examples, too few for 2 shots and 3 queries"),
    ],
)
def test_what_there_is_not_enough_of(ways: int, shots: int, queries: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        EpisodeSampler(numbered(), ways, shots, queries)


def test_not_enough_names_the_split_and_the_settings() -> None:
    require_enough(numbered(), 6, 1, 3)
    wanted = "6 training classes are too few for 7-way episodes; lower episodes.training_ways"
    with pytest.raises(UserError, match=wanted):
        require_enough(numbered(), 7, 1, 1, "training", ("training_ways", "shots", "queries"))
    wanted = "lower episodes.training_queries or episodes.shots"
    keys = ("ways", "shots", "training_queries")
    with pytest.raises(UserError, match=wanted):
        require_enough(numbered(), 6, 1, 4, "training", keys)
