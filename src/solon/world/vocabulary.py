"""Which principles the nano model cannot read, said before the run and again in the report.

The nano model knows the words of its world and those of the shipped constitution. A principle in other words, or in no
words at all, is noise to it; a real model reads any.
"""

from dataclasses import dataclass

from solon.constitution import Constitution, load_constitution, own_words
from solon.world.principles import find_words, unknown_words

ADVICE = "For principles in your own words use a real model:  --model CHECKPOINT"


@dataclass(frozen=True)
class UnknownWords:
    """A principle that the nano model's world does not know whole.

    Attributes:
        principle_id: the principle.
        words: the words of it that the world does not know, in order.
        strange: those of its texts that hold not one known word, by name; the words that a plain sentence is
            wrapped in do not count.
        whole: whether that is so of all its texts.
    """

    principle_id: str
    words: tuple[str, ...]
    strange: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        of = ["it"] if self.whole else [f"its {name}" for name in self.strange]
        said = [f"knows no word of {text}" for text in of]
        if self.words and not self.whole:
            said.insert(0, f"does not know {', '.join(self.words)}")
        return f"principle '{self.principle_id}': the nano model's world {', and '.join(said)}"


def find_unknown_words(constitution: Constitution) -> list[UnknownWords]:
    """Return the principles with words that neither the world nor the shipped constitution uses, or with none."""
    shipped = load_constitution("default")
    known = [text for principle in shipped.principles for text in own_words(principle).values()]
    found = []
    for principle in constitution.principles:
        texts = own_words(principle)
        words = unknown_words(" ".join(texts.values()), also_known=known)
        strange = tuple(name for name, text in texts.items() if set(find_words(text)) <= set(words))
        if words or strange:
            found.append(UnknownWords(principle.id, words, strange, whole=len(strange) == len(texts)))
    return found


def describe_unknown_words(constitution: Constitution) -> tuple[str, ...]:
    """Return one line for each principle with unknown words, and the advice; empty if there are none."""
    found = [str(unknown) for unknown in find_unknown_words(constitution)]
    return (*found, ADVICE) if found else ()
