"""The errors a user can cause. Each becomes one line on stderr and exit code 2."""

from __future__ import annotations

import sys


class UserError(Exception):
    """Something the user can put right; its text names the key, the rule, the value and the way out."""


class ConfigError(UserError):
    """A configuration that cannot be trained."""


class DataError(UserError):
    """A dataset that is missing, unreadable or not what its checksum promises."""


class RunError(UserError):
    """A run directory that is missing, damaged, held by another process or not writable."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def told(error: BaseException) -> str:
    """The type of an error and the first line of what it says."""
    return f"{type(error).__name__}: {first_line(error)}"


def one_line(error: BaseException) -> str:
    """What an error says over several lines, as one of at most 200 letters."""
    return " ".join(str(error).split())[:200]


def fail(reason: str, code: int = 2) -> int:
    """Say why on one line of stderr, without control characters of somebody else's; the exit code."""
    text = "".join(char if char.isprintable() else "\ufffd" for char in " ".join(reason.split()))
    print(f"ganbench: {text}", file=sys.stderr)
    return code


def exited(error: SystemExit) -> RunError:
    """What to say where somebody's own code has called sys.exit."""
    return RunError(f"code of your own ended the program (exit code {error.code}); take its exit out")
