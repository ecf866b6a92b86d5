"""Glyphs: generated characters of invented alphabets, for tests and runs without any download."""

from dataclasses import dataclass

import numpy as np

from metarl.fewshot.data.examples import DataSet
from metarl.fewshot.data.images import ROTATIONS, ImageClass, Rotations, image_examples
from metarl.fewshot.data.options import unknown_split
from metarl.tasks import stream
from metarl.validation import require_at_least

STROKES = 4
"""At most, of a character."""
POINTS = 16
"""At which the ink of a stroke is put down."""
ALPHABET = 10
"""Characters of an alphabet; the last one of a split may have fewer."""


@dataclass(frozen=True)
class GlyphOptions:
    """How many glyphs, how large."""

    training_classes: int = 100
    """Characters to train on."""
    validation_classes: int = 20
    """Characters for validation."""
    test_classes: int = 30
    """Characters to test on."""
    examples: int = 20
    """Drawings of each character."""
    image_size: int = 28
    """Pixels along a side."""
    rotations: Rotations = "none"
    """Turned characters: classes (of their own), episode (each class of an episode at random) or
    none."""
    seed: int = 0
    """Seed of characters and drawings."""

    def __post_init__(self) -> None:
        require_at_least(2, self, "training_classes", "validation_classes", "test_classes")
        require_at_least(2, self, "examples")
        require_at_least(8, self, "image_size")
        require_at_least(0, self, "seed")


def read_glyphs(root: str | None, split: str, options: GlyphOptions) -> DataSet:
    """Draw the glyphs; nothing is read from `root`.

    An alphabet has a hand: how many strokes a character takes, how curved and how broad they are.
    A character is 2 to 4 quadratic Bezier curves. A drawing of it moves their control points and
    turns, scales, shears and shifts the whole. Every alphabet and every character has its own
    random stream; characters are numbered through the splits, and no two splits share an alphabet.
    """
    if split != "default":
        raise unknown_split("glyphs", split, "default")
    sizes = {
        "train": options.training_classes,
        "validation": options.validation_classes,
        "test": options.test_classes,
    }
    splits = {name: _split(name, size, options) for name, size in sizes.items()}
    protocol = (
        f"generated characters of 2 to {STROKES} strokes, {options.examples} drawings each, "
        f"{options.image_size}x{options.image_size}, seed {options.seed}; whole alphabets of "
        f"{ALPHABET} to one split; {ROTATIONS[options.rotations]}"
    )
    examples = {name: image_examples(each, options.rotations) for name, each in splits.items()}
    return DataSet("glyphs", "images", examples, protocol)


def _split(split: str, size: int, options: GlyphOptions) -> list[ImageClass]:
    found: list[ImageClass] = []
    for number in range(size):
        hand = stream(options.seed, f"glyphs hand {split}", number // ALPHABET)
        generator = stream(options.seed, f"glyphs {split}", number)
        character = _character(generator, hand)
        control, broad = _drawings(character, options.examples, generator)
        images = _render(control, broad * hand.uniform(0.045, 0.075), options.image_size)
        alphabet = f"{split} alphabet {number // ALPHABET + 1}"
        name = f"{alphabet}/character {number % ALPHABET + 1}"
        found.append(ImageClass(name, alphabet, images))
    return found


def _character(generator: np.random.Generator, hand: np.random.Generator) -> np.ndarray:
    """Control points `[STROKES, 3, 2]`, the image is [-1, 1] squared; NaN for absent strokes."""
    most, curved = hand.integers(3, STROKES + 1), hand.uniform(0.1, 0.8)
    ends = generator.uniform(-0.7, 0.7, (STROKES, 2, 2))
    # Every other stroke goes on where the last one ended, as letters do.
    joined = generator.random(STROKES) < 0.5
    for stroke in range(1, STROKES):
        if joined[stroke]:
            ends[stroke, 0] = ends[stroke - 1, 1]
    bends = curved * generator.uniform(-0.9, 0.9, (STROKES, 2))
    control = np.stack([ends[:, 0], ends.mean(axis=1) + bends, ends[:, 1]], axis=1)
    control[generator.integers(2, most + 1) :] = np.nan
    # In the middle: where a character stands says nothing about which it is.
    return control - np.nanmean(control, axis=(0, 1))


def _drawings(
    character: np.ndarray, count: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Control points `[count, STROKES, 3, 2]` of drawings, and how broad `[count]` the pen is."""
    control = character + 0.05 * generator.standard_normal((count, *character.shape))
    angle = 0.2 * generator.standard_normal(count)
    scale = np.exp(0.12 * generator.standard_normal((count, 2)))
    shear = 0.15 * generator.standard_normal(count)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([cos, -sin, sin, cos], axis=-1).reshape(count, 2, 2)
    stretch = np.zeros((count, 2, 2))
    stretch[:, 0, 0], stretch[:, 1, 1], stretch[:, 0, 1] = scale[:, 0], scale[:, 1], shear
    moved = np.einsum("nij,njk,nspk->nspi", turn, stretch, control)
    shift = 0.15 * generator.standard_normal((count, 1, 1, 2))
    return moved + shift, np.exp(0.15 * generator.standard_normal(count))


def _render(control: np.ndarray, widths: np.ndarray, size: int) -> np.ndarray:
    """Images uint8 `[n, 1, size, size]` of strokes `[n, STROKES, 3, 2]` by pens `[n]`.

    Ink is 1 - exp(-sum of Gaussians around the points of the strokes). A Gaussian is a product of
    one over rows and one over columns, so an image is a matrix product. Float64 throughout: a
    rounding error of another machine moves a pixel with a probability of about 1e-12.
    """
    t = np.linspace(0.0, 1.0, POINTS)
    bezier = np.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2], axis=-1)
    points = np.einsum("tp,nspx->xnst", bezier, control).reshape(2, len(control), -1, 1)
    cells = (np.arange(size) + 0.5) * (2.0 / size) - 1.0
    distances = (np.where(np.isnan(points), 9.0, points) - cells) / widths[:, None, None]
    columns, rows = np.exp(-0.5 * distances**2)
    ink = 1.0 - np.exp(-2.0 * (rows.swapaxes(-1, -2) @ columns))
    return np.rint(255.0 * ink).astype(np.uint8)[:, None]
