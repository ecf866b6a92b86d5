"""Data sets, by the names that `data.name` takes."""

from collections.abc import Callable
from typing import Any

from metarl.errors import UserError, nearest
from metarl.fewshot.config import DataConfig
from metarl.fewshot.data.banking77 import read_banking77
from metarl.fewshot.data.clinc150 import read_clinc150
from metarl.fewshot.data.csv_file import CsvOptions, read_csv
from metarl.fewshot.data.curves import Curves, reader_of
from metarl.fewshot.data.examples import SPLITS, DataSet, Examples
from metarl.fewshot.data.folder import FolderOptions, read_folder
from metarl.fewshot.data.gaussian_process import GaussianProcess
from metarl.fewshot.data.glyphs import GlyphOptions, read_glyphs
from metarl.fewshot.data.omniglot import OmniglotOptions, read_omniglot
from metarl.fewshot.data.options import require_arguments, with_options
from metarl.fewshot.data.sinusoids import Sinusoids
from metarl.fewshot.data.texts import TextOptions
from metarl.plugins import object_named

DATA_SETS: dict[str, Callable[..., DataSet | Curves]] = {
    "banking77": with_options(TextOptions, read_banking77),
    "clinc150": with_options(TextOptions, read_clinc150),
    "csv": with_options(CsvOptions, read_csv),
    "folder": with_options(FolderOptions, read_folder),
    "gaussian_process": reader_of(GaussianProcess),
    "glyphs": with_options(GlyphOptions, read_glyphs),
    "omniglot": with_options(OmniglotOptions, read_omniglot),
    "sinusoids": reader_of(Sinusoids),
}
"""What reads or makes each data set: called with `root`, `split` and the configured options."""


def load_data(config: DataConfig) -> DataSet | Curves:
    """The data set that a configuration names, or what its `module:name` returns; UserError for an
    unknown one or wrong options."""
    own = ":" in config.name
    if not own and config.name not in DATA_SETS:
        hint = nearest(config.name, DATA_SETS)
        raise UserError(f"data.name: unknown data set {config.name!r}; {hint}")
    read = object_named(config.name, "data.name") if own else DATA_SETS[config.name]
    options: dict[str, Any] = dict(config.options)
    options |= {"root": config.root, "split": config.split}
    require_arguments(read, options, config.name)
    data = read(**options)
    if not isinstance(data, DataSet | Curves):
        raise UserError(f"data.name: {config.name} must return a DataSet or Curves, got {data!r}")
    if isinstance(data, DataSet) and set(data.splits) != set(SPLITS):
        given = ", ".join(data.splits) or "none"
        raise UserError(
            f"data.name: {config.name} must have splits {', '.join(SPLITS)}, has {given}"
        )
    if config.train_on_validation:
        if not isinstance(data, DataSet):
            raise UserError("data.train_on_validation: curves have no validation classes")
        return data.merged()
    return data


__all__ = ["DATA_SETS", "Curves", "DataSet", "Examples", "load_data"]
