"""A person's own texts in a CSV file."""

import csv
from pathlib import Path

import pytest

from metarl.errors import UserError
from metarl.fewshot.config import DataConfig
from metarl.fewshot.data import DataSet, load_data

HEADER = ["text", "label", "domain", "split"]


def written(path: Path, rows: list[list[str]], header: list[str] = HEADER) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def rows(labels: int = 8, each: int = 3) -> list[list[str]]:
    splits = ["train", "train", "train", "train", "validation", "validation", "test", "test"]
    return [
        [f"words of {label}, {number}", f"label {label}", f"domain {label // 4}", splits[label]]
        for number in range(each)
        for label in range(labels)
    ]


def read(path: str, **options: object) -> DataSet:
    data = load_data(DataConfig("csv", options={"path": path, **options}))
    assert isinstance(data, DataSet)
    return data


def test_labels_are_dealt_out(tmp_path: Path) -> None:
    data = read(written(tmp_path / "own.csv", rows()))
    assert [len(each) for each in data.splits.values()] == [4, 2, 2]
    assert data.splits["train"].counts.tolist() == [3] * 4
    assert len(data.texts["train"]) == 12
    assert data.splits["train"].groups == ()
    assert "own.csv, labels split 4 / 2 / 2" in data.protocol


def test_texts_follow_their_labels(tmp_path: Path) -> None:
    data = read(written(tmp_path / "own.csv", rows()), domain_column="domain")
    for split, examples in data.splits.items():
        for place, name in enumerate(examples.names):
            number = name.removeprefix("label ")
            assert data.texts[split][3 * place] == f"words of {number}, 0"
            assert examples.groups[place] == f"domain {int(number) // 4}"


def test_splits_that_the_file_tells(tmp_path: Path) -> None:
    data = read(written(tmp_path / "own.csv", rows()), split_column="split")
    assert data.splits["validation"].names == ("label 4", "label 5")
    assert data.splits["test"].names == ("label 6", "label 7")


def test_column_names_and_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "own.tsv"
    lines = ["\ufeffintent\tutterance", *(f"{row[1]}\t{row[0]}" for row in rows())]
    path.write_text("\n".join(lines), encoding="utf-8")
    data = read(str(path), text_column="utterance", label_column="intent", delimiter="\t")
    assert sum(len(each) for each in data.splits.values()) == 8


def test_path_below_the_root(tmp_path: Path) -> None:
    written(tmp_path / "own.csv", rows())
    config = DataConfig("csv", root=str(tmp_path), options={"path": "own.csv"})
    assert load_data(config).protocol.startswith("own.csv")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (rows(), {"text_column": "texts"}, r"own\.csv has no column 'texts'; did you mean 'text'"),
        ([], {}, r"own\.csv has no lines with a text and a label"),
        ([["", "label 1"]], {}, r"own\.csv: line 2 has nothing in column 'text'; mend or drop it"),
        ([*rows(8), ["text", " "]], {}, r"line 26 has nothing in column 'label'; mend or drop it"),
        (
            [*rows(8), ["I want 0", "label 1", "d", "train", " a refund"]],
            {},
            r"own\.csv: line 26 has more fields than the header; put a text with ',' in it",
        ),
        (
            [['a "word', "label 1", "d", "train"], *rows()],
            {"delimiter": ";"},
            "has no column 'text'; .*, or is data.options.delimiter another one",
        ),
        (rows(), {"min_count": 1000}, "no word is 1000 times in the training texts; lower data"),
        (rows(), {"label_column": "text"}, "text_column must be another column than the labels'"),
        (rows(8, 1), {}, "label 'label 0' has one text; every label takes 2 at least"),
        (rows(4), {}, "4 classes are too few to split"),
        (
            [*rows(), ["again", "label 7", "domain 1", "train"]],
            {"split_column": "split"},
            "label 'label 7' is in train and in test; every label belongs to one split",
        ),
        (rows(6), {"split_column": "split"}, "split test has 0 labels; it takes 2 at least"),
        (
            [*rows(), ["again", "label 7", "domain 1", "testing"]],
            {"split_column": "split"},
            "column split has 'testing', not train, validation, test",
        ),
        (
            [*rows(), ["again", "label 7", "domain 9", "test"]],
            {"domain_column": "domain"},
            "label 'label 7' is in domains domain 1 and domain 9",
        ),
    ],
)
def test_refused(
    content: list[list[str]], options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        read(written(tmp_path / "own.csv", content), **options)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file .*none\.csv; mend data\.options\.path"):
        read(str(tmp_path / "none.csv"))
    (tmp_path / "latin.csv").write_bytes("text,label\ncafé,a\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"cannot read .*latin\.csv: .*it must be a CSV file"):
        read(str(tmp_path / "latin.csv"))
    (tmp_path / "open.csv").write_text('text,label\n"never closed,a\nmore,b\n')
    with pytest.raises(UserError, match=r"cannot read .*open\.csv: .*it must be a CSV file"):
        read(str(tmp_path / "open.csv"))
    (tmp_path / "twice.csv").write_text("text,label,label\na,b,c\n")
    with pytest.raises(UserError, match=r"twice\.csv has two columns 'label'; rename one"):
        read(str(tmp_path / "twice.csv"))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UserError, match=r"empty\.csv has no lines"):
        read(str(tmp_path / "empty.csv"))
    with pytest.raises(UserError, match=r"data\.options\.path must name a CSV file"):
        read("")
    with pytest.raises(UserError, match=r"cannot read .*: .*it must be a CSV file"):
        read(str(tmp_path))
    with pytest.raises(
        UserError, match=r"data\.options\.path: ~no-one/own\.csv is in the home fol"
    ):
        read("~no-one/own.csv")
