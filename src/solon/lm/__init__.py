"""Language models behind one protocol, and what a stage needs around them.

`protocol` says what may be asked. `local` answers with a model in this process (needs torch; imported by its own
name, so that the rest works without), `scripted` with functions in tests. `journaled` replays what a `journal`
remembers and adds what it does not. `responding` has a model answer a conversation. `runner` runs a stage's items side
by side, and keeps the failure of one from the others.
"""

from solon.lm.journal import Journal, StoredCall, read_call
from solon.lm.journaled import CallCounter, JournaledModel
from solon.lm.lost import describe_lost_calls
from solon.lm.protocol import LanguageModel
from solon.lm.responding import respond
from solon.lm.runner import ItemResults, OnProgress, check_failures, run_items
from solon.lm.scripted import ScriptedModel

__all__ = [
    "CallCounter",
    "ItemResults",
    "Journal",
    "JournaledModel",
    "LanguageModel",
    "OnProgress",
    "ScriptedModel",
    "StoredCall",
    "check_failures",
    "describe_lost_calls",
    "read_call",
    "respond",
    "run_items",
]
