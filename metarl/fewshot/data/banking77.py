"""BANKING77: 13,083 questions of bank customers, 77 intents.

Casanueva et al. 2020, "Efficient Intent Detection with Dual Sentence Encoders", NLP4ConvAI;
CC BY 4.0, github.com/PolyAI-LDN/task-specific-datasets.
"""

import csv
from pathlib import Path

from metarl.errors import UserError
from metarl.fewshot.data.class_splits import split_by_size
from metarl.fewshot.data.examples import DataSet
from metarl.fewshot.data.files import RemoteFile, find_file
from metarl.fewshot.data.options import unknown_split
from metarl.fewshot.data.texts import TextClasses, TextOptions, text_data

INTENTS = 77

_ORIGIN = "https://raw.githubusercontent.com/PolyAI-LDN/task-specific-datasets/master/banking_data"
FILES = tuple(
    RemoteFile(f"banking77/{name}", f"{_ORIGIN}/{name}", f"sha256:{sha256}")
    for name, sha256 in (
        ("train.csv", "b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b"),
        ("test.csv", "d12d6e3bc4c3103966ae786dc435913c0c563dfa328f5a3646d0e62cfeeb474d"),
    )
)


def read_banking77(root: str | None, split: str, options: TextOptions) -> DataSet:
    """The questions of train.csv and test.csv together; 25, 25 and 27 intents.

    UserError for files that are not there, or not BANKING77's.
    """
    if split != "default":
        raise unknown_split("banking77", split, "default")
    texts: dict[str, list[str]] = {}
    for path in [find_file(file, root) for file in FILES]:
        for text, intent in _rows(path):
            texts.setdefault(intent, []).append(text)
    if len(texts) != INTENTS:
        raise UserError(f"banking77: {len(texts)} intents instead of {INTENTS}; take the originals")
    origin = (
        "train.csv and test.csv together, 75 to 227 texts of each intent; 25 training, 25 "
        "validation, 27 test intents by a fixed shuffle"
    )
    dealt = split_by_size(list(texts), (25, 25, 27), "classes of banking77")
    return text_data(TextClasses("banking77", texts, dealt, {}, origin), options)


def _rows(path: Path) -> list[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [(row["text"], row["category"]) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error!r}; take the original file") from error
