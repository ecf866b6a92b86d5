"""Texts of classes: words, a vocabulary of the training texts, token numbers."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metarl.errors import UserError
from metarl.fewshot.data.class_splits import ClassSplit
from metarl.fewshot.data.examples import DataSet, Examples
from metarl.validation import require_at_least

PADDING, UNKNOWN = "<padding>", "<unknown>"
"""Token numbers 0 and 1."""

# A word keeps its apostrophe: "don't" is one word. Everything else that is no space stands alone.
_TOKEN = re.compile(r"\w+(?:'\w+)*|[^\w\s]")


@dataclass(frozen=True)
class TextOptions:
    """How texts are made into token numbers."""

    max_length: int = 64
    """Words and punctuation marks of a text that are read; the rest is cut off."""
    min_count: int = 2
    """How often the training texts must have a word for it to have a number of its own; with 2,
    rare words train what stands for unknown ones."""
    vocabulary: Literal["training", "all"] = "training"
    """Whose words have numbers: those of the training texts, or of all texts, for methods that
    compare words without learning them (TF-IDF), where a new word is worth most."""

    def __post_init__(self) -> None:
        require_at_least(1, self, "max_length", "min_count")


@dataclass(frozen=True)
class TextClasses:
    """All texts of a data set, by class."""

    name: str
    texts: Mapping[str, Sequence[str]]
    """Of each class."""
    split: ClassSplit
    groups: Mapping[str, str]
    """Domain of each class; empty where there are none."""
    origin: str
    """What the texts are and how the classes were split, for the protocol."""


def text_data(classes: TextClasses, options: TextOptions) -> DataSet:
    """The data set; unless `options.vocabulary` says otherwise, the vocabulary is of the training
    classes' texts alone."""
    texts = {
        split: tuple(" ".join(text.split()) for name in names for text in classes.texts[name])
        for split, names in classes.split.items()
    }
    tokens = {split: [tokenize(text) for text in each] for split, each in texts.items()}
    known = list(tokens) if options.vocabulary == "all" else ["train"]
    read = [text for split in known for text in tokens[split]]
    vocabulary = vocabulary_of(read, options.min_count)
    if len(vocabulary) == 2:
        raise UserError(
            f"{classes.name}: no word is {options.min_count} times in the {options.vocabulary} "
            "texts; lower data.options.min_count"
        )
    numbers = {token: number for number, token in enumerate(vocabulary)}
    splits = {
        split: Examples(
            token_numbers(tokens[split], numbers, options.max_length),
            torch.tensor([len(classes.texts[name]) for name in names]),
            tuple(names),
            tuple(classes.groups[name] for name in names) if classes.groups else (),
        )
        for split, names in classes.split.items()
    }
    protocol = (
        f"{classes.origin}; lower case, words and punctuation, the first {options.max_length}; "
        f"{len(vocabulary) - 2} words that {options.vocabulary} texts have at least "
        f"{options.min_count} times"
    )
    return DataSet(classes.name, "texts", splits, protocol, vocabulary, texts)


def tokenize(text: str) -> list[str]:
    """Words and punctuation marks in lower case; a curly apostrophe is a straight one."""
    return _TOKEN.findall(text.lower().replace("\u2019", "'"))


def vocabulary_of(texts: Sequence[Sequence[str]], min_count: int) -> tuple[str, ...]:
    """Padding, unknown, then the words that are there often enough, frequent ones first."""
    counts = Counter(token for text in texts for token in text)
    kept = [token for token, count in counts.items() if count >= min_count]
    return (PADDING, UNKNOWN, *sorted(kept, key=lambda token: (-counts[token], token)))


def token_numbers(
    texts: Sequence[Sequence[str]], numbers: Mapping[str, int], max_length: int
) -> Tensor:
    """int64 `[n, L]`: 1 for unknown words, 0 after the end; L is the longest text's length, at
    most `max_length`."""
    cut = [text[:max_length] for text in texts]
    found = torch.zeros(len(cut), max(map(len, cut)), dtype=torch.int64)
    for row, text in zip(found, cut, strict=True):
        # Never nothing: a text without a word or mark is one unknown word.
        row[: max(len(text), 1)] = torch.tensor([numbers.get(token, 1) for token in text or [""]])
    return found
