"""A model's thought is kept apart from its response, here and nowhere else.

Some models think before they answer, between marks that their chat template knows, such as `<think>` and `</think>`.
The template may have opened the thought already, in the prompt for an answer; the model then writes its end alone. What
is criticised, revised, compared, learnt and graded is what comes after. Backends know the marks of their models. Of a
model without any no text is cut, whatever it says.
"""

from dataclasses import dataclass

from solon.records import Sample


@dataclass(frozen=True)
class Thinking:
    """How a model marks the thought that an answer begins with.

    Attributes:
        opens: stands before a thought.
        closes: stands after it.
        begun: True where the prompt opened a thought, and the model writes on within it.
    """

    opens: str
    closes: str
    begun: bool = False


def keep_thought_apart(sample: Sample, thinking: Thinking | None) -> Sample:
    """Return a sample with its thought beside its text, and no white space between the two.

    A thought that never ends leaves no text: the sample is truncated, wherever it ended.

    Args:
        sample: its text is all that the model wrote.
        thinking: how the model marks thoughts; None leaves the sample as it is.
    """
    if thinking is None:
        return sample
    rest, begun = sample.text, thinking.begun
    thoughts: list[str] = []
    closed = True
    while closed and (begun or rest.lstrip().startswith(thinking.opens)):
        # A model may open a thought that was opened for it.
        thought, end, after = rest.lstrip().removeprefix(thinking.opens).partition(thinking.closes)
        thoughts.append(thought.strip())
        rest, closed, begun = after.lstrip(), bool(end), False
    if not thoughts:
        return sample
    said = "\n\n".join(filter(None, thoughts))
    return sample.model_copy(update={"text": rest, "thought": said, "thought_closed": closed})
