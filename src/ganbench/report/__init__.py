"""Tables, verdicts and figures from run directories. Needs no torch."""

from ganbench.report.tidy import load_runs

__all__ = ["load_runs"]
