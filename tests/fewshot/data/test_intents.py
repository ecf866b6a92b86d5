"""CLINC150 and BANKING77: small files of the same form; the real ones where METARL_DATA is set."""

import csv
import json
import os
from pathlib import Path

import pytest

from metarl.errors import UserError
from metarl.fewshot.config import DataConfig
from metarl.fewshot.data import DataSet, load_data
from metarl.fewshot.data.clinc150 import DOMAINS

needs_data = pytest.mark.skipif(not os.environ.get("METARL_DATA"), reason="METARL_DATA is not set")


def read(name: str, root: Path | None = None, split: str = "default") -> DataSet:
    data = load_data(DataConfig(name, str(root) if root else None, split))
    assert isinstance(data, DataSet)
    return data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    intents = [intent for each in DOMAINS.values() for intent in each]
    content = {
        part: [[f"{part} text of {intent}", intent] for intent in intents]
        for part in ("train", "val", "test")
    }
    content |= {f"oos_{part}": [["nothing of ours", "oos"]] for part in ("train", "val", "test")}
    (tmp_path / "clinc150").mkdir()
    (tmp_path / "clinc150" / "data_full.json").write_text(json.dumps(content))
    (tmp_path / "banking77").mkdir()
    for part in ("train", "test"):
        rows = [["text", "category"]]
        rows += [[f"a {part} text,\nof {intent}", f"intent {intent}"] for intent in range(77)]
        with (tmp_path / "banking77" / f"{part}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return tmp_path


def test_every_domain_has_15_intents_of_its_own() -> None:
    assert len(DOMAINS) == 10
    assert {len(each) for each in DOMAINS.values()} == {15}
    assert len({intent for each in DOMAINS.values() for intent in each}) == 150


def test_clinc150_pools_its_parts_without_out_of_scope(root: Path) -> None:
    data = read("clinc150", root)
    assert [len(each) for each in data.splits.values()] == [50, 50, 50]
    assert all((each.counts == 3).all() for each in data.splits.values())
    first = data.splits["train"].names[0]
    expected = tuple(f"{part} text of {first}" for part in ("train", "val", "test"))
    assert data.texts["train"][:3] == expected
    assert not any("nothing" in text for texts in data.texts.values() for text in texts)


def test_clinc150_domains_stay_whole(root: Path) -> None:
    splits = read("clinc150", root, "domains").splits
    groups = [set(each.groups) for each in splits.values()]
    assert [len(each) for each in groups] == [4, 3, 3]
    assert len(set.union(*groups)) == 10
    for each in splits.values():
        for name, group in zip(each.names, each.groups, strict=True):
            assert name in DOMAINS[group]


def test_banking77_pools_its_parts(root: Path) -> None:
    data = read("banking77", root)
    assert [len(each) for each in data.splits.values()] == [25, 25, 27]
    number = data.splits["test"].names[0].removeprefix("intent ")
    assert data.texts["test"][:2] == (f"a train text, of {number}", f"a test text, of {number}")


def test_wrong_splits(root: Path) -> None:
    with pytest.raises(UserError, match="clinc150 has default and domains, not 'folds'"):
        read("clinc150", root, "folds")
    with pytest.raises(UserError, match="banking77 has default, not 'domains'"):
        read("banking77", root, "domains")


def test_other_files(root: Path) -> None:
    (root / "clinc150" / "data_full.json").write_text('{"train": [["a", "b"]]}')
    with pytest.raises(UserError, match=r"cannot read .*data_full\.json: KeyError.*original"):
        read("clinc150", root)
    content = {part: [["text", "intent"]] for part in ("train", "val", "test")}
    (root / "clinc150" / "data_full.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="has other intents; take the original file"):
        read("clinc150", root)
    (root / "banking77" / "train.csv").write_text("text,category\n")
    (root / "banking77" / "test.csv").write_text("text,category\na,b\n")
    with pytest.raises(UserError, match="1 intents instead of 77; take the originals"):
        read("banking77", root)
    (root / "banking77" / "test.csv").write_text("question,intent\na,b\n")
    with pytest.raises(UserError, match=r"cannot read .*test\.csv: KeyError.*take the original"):
        read("banking77", root)


HASHES = {
    ("clinc150", "default"): ("bfed7d0de6941935", "60aefd6d99854e25", "c2d8cf987f85fb0b"),
    ("clinc150", "domains"): ("d308637a947ab59e", "5063ff11d8500849", "d3e044622d5b5e03"),
    ("banking77", "default"): ("0659667597ca2667", "6c62e8e00574c965", "5a24ddda6df1116e"),
}


@needs_data
@pytest.mark.parametrize(("name", "split"), HASHES)
def test_real_texts_are_pinned(name: str, split: str) -> None:
    data = read(name, None, split)
    assert tuple(each.content_hash() for each in data.splits.values()) == HASHES[name, split]
    total = sum(len(texts) for texts in data.texts.values())
    assert total == {"clinc150": 22_500, "banking77": 13_083}[name]
