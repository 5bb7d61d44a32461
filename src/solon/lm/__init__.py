"""Language models behind one protocol, and what a stage needs around them.

`protocol` says what may be asked, and `spec` which model answers: one of the `backends`, `local` with a model in this
process (needs torch; imported by its own name, so that the rest works without), `scripted` by a file, or functions in
tests. A model around another is a `passing` one: `journaled` replays what a `journal` remembers and adds what it does
not, with the `tries` that it took at a server and the `uses` that roles had of it, as far as `spending` allows;
`system_prompt` stands before it where a role has one, and `templates` where a run has its own. `responding` has a model
answer a conversation, and takes an answer that was cut off up to its last whole sentence (`sentences`).
`thoughts` keeps what a model thought apart from what it answers. `spelling` knows how a model may spell an option.
`runner` runs a stage's items side by side, and keeps the failure of one from the others.
"""

from solon.lm.backends.scripted import ScriptedModel
from solon.lm.journal import Journal, StoredCall, read_call, read_keys, read_tries, read_uses
from solon.lm.journaled import CallCounter, JournaledModel
from solon.lm.lost import describe_lost_calls
from solon.lm.protocol import LanguageModel, NamedModel, find_nameless_identity
from solon.lm.responding import respond
from solon.lm.runner import ItemResults, OnProgress, PartEndedError, check_failures, run_items, run_parts
from solon.lm.spec import Backend, ModelSpec, find_backend
from solon.lm.spelling import SpellingModel, find_spellings
from solon.lm.spending import Account, Caps, Price, Spending
from solon.lm.system_prompt import with_system_prompt
from solon.lm.templates import with_templates
from solon.lm.thoughts import Thinking, keep_thought_apart
from solon.lm.tries import ServerTries
from solon.lm.uses import RoleTries, RoleUse

__all__ = [
    "Account",
    "Backend",
    "CallCounter",
    "Caps",
    "ItemResults",
    "Journal",
    "JournaledModel",
    "LanguageModel",
    "ModelSpec",
    "NamedModel",
    "OnProgress",
    "PartEndedError",
    "Price",
    "RoleTries",
    "RoleUse",
    "ScriptedModel",
    "ServerTries",
    "SpellingModel",
    "Spending",
    "StoredCall",
    "Thinking",
    "check_failures",
    "describe_lost_calls",
    "find_backend",
    "find_nameless_identity",
    "find_spellings",
    "keep_thought_apart",
    "read_call",
    "read_keys",
    "read_tries",
    "read_uses",
    "respond",
    "run_items",
    "run_parts",
    "with_system_prompt",
    "with_templates",
]
