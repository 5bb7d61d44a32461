"""Says which model calls the records of a run name and its journal, deleted, emptied or replaced, no longer holds.

A call is in the journal before its result is used, and never leaves it, so a call that is named is there.
"""

import re

from solon.errors import JournalError
from solon.lm.journal import read_keys
from solon.records import RunPaths
from solon.storage import read_text

_NAMED = re.compile(r'"call":"([^"\\]+)"')  # in the text of an answer the quotation marks would be escaped


def describe_lost_calls(paths: RunPaths) -> str | None:
    """Say how many of the calls that a run's records name are not in its journal; None where all are.

    Raises:
        RecordError: a record file cannot be read.
    """
    files = sorted(paths.records("").parent.glob("*.jsonl"))
    named = {key for file in files for key in _NAMED.findall(read_text(file))}
    try:
        lost = named - read_keys(paths.journal) if named else named
    except JournalError:  # missing, or no journal: it holds none of them
        lost = named
    if not lost:
        return None
    return (
        f"{paths.journal.name}: lacks {len(lost)} of the {len(named)} model calls that the records of this run name: "
        "restore it from a copy; without it they cannot be shown, and a stage that is done again makes them again"
    )
