"""One file a sub-command, thin: parse, call, print."""

from __future__ import annotations

import argparse
from typing import NoReturn

from ganbench.errors import UserError


class Parser(argparse.ArgumentParser):
    """argparse that reports bad usage the way every command does."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"{self.prog.removeprefix('ganbench ')}: {message}; see `{self.prog} --help`")
