"""Render the prompts of every stage, in every layout, through one code path.

A prompt is a sequence of blocks (a user's message, a critique request, a comparison), each with a template of
its own. In the `chat` layout a block is a turn; in the `transcript` layout, for models without a chat template,
the blocks follow each other in one text. The block that the model is to write is opened: rendered up to its
field. A few-shot exemplar is the same blocks, filled to the end, before those of the item.

In the `single` layout a critique or a revision is asked for in one turn of the user, which holds the request, the
response and what is asked, and an exemplar is such a turn with its answer: for small models that have a chat
template and do not follow what a dialogue of critique and revision asks of them. Earlier turns of a conversation
stand before its request. All else is as in `chat`.

Nothing here calls a model or draws randomness. What is sent is a `Rendered`; how it becomes tokens is the
backend's part.

Departures from the paper: (1) the comparison ends in an open parenthesis, so that the options are one letter
and differ in their first token; (2) a chain of thought and its answer are written in one turn of the
assistant; (3) in the chat layout a comparison asks its question after the two responses, so that questions
under several principles share what comes before; (4) in the single layout the critique request is not repeated
before a revision, nor an exemplar shown further than what is asked; (5) a question may be asked about one response
alone.

Reference: Bai et al. 2022 (arXiv 2212.08073), sections 3.1, 4.1 and appendix E.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from solon.constitution.principles import ComparisonExemplar, Principle, RevisionExemplar
from solon.errors import PromptingError
from solon.prompting.filling import Value
from solon.prompting.layouts import LayoutLike, Templates, as_templates
from solon.records import Conversation, PromptKind, Rendered, Role, Span, Turn

OPTIONS: Final[tuple[str, str]] = ("A", "B")
"""What a comparison is continued with: the letter of the better response."""

ANSWERS: Final[tuple[str, str]] = ("Yes", "No")
"""What a question about one response is answered with; the model may spell them otherwise."""

_ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "critique_request": "user",
    "critique": "assistant",
    "revision_request": "user",
    "revision": "assistant",
    "comparison": "user",
    "question": "user",
    "answer": "assistant",
    "reasoned_answer": "assistant",
    "more_red_team": "user",
    "more_helpful": "user",
    "more_prompts": "assistant",
}


@dataclass(frozen=True, slots=True)
class _Block:
    """A block and its values; `open_at` names the field that the model writes, None where all is given."""

    name: str
    values: Mapping[str, Value]
    open_at: str | None = None


def _assemble(templates: Templates, blocks: Sequence[_Block], stop: tuple[str, ...]) -> Rendered:
    filled: list[tuple[Role, tuple[Span, ...]]] = []
    for block in blocks:
        template = templates.load(block.name)
        spans = template.fill(block.values) if block.open_at is None else template.open(block.open_at, block.values)
        if spans:
            filled.append((_ROLES[block.name], spans))
    if templates.layout == "transcript":
        filled = [("user", tuple(span for _, spans in filled for span in spans))]
    turns = tuple(Turn(role=role, spans=spans) for role, spans in filled)
    return Rendered(layout="transcript" if templates.layout == "transcript" else "chat", turns=turns, stop=stop)


def _messages(conversation: Conversation) -> Iterator[_Block]:
    for message in conversation.messages:
        yield _Block(message.role, {"text": message.text})


def _asking(conversation: Conversation) -> Conversation:
    if conversation.messages[-1].role != "user":
        raise PromptingError("the conversation ends with the assistant's message: it must end with the user's")
    return conversation


def _after_system(blocks: Sequence[_Block], exemplars: Sequence[_Block]) -> list[_Block]:
    """Put exemplars before the item, but after its system message, which chat templates want first."""
    start = next((i for i, block in enumerate(blocks) if block.name != "system"), 0)
    return [*blocks[:start], *exemplars, *blocks[start:]]


def _wanted(principle: Principle, field: str, text: str | None) -> str:
    if text is None:
        raise PromptingError(f"principle '{principle.id}' has no {field}: choose among those that have one")
    return text


# ------------------------------------------------------------------------------------- system prompts


def add_system_prompt(rendered: Rendered, system_prompt: str | None, layout: LayoutLike | None = None) -> Rendered:
    """Put a model's system prompt before a prompt of any kind.

    In the `chat` layout it is the system turn, in the `transcript` layout a block like that of a system message. Where
    the prompt has a system message of its own, that comes after it: in the same turn, of which chat templates take one,
    or in a block of its own. It is shown as written, like the constitution, and like all text becomes no control token.

    Args:
        rendered: the prompt.
        system_prompt: what comes first; None leaves the prompt as it is.
        layout: the model's; None for the package's templates.
    """
    if system_prompt is None:
        return rendered
    first, *rest = rendered.turns
    templates = as_templates(layout or rendered.layout)
    if (templates.layout == "transcript") != (rendered.layout == "transcript"):  # not as the model says
        templates = Templates(rendered.layout, templates.own)
    spans = templates.load("system").fill({"text": (Span(text=system_prompt, trusted=False),)})
    if rendered.layout == "transcript":
        turns = [Turn(role=first.role, spans=(*spans, *first.spans))]
    elif first.role == "system":
        turns = [Turn(role="system", spans=(*spans, Span(text="\n\n", trusted=False), *first.spans)), *rest]
    else:
        turns = [Turn(role="system", spans=spans), first, *rest]
    return rendered.model_copy(update={"turns": tuple(turns)})


# --------------------------------------------------------------------------------- response, stage 1


def response_stops(layout: LayoutLike) -> tuple[str, ...]:
    """Return the strings that end a response in a layout, as its end token does: a model without turns writes on."""
    return as_templates(layout).turn_stops


def response_lead(layout: LayoutLike) -> str:
    """Return the spaces that a layout has before a response; after a prompt it is the model that writes them."""
    return as_templates(layout).load("assistant").lead("text")


def revision_lead(layout: LayoutLike) -> str:
    """Return the same before a revision."""
    return as_templates(layout).load("revision").lead("text")


def render_response(conversation: Conversation, layout: LayoutLike = "chat") -> Rendered:
    """Ask for the assistant's next message.

    Raises:
        PromptingError: the conversation does not end with a user message.
    """
    templates = as_templates(layout)
    blocks = [*_messages(_asking(conversation)), _Block("assistant", {}, open_at="text")]
    return _assemble(templates, blocks, templates.turn_stops)


def render_critique(
    conversation: Conversation,
    response: str,
    principle: Principle,
    *,
    layout: LayoutLike = "chat",
    exemplars: Sequence[RevisionExemplar] = (),
) -> Rendered:
    """Ask what is wrong with a response.

    Args:
        conversation: ends with a user message.
        response: the response as it stands, revised or not.
        principle: has a critique request.
        layout: how the prompt is laid out.
        exemplars: worked ones, shown first.

    Raises:
        PromptingError: the principle has no critique request, or the conversation does not end with the user.
    """
    templates = as_templates(layout)
    request = _wanted(principle, "critique_request", principle.critique_request)
    item = [*_ask_critique(templates, conversation, response, request), _Block("critique", {}, open_at="text")]
    shots = [block for exemplar in exemplars for block in _critique_shot(templates, exemplar, principle)]
    return _assemble(templates, _after_system(item, shots), templates.turn_stops)


def render_revision(
    conversation: Conversation,
    response: str,
    principle: Principle,
    critique: str | None,
    *,
    layout: LayoutLike = "chat",
    exemplars: Sequence[RevisionExemplar] = (),
) -> Rendered:
    """Ask for a better response.

    Args:
        conversation: ends with a user message.
        response: the response that was criticised.
        principle: has a revision request.
        critique: what was found wrong; None asks for a revision directly.
        layout: how the prompt is laid out.
        exemplars: worked ones, shown first, without their critiques where there is none here.

    Raises:
        PromptingError: the principle has no revision request, or the conversation does not end with the user.
    """
    templates = as_templates(layout)
    direct = critique is None
    critiqued = None if critique is None else (_critique_request(principle), critique)
    request = _wanted(principle, "revision_request", principle.revision_request)
    asked = _ask_revision(templates, conversation, response, critiqued, request)
    item = [*asked, _Block("revision", {}, open_at="text")]
    shots = [block for exemplar in exemplars for block in _revision_shot(templates, exemplar, principle, direct=direct)]
    return _assemble(templates, _after_system(item, shots), templates.turn_stops)


def _ask_critique(templates: Templates, conversation: Conversation, response: str, request: str) -> list[_Block]:
    """Return what stands before a critique."""
    if templates.layout == "single":
        said = _said_so_far(templates, conversation, response)
        return [_Block("critique_request", {"conversation": said, "request": request})]
    return [*_answered(conversation, response), _Block("critique_request", {"request": request})]


def _ask_revision(
    templates: Templates, conversation: Conversation, response: str, critiqued: tuple[str, str] | None, request: str
) -> list[_Block]:
    """Return what stands before a revision; `critiqued` is a critique request and its critique."""
    if templates.layout == "single":
        said = _said_so_far(templates, conversation, response, None if critiqued is None else critiqued[1])
        return [_Block("revision_request", {"conversation": said, "request": request})]
    asked = _Block("revision_request", {"request": request})
    if critiqued is None:
        return [*_answered(conversation, response), asked]
    wanted, critique = critiqued
    return [*_ask_critique(templates, conversation, response, wanted), _Block("critique", {"text": critique}), asked]


def _answered(conversation: Conversation, response: str) -> Iterator[_Block]:
    yield from _messages(_asking(conversation))
    yield _Block("assistant", {"text": response})


def _said_so_far(
    templates: Templates, conversation: Conversation, response: str, critique: str | None = None
) -> tuple[Span, ...]:
    """Write a dialogue down up to the critique, for the single layout: its last two messages are what is judged."""
    *earlier, last = _asking(conversation).messages
    said = [(f"said_{message.role}", message.text) for message in earlier]
    said += [("said_request", last.text), ("said_response", response)]
    if critique is not None:
        said.append(("said_critique", critique))
    return _join(templates, "conversation", [templates.load(name).fill({"text": text}) for name, text in said])


def _critique_request(principle: Principle, own: str | None = None) -> str:
    return _wanted(principle, "critique_request", own or principle.critique_request)


def _critique_shot(templates: Templates, exemplar: RevisionExemplar, principle: Principle) -> list[_Block]:
    if templates.layout != "single":  # a dialogue is shown to its end
        return _revision_shot(templates, exemplar, principle, direct=False)
    request = _critique_request(principle, exemplar.critique_request)
    asked = _ask_critique(templates, exemplar.conversation, exemplar.response, request)
    return [*asked, _Block("critique", {"text": exemplar.critique})]


def _revision_shot(
    templates: Templates, exemplar: RevisionExemplar, principle: Principle, *, direct: bool
) -> list[_Block]:
    critiqued = None if direct else (_critique_request(principle, exemplar.critique_request), exemplar.critique)
    request = _wanted(principle, "revision_request", exemplar.revision_request or principle.revision_request)
    asked = _ask_revision(templates, exemplar.conversation, exemplar.response, critiqued, request)
    return [*asked, _Block("revision", {"text": exemplar.revision})]


# -------------------------------------------------------------------------------------------- stage 2


def render_comparison(
    conversation: Conversation,
    response_a: str,
    response_b: str,
    principle: Principle,
    *,
    layout: LayoutLike = "chat",
    exemplars: Sequence[ComparisonExemplar] = (),
    reasoning: str | None = None,
) -> Rendered:
    """Ask which of two responses is better; the continuation is one of `OPTIONS`.

    Args:
        conversation: ends with a user message.
        response_a: shown as option (A).
        response_b: shown as option (B).
        principle: has a comparison instruction.
        layout: how the prompt is laid out.
        exemplars: worked ones, shown first; with their chains of thought if there is one here, and then only those
            that have one.
        reasoning: the chain of thought that `render_reasoning` brought, after which the options are weighed; None
            weighs them directly.

    Raises:
        PromptingError: the principle has no comparison instruction, or the conversation does not end with the
            user.
    """
    templates = as_templates(layout)
    if reasoning is None:
        answer = _Block("answer", {}, open_at="option")
    else:
        answer = _Block("reasoned_answer", {"reasoning": reasoning}, open_at="option")
    instruction = _wanted(principle, "comparison", principle.comparison)
    item = [_compared(templates, conversation, response_a, response_b, instruction), answer]
    shots = _comparison_shots(templates, exemplars, instruction, reasoned=reasoning is not None)
    return _assemble(templates, [*shots, *item], ())


def render_reasoning(
    conversation: Conversation,
    response_a: str,
    response_b: str,
    principle: Principle,
    *,
    layout: LayoutLike = "chat",
    exemplars: Sequence[ComparisonExemplar] = (),
) -> Rendered:
    """Ask for a chain of thought about two responses; `render_comparison` with it asks for the answer.

    Arguments and errors are those of `render_comparison`. The text stops where the answer would begin, whether
    the model ends its turn there or writes on.
    """
    templates = as_templates(layout)
    instruction = _wanted(principle, "comparison", principle.comparison)
    item = [
        _compared(templates, conversation, response_a, response_b, instruction),
        _Block("reasoned_answer", {}, open_at="reasoning"),
    ]
    shots = _comparison_shots(templates, exemplars, instruction, reasoned=True)
    return _assemble(templates, [*shots, *item], templates.reasoning_stops)


def render_question(
    conversation: Conversation, response: str, principle: Principle, *, layout: LayoutLike = "chat"
) -> Rendered:
    """Ask a question about one response; the continuation is one of `ANSWERS`.

    Args:
        conversation: ends with a user message.
        response: the one it is about.
        principle: has a question.
        layout: how the prompt is laid out.

    Raises:
        PromptingError: the principle has no question, or the conversation does not end with the user.
    """
    templates = as_templates(layout)
    question = _wanted(principle, "question", principle.question)
    said = _join(templates, "conversation", _said(templates, conversation))
    values: dict[str, Value] = {"conversation": said, "response": response, "question": question}
    return _assemble(templates, [_Block("question", values), _Block("assistant", {}, open_at="text")], ())


def _said(templates: Templates, conversation: Conversation) -> list[tuple[Span, ...]]:
    return [
        templates.load(f"said_{message.role}").fill({"text": message.text})
        for message in _asking(conversation).messages
    ]


def _compared(
    templates: Templates, conversation: Conversation, response_a: str, response_b: str, instruction: str
) -> _Block:
    values: dict[str, Value] = {
        "conversation": _join(templates, "conversation", _said(templates, conversation)),
        "instruction": instruction,
        "response_a": response_a,
        "response_b": response_b,
    }
    return _Block("comparison", values)


def _comparison_shots(
    templates: Templates, exemplars: Sequence[ComparisonExemplar], instruction: str, *, reasoned: bool
) -> Iterator[_Block]:
    for exemplar in exemplars:
        if reasoned and not exemplar.reasoning:
            continue
        yield _compared(
            templates,
            exemplar.conversation,
            exemplar.response_a,
            exemplar.response_b,
            exemplar.comparison or instruction,
        )
        option = OPTIONS[0] if exemplar.better == "a" else OPTIONS[1]
        if reasoned:
            yield _Block("reasoned_answer", {"reasoning": exemplar.reasoning, "option": option})
        else:
            yield _Block("answer", {"option": option})


def _join(templates: Templates, name: str, lines: Sequence[tuple[Span, ...]]) -> tuple[Span, ...]:
    template = templates.load(name)
    joined = lines[0]
    for line in lines[1:]:
        joined = template.fill({"earlier": joined, "line": line})
    return joined


# -------------------------------------------------------------------------------------------- prompts


def render_prompt_list(kind: PromptKind, prompts: Sequence[str], layout: LayoutLike = "chat") -> Rendered:
    """Ask for more prompts like those given; the model writes one on each line.

    Args:
        kind: what kind of prompts they are.
        prompts: at least one; each is brought onto one line.
        layout: how the prompt is laid out.

    Raises:
        PromptingError: there are no prompts.
    """
    templates = as_templates(layout)
    if not prompts:
        raise PromptingError("a list of prompts needs at least one to go on from")
    listed = templates.load("listed_prompt")
    lines = _join(templates, "prompt_list", [listed.fill({"prompt": prompt}) for prompt in prompts])
    blocks = [_Block(f"more_{kind}", {"prompts": lines}), _Block("more_prompts", {}, open_at="text")]
    return _assemble(templates, blocks, templates.list_stops)
