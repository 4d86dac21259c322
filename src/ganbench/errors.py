"""The errors a user can cause. Each becomes one line on stderr and exit code 2."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right; its text names the key, the rule, the value and the way out."""


class ConfigError(UserError):
    """A configuration that cannot be trained."""


class DataError(UserError):
    """A dataset that is missing, unreadable or not what its checksum promises."""


class RunError(UserError):
    """A run directory that is missing, damaged, held by another process or not writable."""


MISTAKES = (
    RuntimeError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    NameError,
    AssertionError,
    ArithmeticError,
    OSError,
)
"""What somebody's own network or loss may raise that is wrong."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
