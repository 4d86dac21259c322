"""Checkpoints: a state as bytes, and back only if it is whole.

The file is what `torch.save` writes, a zip archive whose records carry checksums. It is read with
``weights_only=True``, so loading one executes nothing.
"""

from __future__ import annotations

import io
import logging
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from ganbench.errors import RunError, first_line
from ganbench.runs import CHECKPOINT, PREVIOUS_CHECKPOINT, NewerSchemaError, confined

SCHEMA = 1
FOLDER = 0x10
"""MS-DOS's attribute of folders (PKWARE's APPNOTE 4.4.15)."""

log = logging.getLogger(__name__)


def to_bytes(state: dict[str, Any]) -> bytes:
    """Serialise a state of tensors and plain values."""
    buffer = io.BytesIO()
    torch.save({"schema": SCHEMA, **state}, buffer)
    return buffer.getvalue()


def from_bytes(data: bytes) -> dict[str, Any]:
    """The state, on the host.

    Raises:
        RunError: truncated, altered, or not a checkpoint.
        NewerSchemaError: of a newer schema.
        MemoryError: there is not enough memory for it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # torch stores its records as they are; a few compressed bytes could fill the memory. One that
            # is marked as a folder it takes for read without reading it: the tensor is what memory held.
            if any(
                record.compress_type != zipfile.ZIP_STORED or _is_folder(record)
                for record in archive.infolist()
            ):
                raise RunError("not a checkpoint of ganbench")
            damaged = archive.testzip()
        if damaged is not None:
            raise RunError(f"checksum of {damaged} does not match")
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RunError, MemoryError):
        raise
    except pickle.UnpicklingError as error:  # torch's own text tells how to load it all the same
        raise RunError("unreadable: it holds something else than tensors and plain values") from error
    except Exception as error:  # a damaged archive can fail anywhere in zip, pickle or torch
        raise RunError(f"unreadable: {first_line(error)}") from error
    if not isinstance(state, dict) or not isinstance(state.get("schema"), int):
        raise RunError("not a checkpoint of ganbench")
    if state["schema"] > SCHEMA:
        raise NewerSchemaError(f"written by a newer ganbench (schema {state['schema']}); upgrade ganbench")
    return state


def _is_folder(record: zipfile.ZipInfo) -> bool:
    return record.is_dir() or bool(record.external_attr & FOLDER)


def load_latest(folder: Path, config_hash: str) -> dict[str, Any] | None:
    """The last whole checkpoint of this configuration, else the one before it, else None.

    Each one passed over is logged with the reason.

    Raises:
        RunError: one that comes first cannot be read here and may be whole all the same: whoever goes on
            without it writes over it.
    """
    for name in (CHECKPOINT, PREVIOUS_CHECKPOINT):
        path = folder / name
        if not path.exists():
            continue
        try:
            state = from_bytes(confined(folder, name).read_bytes())
            if state.get("config_hash") != config_hash:
                raise RunError("belongs to another configuration")
        except (OSError, MemoryError, NewerSchemaError) as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            raise RunError(
                f"{path}: cannot be read: {reason}; mend that, or move it away to go on without it"
            ) from error
        except RunError as error:
            log.warning("%s: %s; not used", path, error)
        else:
            return state
    return None
