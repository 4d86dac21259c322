"""`ganbench list`: what can be composed, with one line each."""

from __future__ import annotations

from pathlib import Path

from ganbench.commands import Parser
from ganbench.config import group_files, purpose
from ganbench.errors import UserError

GROUPS = ("model", "loss", "dataset", "train", "eval", "experiment")


def main(argv: list[str]) -> int:
    """Print every choice of every group, or of the groups named, with the first line of its file.

    Raises:
        UserError: an unknown group, or no such folder.
    """
    parser = Parser("ganbench list", description="What can be composed.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--config-dir", "-cd", metavar="DIR", help="also the files of this folder")
    arguments = parser.parse_args(argv)
    wanted = arguments.groups or GROUPS
    if arguments.config_dir is not None and not Path(arguments.config_dir).is_dir():
        raise UserError(f"--config-dir {arguments.config_dir}: no such folder")
    if unknown := [group for group in wanted if group not in GROUPS]:
        raise UserError(f"list {unknown[0]}: no such group; choose from {', '.join(GROUPS)}")
    for group in wanted:
        files = group_files(group, arguments.config_dir)
        prefix = "+" if group == "experiment" else ""
        width = max((len(name) for name in files), default=0)
        print(f"{group}  (ganbench train {prefix}{group}=NAME)")
        for name, text in files.items():
            print(f"  {name:<{width}}  {purpose(text)}")
    return 0
