"""What crashes, disks and strangers do to the files of a run directory, for `fuzz.py`."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from ganbench import runs
from ganbench.engine.checkpoint import from_bytes, to_bytes
from ganbench.errors import RunError

HUGE = 1 << 40
WEIRD: tuple[Any, ...] = (
    None, True, -1, 0, 2**70, 1.5, float("nan"), "", "x", "<script>alert(1)</script>", "../..", "\x1b[31m",
    [], [[]], {}, {"a": [1]}, [1, "2"], "9" * 5000,
)  # fmt: skip
NOISE = (
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\n\n",
    b"{",
    b"[[[",
    b"&a *a",
    b"!!int ",
    b'"',
    b",,",
    b"\\ud800",
)

# --- what is done to one file -----------------------------------------------------------------------


def truncate(path: Path, rng: random.Random) -> None:
    """Cut it short anywhere."""
    os.truncate(path, rng.randrange(path.stat().st_size + 1))


def flip(path: Path, rng: random.Random) -> None:
    """Turn over one bit, or eight."""
    content = bytearray(path.read_bytes() or b"\0")
    for _ in range(rng.choice((1, 1, 8))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def insert(path: Path, rng: random.Random) -> None:
    """Put something in between that a parser may choke on."""
    content = path.read_bytes()
    at = rng.randrange(len(content) + 1)
    path.write_bytes(content[:at] + rng.choice(NOISE) + content[at:])


def garble(path: Path, rng: random.Random) -> None:
    """Nothing, or noise, instead of it."""
    path.write_bytes(rng.randbytes(rng.choice((0, 1, 300))))


def remove(path: Path, rng: random.Random) -> None:
    """Delete it."""
    path.unlink()


def to_folder(path: Path, rng: random.Random) -> None:
    """A folder in its place."""
    path.unlink()
    path.mkdir()


def to_pipe(path: Path, rng: random.Random) -> None:
    """A pipe in its place, which nobody writes into: reading it would wait for ever."""
    path.unlink()
    os.mkfifo(path)


def to_link(path: Path, rng: random.Random) -> None:
    """A link in its place: to somebody else's file or folder, to itself, or to nowhere."""
    path.unlink()
    targets = (Path("notes.txt").absolute(), Path("pictures").absolute(), Path(path.name), Path("gone/gone"))
    path.symlink_to(rng.choice(targets))


def enlarge(path: Path, rng: random.Random) -> None:
    """A terabyte of holes after it."""
    os.truncate(path, HUGE)


def retype(path: Path, rng: random.Random) -> None:
    """One value of a JSON, YAML or CSV file becomes one of another type, or goes."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".csv":
        cells = re.split(r"([,\n])", text)
        cells[2 * rng.randrange(len(cells) // 2 + 1)] = rng.choice(
            ("", "x", "nan", "inf", "1e999", "-3", '"')
        )
        path.write_text("".join(cells), encoding="utf-8")
        return
    read, write = (json.loads, json.dumps) if path.suffix == ".json" else (yaml.safe_load, yaml.safe_dump)
    try:
        content = read(text)
    except (ValueError, yaml.YAMLError):  # another damage was here before
        return
    if places := list(_places(content)):
        node, key = rng.choice(places)
        if isinstance(node, dict) and rng.random() < 0.2:
            del node[key]
        else:
            node[key] = rng.choice(WEIRD)
    path.write_text(write(content), encoding="utf-8", errors="replace")


def rewrite_state(path: Path, rng: random.Random) -> None:
    """A checkpoint whose checksums are right and whose content is wrong."""
    try:
        state = from_bytes(path.read_bytes())
    except RunError:
        return
    key = rng.choice(list(state))
    if rng.random() < 0.3:
        del state[key]
    else:
        state[key] = rng.choice(WEIRD)
    path.write_bytes(to_bytes(state))


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield node, key
        yield from _places(value)


# --- which files ------------------------------------------------------------------------------------

Damage = Callable[[Path, random.Random], None]

TEXTS = ("run.json", "config.yaml", "scores.json", "history.csv")
CHECKPOINTS = (runs.CHECKPOINT, runs.PREVIOUS_CHECKPOINT)
FILES = (*TEXTS, "train.log", ".lock", *CHECKPOINTS, *runs.GENERATOR.values(), "samples/step_0.png")
FOLDERS = ("samples", "checkpoints", "plots", ".hydra")

DAMAGES: tuple[tuple[Damage, tuple[str, ...]], ...] = (
    (retype, TEXTS),
    (retype, TEXTS),  # twice: the most that can go wrong
    (rewrite_state, CHECKPOINTS),
    *((act, FILES) for act in (truncate, flip, insert, garble, remove, to_folder, to_pipe, to_link, enlarge)),
    *((act, FOLDERS) for act in (to_pipe, to_link, garble)),
)


def damage(run: Path, kind: int, rng: random.Random) -> str:
    """Do the `kind`-th of `DAMAGES` to one of the files it is for; what was done, in words."""
    act, names = DAMAGES[kind]
    is_kind = Path.is_dir if names is FOLDERS else Path.is_file
    present = [run / name for name in names if is_kind(run / name) and not (run / name).is_symlink()]
    present = [path for path in present if path.stat().st_size < HUGE]
    if not present:
        return "nothing"
    path = rng.choice(present)
    if names is FOLDERS:
        shutil.rmtree(path)
        path.touch()
    act(path, rng)
    return f"{act.__name__} {path.relative_to(run)}"
