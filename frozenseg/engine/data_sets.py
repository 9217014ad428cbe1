"""The data sets of a config: the benchmarks, and those of the user's own files."""

from __future__ import annotations

from detectron2.config import CfgNode

from frozenseg.data.custom import is_dataset_file, register_dataset_file
from frozenseg.data.register import register_benchmarks


def register_data_sets(cfg: CfgNode) -> None:
    """Registers the benchmarks and the rows of `DATASETS.FILES`; calling it again is harmless.

    Raises: ValueError for a file that is no YAML; what `register_dataset_file` raises.
    """
    register_benchmarks()
    for name in cfg.DATASETS.FILES:
        if not is_dataset_file(name):
            raise ValueError(
                f"DATASETS.FILES names {name!r}: give .yaml files of your own data sets "
                "(datasets/README.md, 'Data sets of your own')"
            )
        register_dataset_file(name)
