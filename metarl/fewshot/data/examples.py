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
    """All examples of a split's classes: those of one class side by side, classes in order.

    Raises UserError where the parts do not fit each other.
    """

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

    def __post_init__(self) -> None:
        inputs, sizes = self.inputs, (len(self.names), len(self.groups or self.names))
        images = inputs.dtype == torch.uint8 and inputs.dim() == 4
        if not images and not (inputs.dtype == torch.int64 and inputs.dim() == 2):
            found = f"{inputs.dtype} {list(inputs.shape)}"
            raise UserError(f"examples: uint8 [n, c, H, W] or int64 [n, L], not {found}")
        if sizes != (len(self.counts), len(self.counts)):
            raise UserError(f"examples: {len(self.counts)} counts, but {sizes} names and groups")
        if int(self.counts.sum()) != len(inputs):
            raise UserError(
                f"examples: counts of {int(self.counts.sum())}, but {len(inputs)} inputs"
            )
        if self.rotations and not (images and inputs.shape[-1] == inputs.shape[-2]):
            raise UserError("examples: only images as high as broad can be turned")

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
    """Training, validation and test classes.

    Raises UserError for a class in two of them, for images of different sizes, and for a token
    number without a word.
    """

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
                if name in seen:
                    where = (
                        f"in {seen[name]} and in {split}" if seen[name] != split else "there twice"
                    )
                    raise UserError(
                        f"{self.name}: class {name!r} is {where}; every class belongs to one split"
                    )
                seen[name] = split
        shapes = {tuple(each.inputs.shape[1:]) for each in self.splits.values()}
        if self.kind == "images" and len(shapes) > 1:
            raise UserError(f"{self.name}: images of different sizes in its splits, {shapes}")
        if self.kind == "texts":
            self._require_words()

    def _require_words(self) -> None:
        highest = max(int(each.inputs.max()) for each in self.splits.values())
        if highest >= len(self.vocabulary):
            raise UserError(
                f"{self.name}: token number {highest} has no word in its vocabulary of "
                f"{len(self.vocabulary)}"
            )

    def source_hash(self, split: str) -> str:
        """First 16 hex digits of a SHA-256 of a split: of its texts, so that settings of how words
        are numbered do not matter; of images `content_hash`."""
        examples = self.splits[split]
        if not self.texts:
            return examples.content_hash()
        source = repr((examples.names, examples.counts.tolist(), self.texts[split]))
        return hashlib.sha256(source.encode()).hexdigest()[:16]

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
