"""Your own texts: a CSV file with a column of texts and one of labels."""

import csv
from dataclasses import dataclass
from pathlib import Path

from metarl.errors import UserError, nearest
from metarl.fewshot.data.class_splits import ClassSplit, FractionOptions, split_by_fraction
from metarl.fewshot.data.examples import SPLITS, DataSet
from metarl.fewshot.data.files import FOUND_BY, expanded
from metarl.fewshot.data.options import unknown_split
from metarl.fewshot.data.texts import TextClasses, TextOptions, text_data
from metarl.validation import require

Row = dict[str, str]


@dataclass(frozen=True)
class CsvOptions(TextOptions, FractionOptions):
    """Where the file is, and what its columns are called."""

    path: str = ""
    """The file, with a header line; below `data.root` where that is set."""
    text_column: str = "text"
    """Column of the texts."""
    label_column: str = "label"
    """Column of the labels."""
    domain_column: str = ""
    """Column of the labels' domains; empty: there are none."""
    split_column: str = ""
    """Column that says train, validation or test; empty: labels are dealt out by fractions."""
    delimiter: str = ","
    """What stands between two columns."""

    def __post_init__(self) -> None:
        TextOptions.__post_init__(self)
        FractionOptions.__post_init__(self)
        require(self.path != "", "path", "must name a CSV file")
        one = len(self.delimiter) == 1
        require(one, "delimiter", f"must be one character, got {self.delimiter!r}")
        two = self.text_column != self.label_column
        require(two, "text_column", f"must be another column than the labels', {self.text_column}")


def read_csv(root: str | None, split: str, options: CsvOptions) -> DataSet:
    """The texts; UserError where a file, column or label is not as it has to be."""
    if split != "default":
        raise unknown_split("csv", split, "default")
    path = expanded(Path(root or "", options.path), "data.options.path")
    rows = _rows(path, options)
    texts: dict[str, list[str]] = {}
    for row in rows:
        texts.setdefault(row[options.label_column], []).append(row[options.text_column])
    for label, each in texts.items():
        if len(each) < 2:
            raise UserError(f"{path}: label {label!r} has one text; every label takes 2 at least")
    if options.split_column:
        dealt, how = _told_splits(path, rows, options), f"by column {options.split_column}"
    else:
        dealt = split_by_fraction(list(texts), options)
        how = f"by a shuffle with seed {options.split_seed}"
    sizes = " / ".join(str(len(dealt[each])) for each in SPLITS)
    groups = _domains(path, rows, options) if options.domain_column else {}
    origin = f"{path.name}, labels split {sizes} into training / validation / test {how}"
    return text_data(TextClasses("csv", texts, dealt, groups, origin), options)


def _rows(path: Path, options: CsvOptions) -> list[Row]:
    """All lines, which have a text and a label; other empty columns are empty texts."""
    columns = [
        options.text_column,
        options.label_column,
        options.domain_column,
        options.split_column,
    ]
    wanted = [column for column in columns if column]
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=options.delimiter, restval="", strict=True)
            header = reader.fieldnames or []
            for column in wanted:
                if list(header).count(column) > 1:
                    raise UserError(f"{path} has two columns {column!r}; rename one")
                if header and column not in header:
                    hint = nearest(column, header)
                    if len(header) == 1:
                        hint += ", or is data.options.delimiter another one?"
                    raise UserError(f"{path} has no column {column!r}; {hint}")
            rows = [_row(path, reader.line_num, row, options, wanted) for row in reader]
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}; {FOUND_BY}") from error
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}; it must be a CSV file in UTF-8") from error
    if not rows:
        raise UserError(f"{path} has no lines with a text and a label")
    return rows


def _row(path: Path, line: int, row: Row, options: CsvOptions, wanted: list[str]) -> Row:
    """What is wanted of a line, which must have a text and a label, and no more fields than the
    header."""
    if None in row:
        raise UserError(
            f"{path}: line {line} has more fields than the header; put a text with "
            f"{options.delimiter!r} in it in double quotes"
        )
    for column in (options.text_column, options.label_column):
        if not row[column].strip():
            raise UserError(
                f"{path}: line {line} has nothing in column {column!r}; mend or drop it"
            )
    return {column: row[column].strip() for column in wanted}


def _told_splits(path: Path, rows: list[Row], options: CsvOptions) -> ClassSplit:
    found: dict[str, dict[str, None]] = {split: {} for split in SPLITS}
    for row in rows:
        name = row[options.split_column]
        if name not in found:
            known = ", ".join(SPLITS)
            raise UserError(f"{path}: column {options.split_column} has {name!r}, not {known}")
        found[name][row[options.label_column]] = None
    for split, labels in found.items():
        if len(labels) < 2:
            raise UserError(f"{path}: split {split} has {len(labels)} labels; it takes 2 at least")
    return _disjoint(path, {split: sorted(labels) for split, labels in found.items()})


def _disjoint(path: Path, dealt: ClassSplit) -> ClassSplit:
    # Before the examples are made: a label's texts are kept by label, whatever their split.
    seen: dict[str, str] = {}
    for split, labels in dealt.items():
        for label in labels:
            if seen.setdefault(label, split) != split:
                raise UserError(
                    f"{path}: label {label!r} is in {seen[label]} and in {split}; every label "
                    "belongs to one split"
                )
    return dealt


def _domains(path: Path, rows: list[Row], options: CsvOptions) -> dict[str, str]:
    domains: dict[str, str] = {}
    for row in rows:
        label, domain = row[options.label_column], row[options.domain_column]
        if domains.setdefault(label, domain) != domain:
            raise UserError(f"{path}: label {label!r} is in domains {domains[label]} and {domain}")
    return domains
