"""What holds for every metric-based method and every transfer baseline."""

import dataclasses
import io
from typing import Any

import pytest
import torch
from torch import Tensor

from metarl.errors import UserError
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.evaluate import evaluate
from metarl.fewshot.experiment import FewShotExperiment
from metarl.fewshot.methods import metric
from metarl.fewshot.methods.mutual_distance import MutualDistance
from metarl.fewshot.methods.prototypical import Prototypical
from metarl.tasks import stream
from tests.fewshot.methods.patterns import experiment

TEXTS: dict[str, Any] = {"data": {"name": "phrases"}, "model": {"name": "ngrams"}}
METRIC: dict[str, dict[str, Any]] = {
    "prototypical": {"learning_rate": 0.01},
    "matching": {"learning_rate": 0.01, "scale": 10.0},
    "matching full context": {"learning_rate": 0.01, "full_context": True},
    "relation": {"learning_rate": 0.01, "channels": 16},
    "siamese": {"learning_rate": 0.01},
}
SLOW = {"learning_rate": 0.01, "batch_size": 60}
TRANSFER: dict[str, dict[str, Any]] = {
    "nearest_centroid": SLOW,
    "logistic_regression": SLOW,
    "fine_tuning": SLOW,
    "domain_adaptation": SLOW,
    "domain_adaptation adversarial": {**SLOW, "alignment": "adversarial"},
    "mutual_distance": {**SLOW, "tasks": 3},
    "weighted_multi_task": SLOW,
    "distillation": {"batch_size": 60, "generation_iterations": 3},
    "pretrained_prototypical": {"pretraining_iterations": 3, "pretraining": SLOW},
    "pretrained_maml": {"pretraining_iterations": 3, "pretraining": SLOW},
}
LEARNED = {**METRIC, **TRANSFER}
UNTRAINED: dict[str, dict[str, Any]] = {
    "raw_inputs": {},
    "raw_inputs centroid": {"rule": "centroid", "distance": "euclidean"},
    "tfidf_centroid": {},
    "tfidf_logistic_regression": {},
}
ALL = {**LEARNED, **UNTRAINED}
EQUIVARIANT = [name for name in ALL if name != "pretrained_maml"]
ORDERLESS = [name for name in ALL if name != "matching full context"]


def made(
    patch: pytest.MonkeyPatch, name: str, normalization: str = "running", **settings: Any
) -> FewShotExperiment:
    algorithm = {"name": name.split()[0], **ALL[name], **settings}
    if algorithm["name"] == "pretrained_prototypical":
        algorithm["meta_training"] = {"learning_rate": 0.01}
    sections = TEXTS if name.startswith("tfidf") else {}
    return experiment(patch, algorithm, normalization, **sections)


def trained(made: FewShotExperiment, iterations: int = 4) -> FewShotExperiment:
    for iteration in range(1, iterations + 1):
        made.iterate(iteration)
    return made


def some_episodes(made: FewShotExperiment) -> Episodes:
    return made.test_drawer("test").sample([stream(5, "episodes", 0, k) for k in range(3)])


def last(made: FewShotExperiment, episodes: Episodes) -> Tensor:
    *_, prediction = made.learner.predict(episodes, 2)
    assert prediction.log_probs is not None
    return prediction.log_probs


def saved(made: FewShotExperiment) -> Any:
    buffer = io.BytesIO()
    torch.save(made.state_dict(), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def flat(state: Any) -> list[Any]:
    if isinstance(state, dict):
        return [item for key in state for item in (key, *flat(state[key]))]
    if isinstance(state, list):
        return [item for each in state for item in flat(each)]
    return [state.tolist() if isinstance(state, Tensor) else state]


@pytest.mark.parametrize("name", ALL)
def test_a_resumed_run_gives_the_same_bits(monkeypatch, name):
    whole = made(monkeypatch, name)
    expected = [whole.iterate(iteration) for iteration in range(1, 6)]
    first = trained(made(monkeypatch, name), 2)
    resumed = made(monkeypatch, name)
    resumed.load_state_dict(saved(first))
    found = [resumed.iterate(iteration) for iteration in range(3, 6)]
    for metrics, wanted in zip(found, expected[2:], strict=True):
        assert metrics.keys() == wanted.keys()
        assert {k: v for k, v in metrics.items() if "time" not in k} == {
            k: v for k, v in wanted.items() if "time" not in k
        }
    assert flat(saved(resumed)) == flat(saved(whole))
    if name in LEARNED:
        assert flat(saved(resumed)) != flat(saved(first))


@pytest.mark.parametrize("name", ALL)
def test_prediction_reads_no_query_target_and_changes_nothing(monkeypatch, name):
    run = trained(made(monkeypatch, name))
    episodes, before = some_episodes(run), flat(saved(run))
    blind = dataclasses.replace(episodes, query_targets=torch.zeros_like(episodes.query_targets))
    assert torch.equal(last(run, episodes), last(run, blind))
    assert flat(saved(run)) == before


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("normalization", ["support", "running", "none"])
@pytest.mark.parametrize("iterations", [0, 4])
def test_queries_do_not_see_each_other(monkeypatch, name, normalization, iterations):
    if name.startswith("tfidf") and iterations == 0:
        pytest.skip("knows no word yet")
    run = trained(made(monkeypatch, name, normalization), iterations)
    episodes = some_episodes(run)
    assert torch.allclose(
        last(run, episodes)[:, :5], last(run, others_changed(episodes))[:, :5], atol=1e-4
    )


@pytest.mark.parametrize("name", ["prototypical", "relation", "fine_tuning"])
def test_transductive_queries_do_see_each_other(monkeypatch, name):
    run = trained(made(monkeypatch, name, "transductive"))
    episodes = some_episodes(run)
    changed = last(run, others_changed(episodes))[:, :5]
    assert not torch.allclose(last(run, episodes)[:, :5], changed, atol=1e-3)


def others_changed(episodes: Episodes) -> Episodes:
    queries = episodes.query_inputs.clone()
    queries[:, 5:] = queries[:, 5:].flip(1)
    queries[:, 10:15] = queries[:, 15:20]
    return dataclasses.replace(episodes, query_inputs=queries)


@pytest.mark.parametrize("name", EQUIVARIANT)
def test_classes_by_other_numbers_are_predicted_by_those(monkeypatch, name):
    run = trained(made(monkeypatch, name))
    episodes = some_episodes(run)
    order = torch.tensor([2, 0, 4, 1, 3])
    renamed = dataclasses.replace(episodes, support_targets=order[episodes.support_targets])
    assert torch.allclose(last(run, episodes), last(run, renamed)[..., order], atol=1e-4)


@pytest.mark.parametrize("name", ORDERLESS)
def test_the_order_of_the_support_set_does_not_matter(monkeypatch, name):
    run = trained(made(monkeypatch, name))
    episodes, order = some_episodes(run), torch.tensor([3, 1, 4, 0, 2])
    shuffled = dataclasses.replace(
        episodes,
        support_inputs=episodes.support_inputs[:, order],
        support_targets=episodes.support_targets[:, order],
    )
    assert torch.allclose(last(run, episodes), last(run, shuffled), atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_an_episode_is_predicted_as_it_would_be_alone(monkeypatch, name):
    run = trained(made(monkeypatch, name, "transductive"))
    episodes = some_episodes(run)
    alone = last(run, episodes[1:2])
    assert torch.allclose(last(run, episodes)[1:2], alone, atol=1e-4)


@pytest.mark.parametrize("name", ["prototypical", "relation", "fine_tuning"])
def test_results_do_not_depend_on_threads(monkeypatch, name):
    monkeypatch.setattr(metric, "EXAMPLES_PER_CHUNK", 1)  # every episode a chunk of its own
    one = trained(made(monkeypatch, name))
    two = trained(experiment(monkeypatch, {"name": name, **ALL[name]}, run={"threads": 2}))
    assert flat(saved(one)) == flat(saved(two))
    episodes = some_episodes(one)
    assert len(metric.episode_chunks(episodes, one.device)) == len(episodes.query_targets) > 1
    assert torch.equal(last(one, episodes), last(two, episodes))


def accuracy(run: FewShotExperiment) -> float:
    return float(evaluate(run, "test", 100).scores[:, -1].mean())


def test_what_needs_no_training_reaches(monkeypatch):
    reached = {name: accuracy(trained(made(monkeypatch, name), 1)) for name in UNTRAINED}
    assert reached["tfidf_centroid"] > 0.6
    assert reached["tfidf_logistic_regression"] > 0.6
    assert 0.25 < reached["raw_inputs"] < 0.55


@pytest.mark.parametrize(
    ("name", "iterations", "bound"),
    [
        ("prototypical", 150, 0.75),
        ("matching", 150, 0.75),
        ("matching full context", 150, 0.6),
        ("relation", 200, 0.6),
        ("siamese", 150, 0.75),
        ("nearest_centroid", 150, 0.7),
        ("logistic_regression", 150, 0.7),
        ("fine_tuning", 150, 0.7),
        ("domain_adaptation", 150, 0.7),
        ("mutual_distance", 150, 0.6),
        ("weighted_multi_task", 150, 0.6),
        ("distillation", 200, 0.7),
        ("pretrained_prototypical", 100, 0.7),
        ("pretrained_maml", 150, 0.6),
    ],
)
def test_it_learns_what_matters_in_an_image(monkeypatch, name, iterations, bound):
    settings: dict[str, Any] = {
        "distillation": {"generation_iterations": 100},
        "pretrained_prototypical": {"pretraining_iterations": 50},
        "pretrained_maml": {"pretraining_iterations": 75, "meta_training": {"learning_rate": 0.01}},
    }.get(name, {})
    # MAML's adapted networks do not go with running averages.
    mode = "support" if name == "pretrained_maml" else "running"
    assert accuracy(trained(made(monkeypatch, name, mode, **settings), iterations)) > bound


def test_matching_by_distance_and_other_alignments_learn_too(monkeypatch):
    assert accuracy(trained(made(monkeypatch, "matching", distance="euclidean"), 100)) > 0.7
    for alignment in ("mmd", "adversarial"):
        run = made(monkeypatch, "domain_adaptation", alignment=alignment)
        assert accuracy(trained(run, 100)) > 0.6


def test_the_student_starts_anew_under_the_last_teacher(monkeypatch):
    run = trained(made(monkeypatch, "distillation"), 3)
    teacher = {name: value.detach().clone() for name, value in run.learner.parameters.items()}
    run.iterate(4)
    for name, value in run.learner.teacher.items():  # type: ignore[attr-defined]
        assert torch.equal(value, teacher[name])
    weight = run.learner.parameters["dense0.weight"]
    assert (weight - teacher["dense0.weight"]).abs().max() > 0.1


def test_nothing_of_the_teachers_running_averages_is_left_to_the_student(monkeypatch):
    learner: Any = trained(made(monkeypatch, "distillation"), 3)
    averages = learner.learner.running
    averages.values = tuple((mean + 1e6, variance) for mean, variance in averages.values)
    learner.iterate(4)
    for mean, _ in learner.learner.running.values:
        assert mean.abs().max() < 100.0


def test_the_encoder_climbs_what_the_classifier_of_groups_descends(monkeypatch):
    learner: Any = made(monkeypatch, "domain_adaptation adversarial", alignment_weight=2.0).learner
    normal = stream(0, "features").normal(size=(6, 16))
    features = torch.from_numpy(normal).float().requires_grad_()
    classes = torch.tensor([0, 1, 2, 3, 4, 5])  # of groups 0 1 2 0 1 2
    weight = learner.parameters["groups.weight"]
    assert weight.shape == (16, 3)
    loss = learner.penalty(features, classes, None)
    plain = torch.nn.functional.cross_entropy(features @ weight, classes % 3)
    assert loss.item() == pytest.approx(plain.item())
    found = torch.autograd.grad(loss, [features, weight])
    expected = torch.autograd.grad(plain, [features, weight])
    assert torch.allclose(found[0], -2.0 * expected[0])
    assert torch.allclose(found[1], expected[1])


def test_meta_training_starts_from_the_pretrained_encoder(monkeypatch):
    run = trained(made(monkeypatch, "pretrained_prototypical"), 3)
    learner: Any = run.learner
    assert isinstance(learner.learner, Prototypical)
    for name, value in learner.parameters.items():
        assert torch.equal(value, learner.classifier.parameters[name])
    assert flat(learner.learner.running["encoder"].state_dict()) == flat(
        learner.classifier.running.state_dict()
    )


def test_fine_tuning_knows_nothing_at_first(monkeypatch):
    run = trained(made(monkeypatch, "fine_tuning"))
    first = next(iter(run.learner.predict(some_episodes(run), 0))).log_probs
    assert first is not None
    assert torch.allclose(first.exp(), torch.tensor(0.2))


@pytest.mark.parametrize("normalization", ["running", "support", "transductive"])
def test_fine_tuning_of_the_head_is_adam_on_frozen_features(monkeypatch, normalization):
    settings = {"layers": "head", "adaptation_rate": 0.05}
    run = trained(made(monkeypatch, "fine_tuning", normalization, **settings))
    episodes, learner = some_episodes(run), run.learner
    encoder, averages = run.problem.encoder, learner.running.values  # type: ignore[attr-defined]
    given = averages if normalization == "running" else None
    with torch.no_grad():
        support, own = encoder(learner.parameters, episodes.support_inputs, given)
        given = own if normalization == "support" else given
        queries, _ = encoder(learner.parameters, episodes.query_inputs, given)
    found = last(run, episodes)
    for episode in range(3):
        weight = torch.zeros(16, 5, requires_grad=True)
        bias = torch.zeros(5, requires_grad=True)
        optimizer = torch.optim.Adam([weight, bias], lr=0.05)
        for _ in range(2):
            logits = support[episode] @ weight + bias
            loss = torch.nn.functional.cross_entropy(logits, episodes.support_targets[episode])
            weight.grad, bias.grad = torch.autograd.grad(loss, [weight, bias])
            optimizer.step()
        expected = (queries[episode] @ weight + bias).log_softmax(dim=-1)
        assert torch.allclose(found[episode], expected, atol=1e-4)


def test_fine_tuning_has_a_rate_of_the_encoder(monkeypatch):
    def predicted(**settings: Any) -> Tensor:
        run = trained(made(monkeypatch, "fine_tuning", **settings))
        *_, prediction = run.learner.predict(some_episodes(run), 5)
        assert prediction.log_probs is not None
        return prediction.log_probs

    head = predicted(layers="head")
    assert torch.allclose(predicted(encoder_rate=1e-9), head, atol=1e-5)
    assert not torch.allclose(predicted(encoder_rate=0.1), head, atol=1e-2)


def test_a_new_task_pays_for_its_distance_from_every_training_task(monkeypatch):
    learner = trained(made(monkeypatch, "mutual_distance", distance_penalty=0.5)).learner
    assert isinstance(learner, MutualDistance)
    start = learner.start(some_episodes(made(monkeypatch, "mutual_distance")))
    name = "dense0.weight"
    moved = {**start, name: (start[name] + 0.3).requires_grad_()}
    (found,) = torch.autograd.grad(torch.as_tensor(learner.pull(moved)), moved[name])
    tasks = learner.parameters[name].detach()
    pairs = 0.5 * (moved[name].unsqueeze(1) - tasks.unsqueeze(0)).square().sum()
    (expected,) = torch.autograd.grad(pairs, moved[name])
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_large_penalty_keeps_networks_together(monkeypatch):
    far, near = (
        trained(made(monkeypatch, "mutual_distance", distance_penalty=weight), 30)
        for weight in (0.0, 1.0)
    )
    weights = [run.learner.parameters["dense0.weight"].detach() for run in (far, near)]
    spread = [float(weight.std(dim=0).mean()) for weight in weights]
    assert spread[1] < 0.3 * spread[0]


def test_groups_that_are_missing_are_asked_for(monkeypatch):
    data = {"name": "patterns", "options": {"groups": False}}
    with pytest.raises(UserError, match="fewer than two"):
        experiment(monkeypatch, {"name": "domain_adaptation"}, data=data)
    with pytest.raises(UserError, match="give a number of tasks"):
        experiment(monkeypatch, {"name": "weighted_multi_task"}, data=data)
    given = {"name": "weighted_multi_task", "weights": [1.0, 2.0]}
    with pytest.raises(UserError, match="2 weights for 3 tasks"):
        experiment(monkeypatch, {**given, "weighting": "given"})
    with pytest.raises(UserError, match="weights are read only with weighting: given"):
        experiment(monkeypatch, given)


def test_texts_and_images_that_do_not_fit_are_refused(monkeypatch):
    images = experiment(monkeypatch, {"name": "tfidf_centroid"})
    with pytest.raises(UserError, match="counts words"):
        images.iterate(1)
    texts = experiment(monkeypatch, {"name": "raw_inputs"}, **TEXTS)
    with pytest.raises(UserError, match="take tfidf"):
        texts.iterate(1)
    texts = experiment(monkeypatch, {"name": "tfidf_centroid"}, **TEXTS)
    with pytest.raises(UserError, match="train one iteration"):
        accuracy(texts)
