"""`ganbench list`: what can be composed, with one line each."""

from __future__ import annotations

import argparse

from ganbench.config import group_files, purpose
from ganbench.errors import UserError

GROUPS = ("model", "loss", "dataset", "train", "eval", "experiment")


def main(argv: list[str]) -> int:
    """Print every choice of every group, or of the groups named, with the first line of its file.

    Raises:
        UserError: an unknown group.
    """
    parser = argparse.ArgumentParser("ganbench list", description="What can be composed.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    wanted = parser.parse_args(argv).groups or GROUPS
    if unknown := [group for group in wanted if group not in GROUPS]:
        raise UserError(f"list {unknown[0]}: no such group; choose from {', '.join(GROUPS)}")
    for group in wanted:
        files = group_files(group)
        prefix = "+" if group == "experiment" else ""
        width = max((len(name) for name in files), default=0)
        print(f"{group}  (ganbench train {prefix}{group}=NAME)")
        for name, text in files.items():
            print(f"  {name:<{width}}  {purpose(text)}")
    return 0
