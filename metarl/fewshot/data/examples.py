"""Examples of one split, and the data sets that have three of them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from metarl.errors import UserError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Examples:
    """All examples of a split's classes: those of one class side by side, classes in order."""

    inputs: Tensor
    """`[n, ...]`: uint8 images `[n, c, H, W]` (0 to 255), or int64 token numbers `[n, L]`, 0 where
    a text has ended."""
    counts: Tensor
    """`[C]` int64, examples of each class."""
    names: tuple[str, ...]
    """Of the C classes."""
    groups: tuple[str, ...] = ()
    """Alphabet or domain of each class; empty where there are none."""
    rotations: bool = False
    """Whether each class of an episode is turned by 0, 90, 180 or 270 degrees at random, support
    and queries alike: images only."""

    @property
    def starts(self) -> Tensor:
        """`[C]`: where the examples of each class begin."""
        return self.counts.cumsum(0) - self.counts

    def __len__(self) -> int:
        return len(self.counts)

    def to(self, device: torch.device | str) -> "Examples":
        """The same with the tensors on another device."""
        moved = self.inputs.to(device), self.counts.to(device)
        return Examples(*moved, self.names, self.groups, self.rotations)

    def content_hash(self) -> str:
        """First 16 hex digits of a SHA-256 of everything here."""
        digest = hashlib.sha256(repr((self.names, self.groups, self.rotations)).encode())
        for tensor in (self.inputs, self.counts):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class DataSet:
    """Training, validation and test classes, no class in two of them."""

    name: str
    kind: str
    """`images`, `texts` or `curves`."""
    splits: Mapping[str, Examples]
    """By `train`, `validation` and `test`."""
    protocol: str
    """How the examples were made of the files, in one sentence, printed with every result."""
    vocabulary: tuple[str, ...] = ()
    """Texts: the word of each token number; 0 is padding, 1 any unknown word."""
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Texts: of each split, as they are, in the order of its inputs."""

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for split, examples in self.splits.items():
            for name in examples.names:
                if seen.setdefault(name, split) != split:
                    raise UserError(
                        f"{self.name}: class {name!r} is in {seen[name]} and in {split}; "
                        "every class belongs to one split"
                    )

    def merged(self) -> "DataSet":
        """The same with the validation classes among the training ones too."""
        train, validation = self.splits["train"], self.splits["validation"]
        longest = max(train.inputs.shape[-1], validation.inputs.shape[-1])
        pad = [(0, longest - each.inputs.shape[-1]) for each in (train, validation)]
        inputs = [
            torch.nn.functional.pad(each.inputs, by)
            for each, by in zip((train, validation), pad, strict=True)
        ]
        both = Examples(
            torch.cat(inputs),
            torch.cat([train.counts, validation.counts]),
            train.names + validation.names,
            train.groups + validation.groups,
            train.rotations,
        )
        # Not through __post_init__'s check: validation is told twice on purpose.
        merged = object.__new__(DataSet)
        protocol = f"{self.protocol}; trained on the validation classes too"
        texts = dict(self.texts)
        if texts:
            texts["train"] = texts["train"] + texts["validation"]
        splits = {**self.splits, "train": both}
        values = {**vars(self), "splits": splits, "protocol": protocol, "texts": texts}
        for name, value in values.items():
            object.__setattr__(merged, name, value)
        return merged
