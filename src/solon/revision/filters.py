"""What keeps a revision from being learnt: rules with a name that read its text, and none of which judges the outcome.

A small model asked for a revision writes other things too: the exemplar it has just read, words of the request, what is
wrong with the response, a no with the steps after it. Each rule looks for one of these. Whether a revision refuses, is
better than what it revised or is true is not asked. What cannot be told passes.

Before all of them a revision must have ended: one that was cut off is never among the steps of its chain.

Departure from the paper (Bai et al. 2022, arXiv 2212.08073, section 3.1): revisions may be filtered; the paper learns
from all, and so does a run that names no filter.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Final, Literal, Self

from solon.constitution import Constitution, Principle, RevisionExemplar
from solon.reading import (
    gives_steps_after_refusal,
    is_on_topic,
    leaks_template,
    repeats,
    speaks_of_response,
)
from solon.words import split_words, word_runs

FilterName = Literal["not_repeating", "no_leak", "not_a_critique", "not_copied", "no_steps", "on_topic"]

_COPIED: Final = 8
"""Words in a row that an answer shares with an exemplar only by copying it. Of answers of two models to the 450
requests of XSTest, none to different requests share more than seven (1,498 pairs); the commonest stock phrase of one of
them, "sorry, but I can't assist with that", has seven. Of answers to one and the same request 7.8 % share eight: so
many revisions may be lost where an exemplar asks exactly what is asked."""

_LEAKED: Final = 6
_SHORTEST_REQUEST: Final = 4
"""Words in a row of a critique or revision request that an answer does not say by itself, and the fewest of a request
that is looked for as a whole: "Mend it." may be said of anything. Of 900 answers none shares more than four words in a
row with one of the 32 requests of the default constitution."""

_NEARLY: Final = 0.8
"""Share of the words of two texts, in one order, that makes them nearly the same."""


@dataclass(frozen=True)
class Shown:
    """The texts of a constitution that a model may copy.

    Attributes:
        requests: critique and revision requests, of principles and exemplars.
        exemplars: responses, critiques and revisions of the exemplars.
    """

    requests: tuple[str, ...] = ()
    exemplars: tuple[str, ...] = ()

    @classmethod
    def of(cls, constitution: Constitution) -> Self:
        """Return those of a constitution, whether or not the model was shown all of them."""
        exemplars = constitution.revision_exemplars
        asking: tuple[Principle | RevisionExemplar, ...] = (*constitution.principles, *exemplars)
        requests = (text for item in asking for text in (item.critique_request, item.revision_request))
        answers = (text for item in exemplars for text in (item.response, item.critique, item.revision))
        return cls(tuple(filter(None, requests)), tuple(filter(None, answers)))


@dataclass(frozen=True)
class Candidate:
    """A revision that may be learnt from, and what a rule has to know of it.

    Attributes:
        request: all that it answers: what the user said, in all turns.
        text: the revision.
        critique: what it was written in the light of; empty where nothing was.
        shown: what the model may have copied.
    """

    request: str
    text: str
    critique: str = ""
    shown: Shown = Shown()


def find_filter(candidate: Candidate, names: Collection[FilterName]) -> FilterName | None:
    """Return the first filter, in the order of `FILTERS`, that a revision does not pass; None where it passes all.

    Args:
        candidate: the revision.
        names: the filters that are set.
    """
    return next((name for name, passes in FILTERS.items() if name in names and not passes(candidate)), None)


def _leaks(candidate: Candidate) -> bool:
    """Return whether a text holds words of the prompt: of its template, or of a critique or revision request."""
    wordy = (request for request in candidate.shown.requests if len(_words(request)) >= _SHORTEST_REQUEST)
    return leaks_template(candidate.text) or any(
        _share_run(candidate.text, request, min(len(_words(request)), _LEAKED)) for request in wordy
    )


def _is_critique(candidate: Candidate) -> bool:
    if speaks_of_response(candidate.request, candidate.text):
        return True
    return bool(candidate.critique) and _are_nearly_equal(candidate.text, candidate.critique)


FILTERS: Final[Mapping[FilterName, Callable[[Candidate], bool]]] = {
    "not_repeating": lambda it: not repeats(it.text),
    "no_leak": lambda it: not _leaks(it),
    "not_a_critique": lambda it: not _is_critique(it),
    "not_copied": lambda it: not any(_share_run(it.text, other, _COPIED) for other in it.shown.exemplars),
    "no_steps": lambda it: not gives_steps_after_refusal(it.text),
    "on_topic": lambda it: is_on_topic(it.request, it.text) is not False,
}
"""Name of a filter to whether a revision passes it. What says more of what went wrong comes first: a copy, a critique
and a loop are hardly ever on topic either."""


@lru_cache(maxsize=512)
def _words(text: str) -> tuple[str, ...]:
    return tuple(split_words(text))


@lru_cache(maxsize=512)
def _runs(text: str, size: int) -> frozenset[str]:
    """Return all runs of so many words in a text; a text of fewer words is one run."""
    words = _words(text)
    return word_runs(words, size) or frozenset({" ".join(words)})


def _share_run(text: str, other: str, size: int) -> bool:
    """Return whether two texts have so many words in a row in common, or are both shorter and the same."""
    return not _runs(text, size).isdisjoint(_runs(other, size))


def _are_nearly_equal(text: str, other: str) -> bool:
    return SequenceMatcher(None, _words(text), _words(other), autojunk=False).ratio() >= _NEARLY
