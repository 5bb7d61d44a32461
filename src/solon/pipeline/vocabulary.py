"""Which principles the nano model cannot read, said before the run and again in the report.

The nano model knows the words of its world and those of the shipped constitution. A principle in other words is
noise to it; a real model reads any.
"""

from dataclasses import dataclass

from solon.constitution import Constitution, Principle, load_constitution
from solon.world.principles import unknown_words

ADVICE = "For principles in your own words use a real model:  --set base_model=CHECKPOINT"


@dataclass(frozen=True)
class UnknownWords:
    """A principle and the words of it that the nano model's world does not know, in order."""

    principle_id: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"principle '{self.principle_id}': the nano model's world does not know {', '.join(self.words)}"


def _texts(principle: Principle) -> tuple[str, ...]:
    texts = (principle.critique_request, principle.revision_request, principle.comparison)
    return tuple(text for text in texts if text)


def find_unknown_words(constitution: Constitution) -> list[UnknownWords]:
    """Return the principles that hold words which neither the world nor the shipped constitution uses."""
    shipped = load_constitution("default")
    known = [text for principle in shipped.principles for text in _texts(principle)]
    found = []
    for principle in constitution.principles:
        words = unknown_words(" ".join(_texts(principle)), also_known=known)
        if words:
            found.append(UnknownWords(principle.id, words))
    return found


def describe_unknown_words(constitution: Constitution) -> tuple[str, ...]:
    """Return one line for each principle with unknown words, and the advice; empty if there are none."""
    found = [str(unknown) for unknown in find_unknown_words(constitution)]
    return (*found, ADVICE) if found else ()
