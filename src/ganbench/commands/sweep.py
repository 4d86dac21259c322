"""What becomes of the jobs of a sweep: each leaves a record, of which its end makes a table."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ganbench import runs
from ganbench.errors import UserError

REFUSED = "refused"
SWEEP = "GANBENCH_SWEEP_FOLDER"
"""Environment variable of a sweep's jobs: where each leaves what became of it."""

RESULT = "ganbench_job_"
"""What the name of a sweep's record of a job begins with; others' files may lie beside it."""


def begin(folder: Path) -> None:
    """Have the jobs of a sweep, those of other processes, too, leave their records in `folder`."""
    # Their own name for it may depend on what is swept.
    os.environ[SWEEP] = str(folder)
    for path in _records(folder):  # an earlier sweep's
        path.unlink()


def leave(result: dict[str, Any], number: int) -> None:
    """Write the record of a job, for the table at the end of its sweep."""
    runs.atomic_write_text(Path(os.environ[SWEEP]) / f"{RESULT}{number}.json", json.dumps(result))


def has_records() -> bool:
    """Whether a job of this process's sweep has left one."""
    return bool(_records(Path(os.environ.get(SWEEP, os.devnull))))


def print_table() -> tuple[int, int]:
    """Print a line for each job of the sweep that has ended; how many there are, and failed."""
    found = _records(Path(os.environ[SWEEP]))
    jobs = [json.loads(path.read_text(encoding="utf-8")) for path in found]
    shared = set.intersection(*(set(job["overrides"]) for job in jobs)) if jobs else set()
    rows = [_summary(job, shared) for job in jobs]
    print(_format_table(["run", "status", "seconds", "d_loss", "g_loss", "reason"], rows))
    failed = sum(row[1] not in (runs.COMPLETED, runs.RUNNING) for row in rows)
    # Jobs that differ in nothing a run is named by, train.stop_on say, are one.
    places = len({job.get("path", index) for index, job in enumerate(jobs)})
    count = f"{places} run{'s' if places != 1 else ''}"
    if places < len(rows):
        count = f"{len(rows)} jobs of {count}"
    count += f", {failed} not completed" if failed else ""
    if any(row[1] == runs.INTERRUPTED for row in rows):
        count += "; the same command goes on with these and begins what was not begun"
    print(count)
    return len(jobs), failed


def _records(folder: Path) -> list[Path]:
    """What the jobs of a sweep left to tell, in their order."""
    numbers = {path: path.stem.removeprefix(RESULT) for path in folder.glob(f"{RESULT}*.json")}
    found = [path for path, number in numbers.items() if number.isdigit()]
    return sorted(found, key=lambda path: int(numbers[path]))


def _summary(job: dict[str, Any], shared: set[str]) -> list[str]:
    """A row of the sweep's table, its figures from the run directory.

    A job that was refused has none: it is called by its overrides, but for those that all jobs have.
    """
    own = [text for text in job["overrides"] if text not in shared] or job["overrides"]
    name = job["run"] if "run" in job and job["status"] != REFUSED else " ".join(own)
    status, reason, cells = job["status"], job["reason"] or "", ["", "", ""]
    if "path" in job:
        try:
            record = runs.read_run(job["path"])
            cells[0] = f"{record.info['seconds']['train']:.1f}"
            last = record.history[-1] if record.history else {}
            cells[1:] = [f"{last[key]:.4g}" if key in last else "" for key in ("d_loss", "g_loss")]
        except (UserError, KeyError, TypeError) as error:
            reason = reason or str(error)
    return [name, status, *cells, " ".join(reason.split())]


def _format_table(header: list[str], rows: list[list[str]]) -> str:
    """Plain text in columns."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
