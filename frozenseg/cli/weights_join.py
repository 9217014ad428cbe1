"""Joins a Mask-Adapter's weights and a model's into one file.

    frozenseg weights join ADAPTER MODEL --output joined.safetensors

The result has `mask_adapter.*` of ADAPTER and everything else of MODEL. So the two training stages
of a Mask-Adapter are joined, and so FrozenSeg gets FC-CLIP's adapter: both see the same frozen
CLIP (configs/frozenseg/convnext_large_mask_adapter.yaml). Names of `frozenseg weights list` work.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("adapter", metavar="ADAPTER", help="holds mask_adapter.*")
    parser.add_argument("model", metavar="MODEL", help="holds the rest")
    parser.add_argument("--output", type=Path, required=True, help="ends in .safetensors")


def main(args: argparse.Namespace) -> None:
    """Writes the file, and says what came from where."""
    from frozenseg.checkpoints.join import join_adapter
    from frozenseg.checkpoints.lookup import resolve

    adapter, model = (Path(resolve(name)) for name in (args.adapter, args.model))
    counts = join_adapter(adapter, model, args.output)
    parts = ", ".join(f"{count} tensors of {name}" for name, count in counts.items())
    print(f"{args.output}: {parts}")
