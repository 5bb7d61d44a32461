"""The report of a run: a run folder in, one page out.

It reads records and nothing else; it cannot import training and works without torch.
"""

from solon.report.load import load_run_results
from solon.report.page import write_report

__all__ = ["load_run_results", "write_report"]
