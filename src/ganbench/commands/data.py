"""`ganbench data`: fetch and verify datasets."""

from __future__ import annotations

from ganbench.commands import Parser
from ganbench.config import group_names
from ganbench.errors import UserError


def main(argv: list[str]) -> int:
    """Load each named dataset, downloading what is missing, and say what it holds.

    Raises:
        UserError: unknown name, no network, altered file.
    """
    known = group_names("dataset")
    parser = Parser("ganbench data", description="Fetch and verify datasets.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(known)}; default: all")
    parser.add_argument("--root", help="folder of the datasets; default: $GANBENCH_DATA, else ./data")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.names if name not in known]:
        raise UserError(f"data {unknown[0]}: no such dataset; choose from {', '.join(known)}")
    from ganbench.data import data_root, load_dataset  # torch, for which help need not wait

    print(f"root: {data_root(arguments.root).absolute()}")
    for name in arguments.names or known:
        dataset = load_dataset(name, arguments.root)
        shape = "×".join(map(str, dataset.train.images.shape[1:]))
        print(
            f"{name}: {len(dataset.train)} train and {len(dataset.test)} test images of {shape}, "
            f"{dataset.num_classes} classes, sha256 {dataset.sha256[:16]}: verified"
        )
    return 0
