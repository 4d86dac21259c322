"""The command line: a table of sub-commands. Imports nothing heavy, so that --help is instant."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback
from importlib import import_module
from importlib.metadata import version

from ganbench.errors import UserError, fail
from ganbench.memory import use_huge_pages

COMMANDS = {
    "train": "train, score and keep one run, or a sweep with -m (Hydra overrides)",
    "evaluate": "score past runs again, under another protocol if asked",
    "compare": "tables, verdicts and figures from past runs",
    "sample": "images from a trained generator",
    "data": "fetch and verify datasets",
    "list": "what can be composed: models, losses, datasets, experiments",
}

USAGE = """usage: ganbench COMMAND [ARGUMENTS] [--debug]

The honest, fast benchmark for GAN training recipes.

commands:
{commands}

`ganbench COMMAND --help` says more about one. --debug shows the traceback of an error.
Exit codes: 0 success, 1 a run failed, 2 bad usage, 128+N stopped by signal N.

examples:
  ganbench train loss=wgan_gp model=cgan
  ganbench train -m loss=bce,lsgan,hinge,wgan_clip,wgan_gp,sn_hinge seed=0,1,2
  ganbench compare outputs"""


def main(argv: list[str] | None = None) -> int:
    """Run one sub-command; its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    strict = getattr(sys.stdout, "errors", "") in ("strict", "surrogateescape")
    if strict and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a letter that the terminal lacks is no reason to end
    debug = "--debug" in arguments
    code = 0
    try:
        try:
            code = dispatch([argument for argument in arguments if argument != "--debug"], debug)
        finally:
            print(end="", flush=True)  # at exit a failure to write could only be told by a traceback
        return code
    except BrokenPipeError:  # the reader of a pipe (`| head`) has gone
        code = 1
    except OSError as error:
        if debug:
            raise
        code = code or fail(f"standard output: {error.strerror}", code=1)  # else the command has told it
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left to be written
    return code


def dispatch(arguments: list[str], debug: bool) -> int:
    """Print help, or run the sub-command that `arguments` begin with; the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(f"ganbench {version('ganbench')}")
        return 0
    name, *rest = arguments
    if name == "-sc":
        return complete(arguments)
    if name not in COMMANDS:
        return fail(f"unknown command {name!r}; choose one of {', '.join(COMMANDS)}")
    return guarded(name, rest, debug)


def complete(arguments: list[str]) -> int:
    """Answer the completion that `ganbench train -sc install=bash` gives a shell: Hydra knows no commands."""
    program, *words = os.environ.get("COMP_LINE", "").split(" ")
    if len(words) < 2:
        print(*COMMANDS)
    elif words[0] == "train" and words[-1].startswith("+experiment="):  # in folders, where Hydra finds none
        from ganbench.config import group_names

        choices = [f"+experiment={name}" for name in group_names("experiment")]
        print(*(choice for choice in choices if choice.startswith(words[-1])))
    elif words[0] == "train":
        os.environ["COMP_LINE"] = " ".join([program, *words[1:]])
        return guarded("train", arguments, debug=False)
    return 0


def guarded(name: str, arguments: list[str], debug: bool) -> int:
    """Run a command and turn what goes wrong into one line and an exit code."""
    use_huge_pages()  # before a command imports torch
    os.environ.pop("MPLBACKEND", None)  # a notebook's, which may not be installed here; figures go to files
    # Else Python looks once more for garbage among all that torch has, for more than a second.
    atexit.register(gc.freeze)
    try:
        return int(import_module(f"ganbench.commands.{name}").main(arguments))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        raise  # the output's, for `main`
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, UserError):
            return fail(str(error))
        return fail(f"{name}: {type(error).__name__}: {error} (--debug shows where)", code=1)


def usage() -> str:
    """The help text."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    return USAGE.format(commands="\n".join(lines))
