"""Losses and classifiers of the transfer baselines against hand arithmetic and scipy."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch

from metarl.config import from_mapping
from metarl.errors import UserError
from metarl.fewshot.data.frequencies import inverse_document_frequencies
from metarl.fewshot.experiment import FewShotExperiment
from metarl.fewshot.learner import Problem
from metarl.fewshot.methods.classifiers import logistic_regression, nearest_centroid
from metarl.fewshot.methods.distillation import decay, distillation_loss
from metarl.fewshot.methods.domain_adaptation import BANDWIDTHS, coral, mmd, reversed_gradient
from metarl.fewshot.methods.mutual_distance import mutual_distance, rows_of_parts
from metarl.fewshot.methods.parts import part_of_class
from metarl.fewshot.methods.tfidf import tfidf
from metarl.fewshot.methods.weighted_multi_task import (
    WeightedMultiTask,
    WeightedMultiTaskConfig,
    task_losses,
    uncertainty_weighted,
)
from metarl.fewshot.models.perceptron import Perceptron
from metarl.tasks import stream


def log_softmax(values: np.ndarray) -> np.ndarray:
    shifted = values - values.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize(("strength", "shots", "scale"), [(1.0, 1, 1.0), (10.0, 5, 3.0)])
def test_logistic_regression_is_scipys_minimum(strength, shots, scale):
    generator, ways, size = stream(0, "regression"), 3, 4
    support = generator.normal(0.0, scale, (2, ways * shots, size))
    queries = generator.normal(0.0, scale, (2, 6, size))
    targets = np.arange(ways).repeat(shots)

    def objective(flat: np.ndarray, inputs: np.ndarray) -> float:
        weights, biases = flat[: size * ways].reshape(size, ways), flat[size * ways :]
        log_probs = log_softmax(inputs @ weights + biases)
        own = log_probs[np.arange(len(targets)), targets]
        return -own.sum() + (weights**2).sum() / (2.0 * strength)

    found = logistic_regression(
        torch.from_numpy(support).float(),
        torch.from_numpy(targets).expand(2, -1),
        torch.from_numpy(queries).float(),
        ways,
        strength,
    )
    for episode in range(2):
        start = np.zeros((size + 1) * ways)
        best = scipy.optimize.minimize(objective, start, (support[episode],), tol=1e-10).x
        weights, biases = best[: size * ways].reshape(size, ways), best[size * ways :]
        expected = log_softmax(queries[episode] @ weights + biases)
        assert found[episode].numpy() == pytest.approx(expected, rel=2e-3, abs=2e-3)


def test_nearest_centroid_by_hand():
    support = torch.tensor([[[0.0], [2.0], [5.0]]])
    found = nearest_centroid(support, torch.tensor([[0, 0, 1]]), torch.tensor([[[3.0]]]), 2)
    total = math.exp(-4) + math.exp(-4)  # centroids 1 and 5
    assert found.exp().flatten().tolist() == pytest.approx([math.exp(-4) / total] * 2)


def test_distillation_loss_by_hand():
    # Teacher's softmax of (2 ln 3, 0) / 2 is (3/4, 1/4), the student's (1/2, 1/2).
    teacher, student = torch.tensor([[2 * math.log(3), 0.0]]), torch.zeros(1, 2)
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    found = distillation_loss(student, teacher, temperature=2.0)
    assert found.item() == pytest.approx(4.0 * divergence)
    assert distillation_loss(teacher, teacher + 1.0, 2.0).item() == pytest.approx(0.0, abs=1e-6)


def test_the_rate_falls_at_60_and_80_percent():
    assert [decay(d) for d in (0.0, 0.59, 0.6, 0.79, 0.8, 1.5)] == pytest.approx(
        [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    )


def test_coral_by_hand():
    # Variances 2 and 8 (of 0 2 and 0 4), no covariance in one, 4 in the other.
    one = torch.tensor([[0.0, 0.0], [2.0, 0.0]])  # covariance [[2, 0], [0, 0]]
    other = torch.tensor([[0.0, 0.0], [4.0, 2.0]])  # covariance [[8, 4], [4, 2]]
    assert coral(one, other).item() == pytest.approx((36 + 16 + 16 + 4) / 16)
    assert coral(one, one + 5.0).item() == pytest.approx(0.0, abs=1e-10)


def test_mmd_by_hand():
    # Squared distances 0 0 1 1: mean over the four pairs 1/2; k(x, y) = mean exp(-1 / (w / 2)).
    one, other = torch.tensor([[0.0]]), torch.tensor([[1.0]])
    across = sum(math.exp(-2.0 / width) for width in BANDWIDTHS) / len(BANDWIDTHS)
    assert mmd(one, other).item() == pytest.approx(2.0 - 2.0 * across)
    assert mmd(one, one).item() == pytest.approx(0.0)


def test_a_reversed_gradient_by_hand():
    values = torch.tensor([2.0, 5.0], requires_grad=True)
    found = reversed_gradient(values, 0.5)
    assert found.tolist() == [2.0, 5.0]
    (gradient,) = torch.autograd.grad((3.0 * found).sum(), values)
    assert gradient.tolist() == [-1.5, -1.5]


def test_losses_of_tasks_and_their_learned_weights_by_hand():
    each, parts = torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 2])
    losses, counts = task_losses(each, parts, 3)
    assert losses.tolist() == [2.0, 0.0, 5.0]
    assert counts.tolist() == [2.0, 0.0, 1.0]
    found = uncertainty_weighted(torch.tensor([2.0, 4.0]), torch.tensor([0.0, math.log(2)]))
    assert found.tolist() == pytest.approx([2.0, 2.0 + 0.5 * math.log(2)])


def test_a_task_of_one_class_has_no_weight_to_learn():
    """Its loss is always 0: s would fall for ever, and exp(-s) overflow."""
    common = (np.random.default_rng(0),)
    learner = WeightedMultiTask(problem((0, 0, 1, 2, 2)), WeightedMultiTaskConfig(), *common)
    loss = learner.loss(torch.randn(3, 5), torch.tensor([0, 2, 3]), torch.empty(0))
    (gradient,) = torch.autograd.grad(loss, learner.parameters["task_log_variances"])
    assert (gradient != 0.0).tolist() == [True, False, True]
    with pytest.raises(UserError, match="each of the 5 tasks has one class"):
        WeightedMultiTask(problem((0, 1, 2, 3, 4)), WeightedMultiTaskConfig(), *common)


def test_mutual_distance_counts_each_pair_once():
    stacked = {"a": torch.tensor([[0.0], [1.0], [3.0]]), "b": torch.tensor([2.0, 2.0, 4.0])}
    assert mutual_distance(stacked).item() == pytest.approx(1 + 9 + 4 + 0 + 4 + 4)


def test_rows_of_parts():
    rows, own = rows_of_parts(torch.tensor([1, 0, 1, 1]), 3)
    assert rows.tolist() == [[1, 1, 1], [0, 2, 3], [0, 1, 2]]
    assert own.tolist() == [[True, False, False], [True] * 3, [False] * 3]


def problem(groups: tuple[int, ...]) -> Problem:
    encoder = Perceptron(4, (2,), batch_norm=False)
    return Problem("classification", encoder, 2, 1, 1, 5, groups, "none")


def test_parts_keep_groups_whole():
    assert part_of_class(problem((0, 0, 1, 2, 2)), 2).tolist() == [0, 0, 1, 0, 0]
    assert part_of_class(problem((0, 0, 1, 2, 2)), None).tolist() == [0, 0, 1, 2, 2]
    assert part_of_class(problem(()), 2).tolist() == [0, 1, 0, 1, 0]


def test_parts_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="in no groups"):
        part_of_class(problem(()), None)
    with pytest.raises(UserError, match="3 groups cannot be dealt to 4 tasks"):
        part_of_class(problem((0, 0, 1, 2, 2)), 4)


def test_inverse_document_frequencies_by_hand():
    tokens = torch.tensor([[2, 3, 2, 0], [3, 0, 0, 0], [3, 5, 1, 0]])
    expected = [math.log(4 / (1 + df)) + 1 for df in (3, 1, 1, 3, 0, 1)]
    assert inverse_document_frequencies(tokens).tolist() == pytest.approx(expected)
    more = inverse_document_frequencies(tokens, 8).tolist()
    assert more == pytest.approx([*expected, math.log(4) + 1, math.log(4) + 1])


def test_tfidf_by_hand():
    idf = torch.tensor([1.0, 1.0, 3.0, 2.0])
    # Word 2 twice, word 3 once: 6 and 2; padding, unknown words do not count.
    found = tfidf(torch.tensor([[[2, 3, 2, 1, 0]]]), idf).flatten()
    length = math.hypot(6, 2)
    assert found.tolist() == pytest.approx([0.0, 0.0, 6 / length, 2 / length])
    found = tfidf(torch.tensor([[[2, 3, 2, 1, 0]]]), idf, sublinear=True).flatten()
    heavy = 3 * (1 + math.log(2))
    assert found[2].item() == pytest.approx(heavy / math.hypot(heavy, 2))


def test_words_of_no_training_text_weigh_most():
    found = tfidf(torch.tensor([[[2, 4]]]), torch.tensor([1.0, 1.0, 2.0])).flatten()
    assert found.tolist() == pytest.approx([0, 0, math.sqrt(0.5), 0, math.sqrt(0.5)])
    nothing = tfidf(torch.tensor([[[1, 0]]]), torch.tensor([1.0, 1.0, 2.0]))
    assert nothing.sum() == 0


def test_networks_that_share_everything_cannot_be_drawn_together(tmp_path) -> None:
    lines = [f"word{label} word{text},label {label}" for label in range(12) for text in range(4)]
    (tmp_path / "own.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    mapping = {
        "data": {"name": "csv", "root": str(tmp_path), "options": {"path": "own.csv"}},
        "episodes": {"ways": 2, "queries": 2},
        "model": {"name": "ngrams", "embedding": 4, "hidden_sizes": []},
        "algorithm": {"name": "mutual_distance", "tasks": 2},
    }
    with pytest.raises(UserError, match=r"give model\.hidden_sizes a layer"):
        FewShotExperiment.from_config(from_mapping(mapping, "test"))
