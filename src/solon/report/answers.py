"""Answers as a report shows them: in the words of the models, with their grades, side by side."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from solon.records import BASE, AskedResults, Conversation, EvalPrompt, EvalRecord, Prompt, Sample
from solon.storage import content_digest

SHOWN = 5
"""How many prompts of a group stand with all answers to them."""

CUT_OFF = "cut by the token limit"
"""What is said of an answer that the token limit cut off, in every table and beside every text."""

_UNANSWERED = "(no answer is on record: the call for it came to nothing)"


def choose_prompts(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompts whose ids have the smallest digests.

    That depends on the prompts alone, not on what was answered, and nobody can choose by it what is shown.
    """
    return sorted(prompts, key=lambda prompt: content_digest(prompt.id))[:SHOWN]


def compare_answers(
    asked: Sequence[AskedResults],
    prompts: Sequence[EvalPrompt],
    answers: Sequence[EvalRecord],
    names: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Return, group by group of each evaluation, the prompts that are shown with the first answer of every model.

    Args:
        asked: the evaluations.
        prompts: all that was asked in them.
        answers: all that was answered, the draws of a model for a prompt in their order.
        names: model to what the report calls it, the base first.
    """
    first: dict[tuple[str, str, str, str], EvalRecord] = {}
    for answer in answers:
        first.setdefault((answer.evaluation, answer.group, answer.prompt.id, answer.model_name), answer)
    groups = []
    for one in asked:
        for group in one.groups:
            members = [item.prompt for item in prompts if (item.evaluation, item.group) == (one.name, group)]
            shown = []
            for prompt in choose_prompts(members):
                found = {name: first.get((one.name, group, prompt.id, name)) for name in names}
                said = list(_columns(one, names, found))
                shown.append({"prompt": write_conversation(prompt.conversation), "answers": said})
            if shown:
                caption = f"{one.caption or one.name}, {group}"
                groups.append({"caption": caption, "of": len(members), "shown": shown})
    return groups


def _columns(
    asked: AskedResults, names: Mapping[str, str], found: Mapping[str, EvalRecord | None]
) -> Iterator[dict[str, str]]:
    """Yield the answer of each model; the base's of an evaluation by pairs is what the others were compared with."""
    for name, title in names.items():
        record = found[name]
        if record is not None:
            yield {"name": title, "mark": describe_mark(record), "text": write_response(record.response)}
        elif asked.paired and name == BASE:
            beside = next((other.reference for other in found.values() if other is not None), None)
            text = _UNANSWERED if beside is None else write_response(beside)
            yield {"name": title, "mark": "what the others were compared with", "text": text}
        else:
            yield {"name": title, "mark": "", "text": _UNANSWERED}


def write_conversation(conversation: Conversation) -> str:
    """Return what was said as text; who said it stands before each turn where there are several."""
    messages = conversation.messages
    if len(messages) == 1:
        return messages[0].text
    return "\n\n".join(f"{message.role}: {message.text}" for message in messages)


def write_response(response: Sample) -> str:
    """Return a response as text, or why there is none."""
    if not response.thought_closed:
        return "(no response: the model's thought did not end)"
    return response.text or "(an empty response)"


def describe_mark(record: EvalRecord) -> str:
    """Say how an answer was graded, and that the token limit cut it off where it did."""
    return f"{describe_grade(record)}; {CUT_OFF}" if record.response.cut else describe_grade(record)


def describe_grade(record: EvalRecord) -> str:
    """Say in a few words how an answer was graded: what it is and what it is not, or why it was not graded."""
    grade = record.grade
    if not grade.graded:
        return f"not graded: {grade.ungraded}"
    held = [_describe_value(name, value) for name, value in grade.values.items() if value is not False]
    lacked = [name.replace("_", " ") for name, value in grade.values.items() if value is False]
    return "; ".join([*([", ".join(held)] if held else []), *([f"not: {', '.join(lacked)}"] if lacked else [])])


def _describe_value(name: str, value: float) -> str:
    words = name.replace("_", " ")
    return words if value is True else f"{words}: {value:.3g}"
