"""The run directory: its only reader and its only writer. Needs no torch.

Every file but the log and TensorBoard's is written whole or not at all; a process that works in a run
directory holds its lock, which the operating system lets go of when the process dies, however it dies. Other
rooms import from the package; what a module does not share stays its own.
"""

from ganbench.runs.atomic import atomic_write_bytes, atomic_write_text
from ganbench.runs.directory import RunDirectory, UnwritableError, without_nan
from ganbench.runs.history import HISTORY_COLUMNS, METRICS
from ganbench.runs.layout import (
    CHECKPOINT,
    COMPLETED,
    DIVERGED,
    FAILED,
    GENERATOR,
    HYDRAS,
    INTERRUPTED,
    PREVIOUS_CHECKPOINT,
    RUNNING,
    SCHEMA,
)
from ganbench.runs.lock import RunHeldError, holder, was_held
from ganbench.runs.log import logged_to
from ganbench.runs.reading import NewerSchemaError, confined, load_yaml, read_text
from ganbench.runs.record import RunRecord, find_runs, read_run, read_scores
