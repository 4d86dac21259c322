"""What is slow to find and the same every time, kept on disk under the hash of its origin."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ganbench.runs import atomic_write_bytes

log = logging.getLogger(__name__)

Tensors = dict[str, Tensor]

FORMAT = 1
"""Raised when what is computed for a key changes, so that older files are not found any more."""


def cache_folder() -> Path:
    """``$GANBENCH_CACHE``, else ``$XDG_CACHE_HOME/ganbench``, else ``~/.cache/ganbench``.

    For a user without a home, below the folder of temporary files.
    """
    chosen, base = (os.environ.get(name) for name in ("GANBENCH_CACHE", "XDG_CACHE_HOME"))
    try:
        return Path(chosen).expanduser() if chosen else Path(base or "~/.cache").expanduser() / "ganbench"
    except RuntimeError as error:
        folder = Path(tempfile.gettempdir(), "ganbench-cache")
        log.warning("no place for the cache (%s): it is in %s; set GANBENCH_CACHE to another", error, folder)
        return folder


class Cache:
    """Tensors on disk by key. A file is written whole or not at all; a damaged one is made again.

    Any number of processes may use one folder at once: the last writer wins, with the same content.
    Where the folder cannot be written everything works without it, and that is logged once.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()
        self._writable = True

    def fetch(self, kind: str, key: Mapping[str, Any], compute: Callable[[], Tensors]) -> Tensors:
        """Tensors kept under `kind` and `key` (JSON values), else those of `compute`, now kept."""
        described = json.dumps({"format": FORMAT, "kind": kind, **key}, sort_keys=True)
        digest = hashlib.sha256(described.encode()).hexdigest()
        path = self.folder / f"{kind}-{digest[:32]}.safetensors"
        kept = _read(path, described)
        if kept is not None:
            return kept
        found = {name: tensor.contiguous() for name, tensor in compute().items()}
        self._write(path, found, described)
        return found

    def _write(self, path: Path, tensors: Tensors, described: str) -> None:
        from safetensors.torch import save

        if not self._writable:
            return
        content = save(tensors, {"key": described, "sha256": _digest(tensors)})
        try:
            atomic_write_bytes(path, content)
        except OSError as error:
            self._writable = False
            log.warning("cannot write the cache %s (%s): going on without it", self.folder, error)


def _read(path: Path, described: str) -> Tensors | None:
    """The tensors of a sound file made for this key, else None."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        # Read whole and once: another process may replace or remove the file meanwhile.
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("cannot read the cache file %s (%s): making it again", path, error)
        return None
    try:
        tensors, said = load(content), _metadata(content)
    except (SafetensorError, ValueError, KeyError) as error:
        log.warning("cache file %s is damaged (%s): making it again", path, error)
        return None
    if said.get("key") != described or said.get("sha256") != _digest(tensors):
        log.warning("cache file %s is damaged: making it again", path)
        return None
    return tensors


def _metadata(content: bytes) -> dict[str, str]:
    """The text that a safetensors file carries; its header is JSON after eight bytes of length."""
    length = int.from_bytes(content[:8], "little")
    return dict(json.loads(content[8 : 8 + length])["__metadata__"])


def _digest(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)};".encode())
        digest.update(tensors[name].contiguous().numpy().data)
    return digest.hexdigest()
