"""Words, vocabulary and token numbers, by hand."""

import pytest
import torch

from metarl.fewshot.data.texts import TextClasses, TextOptions, text_data, tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("What's the APR?", ["what's", "the", "apr", "?"]),
        ("don\u2019t, 12.5 £", ["don't", ",", "12", ".", "5", "£"]),
        ("'quoted'  été", ["'", "quoted", "'", "été"]),
        ("", []),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


TEXTS = {
    "pay": ["pay the bill", "pay the the\n rent"],
    "play": ["play a song", "play the song"],
    "late": ["pay late", "a b c d e f g"],
    "new": ["the unheard word", "?!"],
}
CLASSES = TextClasses(
    "few", TEXTS, {"train": ["pay", "play"], "validation": ["late"], "test": ["new"]}, {}, "some"
)


def test_vocabulary_is_of_training_texts_alone() -> None:
    data = text_data(CLASSES, TextOptions())
    assert data.vocabulary == ("<padding>", "<unknown>", "the", "pay", "play", "song")
    everything = text_data(CLASSES, TextOptions(min_count=1)).vocabulary
    assert everything[6:] == ("a", "bill", "rent")


def test_vocabulary_of_all_texts_has_words_that_training_texts_lack() -> None:
    data = text_data(CLASSES, TextOptions(min_count=1, vocabulary="all"))
    assert set(data.vocabulary) > {"bill", "late", "unheard"}
    assert 1 not in data.splits["test"].inputs
    assert "that all texts have at least 1 times" in data.protocol


def test_token_numbers() -> None:
    splits = text_data(CLASSES, TextOptions()).splits
    assert splits["train"].inputs.tolist() == [
        [3, 2, 1, 0],
        [3, 2, 2, 1],
        [4, 1, 5, 0],
        [4, 2, 5, 0],
    ]
    assert splits["train"].inputs.dtype == torch.int64
    assert splits["test"].inputs.tolist() == [[2, 1, 1], [1, 1, 0]]


def test_long_texts_are_cut() -> None:
    splits = text_data(CLASSES, TextOptions(max_length=3)).splits
    assert splits["validation"].inputs.tolist() == [[3, 1, 0], [1, 1, 1]]
    assert splits["train"].inputs[1].tolist() == [3, 2, 2]


def test_texts_are_kept_in_order() -> None:
    data = text_data(CLASSES, TextOptions())
    assert data.texts["train"][:2] == ("pay the bill", "pay the the rent")
    assert data.texts["test"] == ("the unheard word", "?!")
    assert data.splits["train"].counts.tolist() == [2, 2]


def test_text_without_a_word_is_one_unknown_word() -> None:
    texts = {**TEXTS, "new": ["", "the"]}
    classes = TextClasses("few", texts, CLASSES.split, {}, "some")
    assert text_data(classes, TextOptions()).splits["test"].inputs.tolist() == [[1], [2]]


def test_merged_trains_on_validation_classes_with_the_same_vocabulary() -> None:
    data = text_data(CLASSES, TextOptions())
    merged = data.merged()
    assert merged.vocabulary == data.vocabulary
    assert merged.splits["train"].names == ("pay", "play", "late")
    assert merged.splits["train"].inputs.tolist()[3:] == [
        [4, 2, 5, 0, 0, 0, 0],
        [3, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 1],
    ]
    assert merged.texts["train"] == data.texts["train"] + data.texts["validation"]
    assert merged.protocol.endswith("trained on the validation classes too")
    assert len(data.splits["train"]) == 2
