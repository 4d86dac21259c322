"""One file a sub-command, thin: parse, call, print."""

from __future__ import annotations

import argparse
from typing import NoReturn

from ganbench.errors import UserError


class Parser(argparse.ArgumentParser):
    """argparse that takes no abbreviations and reports bad usage the way every command does."""

    def __init__(self, prog: str, description: str, epilog: str | None = None, add_help: bool = True) -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            add_help=add_help,
        )

    def error(self, message: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"{self.prog.removeprefix('ganbench ')}: {message}; see `{self.prog} --help`")
