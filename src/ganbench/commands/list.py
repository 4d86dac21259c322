"""`ganbench list`: what can be composed, with one line each."""

from __future__ import annotations

import argparse

from ganbench.config import group_files, purpose

GROUPS = ("model", "loss", "dataset", "train", "eval", "experiment")


def main(argv: list[str]) -> int:
    """Print every choice of every group, or of the groups named, with the first line of its file."""
    parser = argparse.ArgumentParser("ganbench list", description="What can be composed.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", choices=[*GROUPS, []], help=", ".join(GROUPS))
    for group in parser.parse_args(argv).groups or GROUPS:
        files = group_files(group)
        prefix = "+" if group == "experiment" else ""
        width = max((len(name) for name in files), default=0)
        print(f"{group}  (ganbench train {prefix}{group}=NAME)")
        for name, text in files.items():
            print(f"  {name:<{width}}  {purpose(text)}")
    return 0
