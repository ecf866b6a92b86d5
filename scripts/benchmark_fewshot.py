"""What stacking saves in the few-shot module, and what drawing episodes costs.

  maml_over_task_loop              one MAML update, Omniglot 5-way 1-shot: 32 tasks, strided Conv-4
                                   with 64 channels, one inner step, second order, one query of each
                                   class as in the paper; against a plain loop over the tasks with
                                   torch.autograd.grad on the same network in torch's own operators
  maml_over_task_loop_15_queries   the same with 15 queries of each class
  episode_sampling_fraction        seconds of drawing 32 episodes of 20-way 5-shot with 15 queries,
                                   per second of the Prototypical Networks' update on them (pooled
                                   Conv-4, 64 channels)
  gpu                              the first two on a GPU, both sides there; "not measured" without

The loop may use threads inside torch's operators, where that makes it faster. Images are generated,
as many as Omniglot's: what they show costs nothing. A ratio is taken of two measurements next to
each other, in alternating order; the figure is the median over repetitions, and `ranges` holds the
smallest and the largest. Run it on a machine that does nothing else.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from benchmark_pairs import Pair, machine, operator_threads, positive, progress, repeat, spread
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from metarl.fewshot.config import EpisodesConfig, ModelConfig
from metarl.fewshot.data import DataSet, Examples
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import FewShotLearner, Problem
from metarl.fewshot.memory import keep_freed_memory
from metarl.fewshot.methods import METHODS
from metarl.fewshot.models import make_encoder
from metarl.fewshot.models.batch_norm import EPSILON
from metarl.fewshot.sampler import EpisodeSampler
from metarl.simulation.cpus import usable_cpus
from metarl.tasks import stream
from metarl.workers import Workers

SEED = 1
LOOP, LOOP_15, SAMPLING = (
    "maml_over_task_loop",
    "maml_over_task_loop_15_queries",
    "episode_sampling_fraction",
)
TARGETS = {LOOP: "≥ 1.5", LOOP_15: "≥ 1.5", SAMPLING: "≤ 0.02"}
GPU_TARGETS = {LOOP: "≥ 10", LOOP_15: "≥ 10"}


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    classes: int = 4112
    """Vinyals et al.'s 1,028 training characters in four positions."""
    channels: int = 64
    image_size: int = 28
    tasks: int = 32
    sampled: tuple[int, int, int] = (20, 5, 15)
    """Ways, shots and queries of the episodes that are drawn."""


QUICK = Scale(classes=30, channels=4, image_size=16, tasks=3, sampled=(4, 2, 2))


def generated_images(scale: Scale) -> Examples:
    """Twenty images of each class."""
    shape = (20 * scale.classes, 1, scale.image_size, scale.image_size)
    pixels = stream(SEED, "images").integers(0, 256, shape, dtype=np.uint8)
    names = tuple(f"class {number}" for number in range(scale.classes))
    return Examples(torch.from_numpy(pixels), torch.full((scale.classes,), 20), names)


@dataclass
class Drawn:
    """Always the same episodes, as the source of a training iteration."""

    fixed: Episodes

    def episodes(self) -> Episodes:
        return self.fixed

    def examples(self, count: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def all_examples(self) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def generators(self, name: str, count: int) -> Sequence[np.random.Generator]:
        return streams(name, count)


def streams(name: str, count: int) -> Sequence[np.random.Generator]:
    """Always the same random numbers."""
    return [stream(SEED, name, 0, index) for index in range(count)]


class Updates:
    """A method's updates on the same episodes."""

    def __init__(self, learner: FewShotLearner, episodes: Episodes):
        self.learner, self.source = learner, Drawn(episodes)

    def rate(self) -> float:
        """Updates per second."""
        with operator_threads(1):
            return 1.0 / seconds(lambda: self.learner.update(self.source), self.learner.device)


class TaskLoop:
    """MAML with a Python loop over tasks: per-task inner gradients through torch's operators."""

    def __init__(self, learner: Any, episodes: Episodes, threads: int = 1):
        self.episodes, self.threads, self.device = episodes, threads, learner.device
        self.inner_rate = learner.config.inner_learning_rate
        self.parameters = {
            name: as_torch_has_it(name, value).requires_grad_()
            for name, value in learner.parameters.items()
        }
        self.optimizer = torch.optim.Adam(self.parameters.values(), lr=1e-3)

    def rate(self) -> float:
        """Updates per second."""
        with operator_threads(self.threads):
            return 1.0 / seconds(self.update, self.device)

    def update(self) -> None:
        """The mean meta-gradient of all tasks, and a step of Adam."""
        gradients = self.gradients()
        for value, gradient in zip(self.parameters.values(), gradients, strict=True):
            value.grad = gradient
        self.optimizer.step()

    def gradients(self) -> list[Tensor]:
        """Of the mean query loss after one inner step, in the parameters' order."""
        values, tasks = list(self.parameters.values()), self.episodes
        totals = [torch.zeros_like(value) for value in values]
        count = len(tasks.support_targets)
        for task in range(count):
            logits = plain_network(self.parameters, tasks.support_inputs[task])
            loss = functional.cross_entropy(logits, tasks.support_targets[task])
            inner = torch.autograd.grad(loss, values, create_graph=True)
            pairs = zip(self.parameters.items(), inner, strict=True)
            adapted = {name: value - self.inner_rate * g for (name, value), g in pairs}
            logits = plain_network(adapted, tasks.query_inputs[task])
            loss = functional.cross_entropy(logits, tasks.query_targets[task])
            for total, gradient in zip(totals, torch.autograd.grad(loss, values), strict=True):
                total += gradient / count
        return totals


def as_torch_has_it(name: str, value: Tensor) -> Tensor:
    """A copy in torch's layout: `[out, in]`, and `[out, in, 3, 3]`."""
    value = value.detach()
    if name.startswith("conv") and value.dim() == 4:
        value = value.permute(3, 2, 0, 1)
    elif value.dim() == 2:
        value = value.T
    return value.clone(memory_format=torch.contiguous_format)


def plain_network(parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Strided Conv-4 and a linear layer on one task's images `[n, C, H, W]`: logits `[n, N]`."""
    hidden = images
    for block in range(4):
        name = f"conv{block}"
        weight, scale, shift = (parameters[f"{name}.{e}"] for e in ("weight", "scale", "shift"))
        hidden = functional.conv2d(hidden, weight, stride=2, padding=1)
        hidden = functional.batch_norm(
            hidden, None, None, scale, shift, training=True, eps=EPSILON
        ).relu()
    return functional.linear(
        hidden.mean(dim=(2, 3)), parameters["head.weight"], parameters["head.bias"]
    )


def seconds(work: Any, device: torch.device) -> float:
    """Of one call."""
    finish(device)
    started = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - started


def finish(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def make_learner(
    name: str, images: Examples, model: ModelConfig, size: EpisodesConfig, threads: int, device: str
) -> FewShotLearner:
    """The method with its default settings."""
    data = DataSet("generated images", "images", {"train": images}, "")
    encoder = make_encoder(model, data)
    shape = size.ways, size.shots, size.queries, len(images)
    problem = Problem("classification", encoder, *shape, (), model.normalization)
    method = METHODS[name]
    generator = stream(SEED, "initial parameters")
    return method.learner(problem, method.config(), generator, device, Workers(threads))


def maml_pair(key: str, queries: int, scale: Scale, threads: int, device: str = "cpu") -> Pair:
    """MAML's update on stacked parameters against the loop over tasks."""
    progress(f"setting up {key} on {device}")
    size = EpisodesConfig(ways=5, shots=1, queries=queries)
    images = generated_images(scale).to(device)
    sampler = EpisodeSampler(images, 5, 1, queries)
    episodes = sampler.sample(streams("episodes", scale.tasks))
    model = ModelConfig("conv4", scale.channels, "stride")
    learner = make_learner("maml", images, model, size, threads, device)
    ours = Updates(learner, episodes)
    loop = fastest_loop(TaskLoop(learner, episodes), threads)
    ours.rate()  # warm
    label = f"{scale.tasks} tasks in a loop, {loop.threads} threads in an operator"
    return Pair(key, label, ours.rate, loop.rate)


def fastest_loop(loop: TaskLoop, threads: int) -> TaskLoop:
    """With one thread in torch's operators, or with all: what is faster."""
    rates = {}
    for count in dict.fromkeys((1, threads)):
        loop.threads = count
        rates[count] = max(loop.rate(), loop.rate())
    loop.threads = max(rates, key=lambda count: rates[count])
    return loop


def sampling_pair(scale: Scale, threads: int) -> Pair:
    """Drawing episodes against the update on them."""
    progress(f"setting up {SAMPLING}")
    ways, shots, queries = scale.sampled
    images = generated_images(scale)
    sampler = EpisodeSampler(images, ways, shots, queries)

    def draw() -> Episodes:
        return sampler.sample(streams("episodes", scale.tasks))

    def draw_rate() -> float:
        with operator_threads(1):
            return 1.0 / seconds(draw, torch.device("cpu"))

    size = EpisodesConfig(ways=ways, shots=shots, queries=queries)
    model = ModelConfig("conv4", scale.channels, "pool")
    learner = make_learner("prototypical", images, model, size, threads, "cpu")
    label = "an update of Prototypical Networks"
    return Pair(SAMPLING, label, draw_rate, Updates(learner, draw()).rate, inverse=True)


def measure(options: argparse.Namespace, threads: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs on the CPU, and on a GPU where there is one."""
    scale = QUICK if options.quick else Scale()
    found: list[Pair] = []
    for make in (
        lambda: maml_pair(LOOP, 1, scale, threads),
        lambda: maml_pair(LOOP_15, 15, scale, threads),
        lambda: sampling_pair(scale, threads),
    ):
        pair = make()
        repeat([pair], options.repetitions)
        found.append(pair.done())
    on_gpu: list[Pair] = []
    if torch.cuda.is_available():
        for key, queries in ((LOOP, 1), (LOOP_15, 15)):
            pair = maml_pair(key, queries, scale, 1, "cuda")
            repeat([pair], options.repetitions)
            on_gpu.append(pair.done())
    progress("")
    return found, on_gpu


def figures(pairs: Sequence[Pair], on_gpu: Sequence[Pair]) -> dict[str, Any]:
    """Medians by figure, and the smallest and largest of each."""
    gpu = {pair.key: median(pair) for pair in on_gpu}
    medians = {pair.key: median(pair) for pair in pairs}
    ranges = {pair.key: [round(f(pair.ratios), 4) for f in (min, max)] for pair in pairs}
    return {**medians, "gpu": gpu or "not measured", "ranges": ranges}


def median(pair: Pair) -> float:
    """Of its ratios."""
    return round(statistics.median(pair.ratios), 4)


def show(pairs: Sequence[Pair], on_gpu: Sequence[Pair], threads: int, console: Console) -> None:
    """The table, and what it was measured on."""
    table = Table()
    for heading in ("figure", "compared with"):
        table.add_column(heading)
    for heading in ("ours, ms", "other, ms", "median (min .. max)", "target"):
        table.add_column(heading, justify="right")
    rows = [(pair, pair.key, TARGETS) for pair in pairs]
    rows += [(pair, f"{pair.key}, GPU", GPU_TARGETS) for pair in on_gpu]
    for pair, name, targets in rows:
        times = [f"{1e3 / statistics.median(r):,.1f}" for r in zip(*pair.rates, strict=True)]
        table.add_row(name, pair.label, *times, spread(pair.ratios), targets[pair.key])
    if not on_gpu:
        table.add_row(f"{LOOP}, GPU", "", "", "", "not measured", GPU_TARGETS[LOOP])
    console.print(table)
    console.print(machine(threads), highlight=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--repetitions", type=positive, default=5, metavar="N", help="of each pair (default: 5)"
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="of chunks of episodes, and at most of the loop's operators (default: the CPUs this "
        "process may use)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing"
    )
    return parser


def main() -> None:
    """Measure, then print a table or JSON."""
    options = _parser().parse_args()
    threads = options.threads or usable_cpus()
    keep_freed_memory()  # as training does; it serves both sides
    pairs, on_gpu = measure(options, threads)
    if options.json:
        print(json.dumps(figures(pairs, on_gpu)))
    else:
        show(pairs, on_gpu, threads, Console(width=None if sys.stdout.isatty() else 150))


if __name__ == "__main__":
    main()
