"""What a probe found out about a server: which it is, how it is asked, how its labels are read, what it cannot do."""

from typing import Literal

from solon.lm.server.settings import Api
from solon.records import Layout, Record

Kind = Literal["vllm", "sglang", "llama.cpp", "llama-cpp-python", "other"]
"""Servers that are known by what they say of themselves; what is sent to `other` is in OpenAI's own schema."""

VOTES = "votes"
"""The dialect of a server without log-probabilities: answers are drawn and counted."""


class Findings(Record):
    """What is known of a served model.

    Attributes:
        kind: the server.
        model: the name that it serves the model by.
        root: what it says that the name stands for; empty where it does not say.
        api: the route that text is asked by.
        layout: how prompts are laid out.
        tokenizer: digest of the tokenizer by which prompts go as token ids; empty where they go as texts.
        limit: the field by which the server takes the number of tokens.
        takes_seed: whether draws are seeded.
        draws: False where texts at a high temperature are all the same: it writes greedily whatever it is told.
        continues: whether it goes on with a turn of the assistant that is left open.
        counts_tokens: whether it says how many tokens it read and wrote; where it does not, records say 0.
        raw: whether log-probabilities of generated tokens are those before temperature and masks; None where that
            could not be told.
        context: the most tokens of prompt and answer; None where it does not say.
        dialect: how labels are read; empty where they cannot be.
        votes: answers drawn for each label; None where labels are read otherwise.
        fault: why labels cannot be read.
    """

    kind: Kind
    model: str
    root: str = ""
    api: Api
    layout: Layout
    tokenizer: str = ""
    limit: str = "max_tokens"
    takes_seed: bool = True
    draws: bool = True
    continues: bool = False
    counts_tokens: bool = True
    raw: bool | None = None
    context: int | None = None
    dialect: str = ""
    votes: int | None = None
    fault: str = ""

    @property
    def identity(self) -> str:
        """What decides answers, and not where the server stands: equal after it moved, not for another model."""
        parts = [self.kind, self.api, self.layout, f"labels {self._labels}"]
        if self.root and self.root != self.model:
            parts.append(f"root {self.root}")
        if self.tokenizer:
            parts.append(f"tokenizer {self.tokenizer}")
        if self.continues:
            parts.append("open turns continued")
        return f"{self.model}@server({', '.join(parts)})"

    @property
    def facts(self) -> dict[str, str]:
        """What of this a reader of a run's records should know, in words."""
        prompts = "token ids" if self.tokenizer else "messages" if self.api == "chat" else "text"
        facts = {"server": self.kind, "model": self.model, "route": self.api, "prompts": prompts}
        if self.root and self.root != self.model:
            facts["root"] = self.root
        facts["labels"] = self._labels if self.dialect else f"none: {self.fault}"
        if not self.takes_seed:
            facts["seeds"] = "not taken"
        if not self.draws:
            facts["draws"] = "the same at every temperature"
        if not self.counts_tokens:
            facts["tokens"] = "not counted"
        return facts

    def describe_lack(self) -> str:
        """Say why no labels are read from a server, and what to do."""
        return (
            f"no labels are read from this server ({self.fault}): update the server, give the folder of the model's "
            "tokenizer as server.tokenizer, or give this role another model"
        )

    @property
    def _labels(self) -> str:
        dialect = self.dialect or "none"
        return dialect if self.votes is None else f"{dialect} of {self.votes}"
