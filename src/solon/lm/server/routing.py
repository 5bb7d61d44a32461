"""How a prompt of a role reaches its server, and the two questions by which a server is tried out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from solon.errors import CallFailedError
from solon.lm.server.asking import CONTROL_STRINGS, Asked, Tokens, ask_in_text, ask_in_turns
from solon.lm.server.findings import Findings
from solon.lm.server.settings import ServerSettings
from solon.records import Layout, Rendered, Role, Span, TemplateArgument, Turn

TRIED: Final = (
    "Which letter comes first in the alphabet, A or B? Answer with one letter.",
    "Which letter comes last in the alphabet, A or B? Answer with one letter.",
)
"""What a server is asked to see what it does."""

TRIED_OPTIONS: Final = ("A", "B")
"""What either is answered with."""


@dataclass(frozen=True)
class Wanted:
    """What is to be found out about which model.

    Attributes:
        model: the name that the servers know it by.
        layout: how its prompts are laid out.
        settings: how it is asked.
        tokens: its tokenizer, if that is at hand.
        template_kwargs: what its chat template is told beside the conversation.
    """

    model: str
    layout: Layout
    settings: ServerSettings
    tokens: Tokens | None = None
    template_kwargs: Mapping[str, TemplateArgument] | None = None


def ask(findings: Findings, prompt: Rendered, tokens: Tokens | None, template_kwargs: Mapping[str, object]) -> Asked:
    """Return a prompt as this server takes it.

    Raises:
        CallFailedError: it cannot be sent safely, or not by the route that this server has.
    """
    if tokens is not None and findings.tokenizer:
        return Asked(ids=tuple(tokens.prompt(prompt)))
    control = CONTROL_STRINGS if tokens is None else tokens.control
    if findings.api == "completions":
        if prompt.layout != "transcript":
            raise CallFailedError("completions take turns of a chat only as token ids: give server.tokenizer")
        return ask_in_text(prompt, control)
    return ask_in_turns(prompt, control, continues=findings.continues, template_kwargs=dict(template_kwargs))


def word(prompt: Rendered, tokens: Tokens | None) -> Asked:
    """Return a prompt for a route with a template of its own, which takes one text."""
    control = CONTROL_STRINGS if tokens is None else tokens.control
    if prompt.layout == "transcript":
        return ask_in_text(prompt, control)
    return ask_in_turns(prompt, control, continues=False)


def lay_out_question(layout: Layout, text: str) -> Rendered:
    """Return a question of `TRIED` as a role's prompts are laid out."""
    if layout == "transcript":
        return Rendered(layout="transcript", turns=(template_turn("user", f"{text}\nAnswer:"),))
    return Rendered(layout="chat", turns=(template_turn("user", text),))


def template_turn(role: Role, text: str) -> Turn:
    """Return a turn that holds nothing from outside."""
    return Turn(role=role, spans=(Span(text=text, trusted=True),))
