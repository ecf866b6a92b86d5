"""Published few-shot results, for tables that put ours beside them.

Only figures that were read in the paper or in several independent copies of its table are here.
What could not be confirmed (CNP, VERSA and 20-way Relation Networks on Omniglot) is left out
rather than printed as published. All of them are on splits of their authors' own. Reruns are other
code bases' results with the same method, printed beside the paper's because they tell how far it
can be reproduced.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAML_PAPER = "Finn et al. 2017, tables 1 and 2"
MATCHING_PAPER = "Vinyals et al. 2016, table 1"
PROTOTYPICAL_PAPER = "Snell et al. 2017, table 1"
REPTILE_PAPER = "Nichol et al. 2018, Omniglot table"
RELATION_PAPER = "Sung et al. 2018, table 1"
PADDLE = "PaddleFSL"
MAML_TF = "MAML-tf"
PIXELS = {"distance": "cosine", "rule": "neighbor"}
AS_MANY_QUERIES = "its test episodes have as many queries as shots"
KOCH = "another loss: whether two images are of one class, from the distance of each feature"
CONFIDENCE = {
    "primary": "read in the primary source, or in a reproduction that quotes it",
    "second hand": "read in copies of the paper's table",
    "rerun": "read where another code base reports its own run",
}


@dataclass(frozen=True, eq=False)
class Published:
    """One figure of one method."""

    data: str
    ways: int
    """1 for curves."""
    shots: int
    method: str
    values: Mapping[int | None, float]
    """By adaptation step; None: at the end of adaptation. Accuracies in [0, 1]."""
    source: str
    confidence: str
    """A key of `CONFIDENCE`."""
    half_width: float | None = None
    """Of the 95 % interval, where one is printed."""
    transductive: bool | None = None
    """Whether BatchNorm saw all queries of an episode, where the source says it."""
    model: str | None = None
    """`model.name` of our model that is like the published one; None: any."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of our method that make it the published one, e.g. {"first_order": True}."""
    note: str = ""


def _omniglot(
    method: str,
    percent: tuple[float | None, ...],
    source: str,
    confidence: str = "second hand",
    half_widths: tuple[float, ...] = (),
    model: str | None = "conv4",
    **other: Any,
) -> list[Published]:
    """Figures of 5-way 1-, 5-way 5-, 20-way 1- and 20-way 5-shot."""
    sizes = ((5, 1), (5, 5), (20, 1), (20, 5))
    return [
        Published(
            data="omniglot",
            ways=ways,
            shots=shots,
            method=method,
            values={None: round(value / 100, 6)},
            source=source,
            confidence=confidence,
            half_width=round(half_widths[index] / 100, 6) if half_widths else None,
            model=model,
            **other,
        )
        for index, ((ways, shots), value) in enumerate(zip(sizes, percent, strict=False))
        if value is not None
    ]


def _sinusoids(method: str, errors: tuple[float, float, float], **other: Any) -> list[Published]:
    """Errors of 5 points after 1, 5 and 10 steps."""
    values: dict[int | None, float] = dict(zip((1, 5, 10), errors, strict=True))
    origin: dict[str, Any] = {"source": MAML_PAPER, "confidence": "second hand"} | other
    return [Published("sinusoids", 1, 5, method, values, **origin)]


PUBLISHED: tuple[Published, ...] = (
    *_omniglot("siamese", (97.3, 98.4, 88.2, 97.0), MAML_PAPER, note=KOCH),
    *_omniglot(
        "matching",
        (98.1, 98.9, 93.8, 98.5),
        MATCHING_PAPER,
        "primary",
        settings={"distance": "cosine", "full_context": False},
    ),
    *_omniglot(
        "prototypical",
        (98.8, 99.7, 96.0, 98.9),
        PROTOTYPICAL_PAPER,
        "primary",
        settings={"distance": "euclidean"},
    ),
    *_omniglot(
        "maml",
        (98.7, 99.9, 95.8, 98.9),
        MAML_PAPER,
        "primary",
        (0.4, 0.1, 0.3, 0.2),
        transductive=True,
        settings={"first_order": False},
        note=AS_MANY_QUERIES,
    ),
    *_omniglot(
        "maml",
        (89.7, 97.5),
        MAML_PAPER,
        half_widths=(1.1, 0.6),
        model="mlp",
        transductive=True,
        settings={"first_order": False},
        note=AS_MANY_QUERIES,
    ),
    *_omniglot(
        "maml",
        (98.3, 99.2, 89.4, 97.9),
        REPTILE_PAPER,
        half_widths=(0.5, 0.2, 0.5, 0.1),
        transductive=True,
        settings={"first_order": True},
    ),
    *_omniglot("reptile", (95.39, 98.90, 88.14, 96.65), REPTILE_PAPER, transductive=False),
    *_omniglot("reptile", (97.68, 99.48, 89.43, 97.12), REPTILE_PAPER, transductive=True),
    *_omniglot(
        "relation",
        (99.6, 99.8),
        RELATION_PAPER,
        half_widths=(0.2, 0.1),
        note="its code normalises all queries together",
    ),
    *_omniglot("relation", (98.02, 99.25), PADDLE, "rerun"),
    *_omniglot(
        "fine_tuning", (86.0, 97.6, 72.9, 92.3), MATCHING_PAPER, note="softmax baseline, fine-tuned"
    ),
    *_omniglot("raw_inputs", (41.7, 63.2, 26.7, 42.6), MATCHING_PAPER, model=None, settings=PIXELS),
    *_sinusoids("maml", (0.67, 0.38, 0.35), settings={"first_order": False}),
    *_sinusoids(
        "maml",
        (0.66, 0.30, 0.27),
        source=MAML_TF,
        confidence="rerun",
        settings={"first_order": False},
    ),
    *_sinusoids("regression_pretraining", (2.41, 2.23, 2.19)),
    *_sinusoids("parameter_averaging", (4.19, 3.85, 3.69), settings={"regularization": "none"}),
    *_sinusoids("parameter_averaging", (7.18, 5.69, 5.60), settings={"regularization": "l2"}),
    *_sinusoids(
        "parameter_averaging", (2.91, 2.72, 2.71), settings={"regularization": "l2_to_mean"}
    ),
)
"""All that we know of, in the order of the tables."""


def find_published(
    data: str,
    ways: int,
    shots: int,
    method: str,
    settings: Mapping[str, Any],
    normalization: str | None,
    model: str | None,
) -> list[Published]:
    """The figures of a method of these settings and this model.

    A figure that was reached transductively stands only beside a transductive run, and the other
    way round, unless there is none of the right kind.

    Args:
        data: name of the data set.
        ways: classes of a test episode, 1 for curves.
        shots: support examples of each class.
        method: its name.
        settings: its settings.
        normalization: BatchNorm's mode; None where there is no BatchNorm.
        model: `model.name`.
    """
    found = [
        each
        for each in PUBLISHED
        if (each.data, each.ways, each.shots, each.method) == (data, ways, shots, method)
        and each.model in (None, model)
        and all(settings.get(name) == value for name, value in each.settings.items())
    ]
    transductive = None if normalization is None else normalization == "transductive"
    same = [each for each in found if each.transductive in (None, transductive)]
    return same or found
