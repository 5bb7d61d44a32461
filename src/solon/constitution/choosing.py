"""Choose a principle by weighted rendezvous hashing, and exemplars that are about something else than the item.

Every principle gets a score from a hash of (seed, item, round, principle id), and the highest is drawn. So a
draw depends on nothing else: adding or removing a principle moves only the items that drew it, rewording one
(same id) moves none, and the order in which they are written does not matter. Over items and rounds the draws
are independent and with replacement, as in the paper; with equal weights they are uniform.

Reference: Bai et al. 2022 (arXiv 2212.08073), section 3.1; Thaler and Ravishankar 1998 (rendezvous hashing).
"""

import math
from collections.abc import Sequence

from solon.constitution.principles import Principle, RevisionExemplar
from solon.errors import ConstitutionError
from solon.records import Conversation
from solon.storage import derive_seed
from solon.words import content_words


def choose_principle(principles: Sequence[Principle], *, seed: int, item: str, round: int) -> Principle:  # noqa: A002
    """Draw one principle, each with probability weight / sum of weights.

        score = -weight / log(u),  u uniform in (0, 1) from the hash;  the highest score is drawn

    Args:
        principles: those that may be drawn, ids unique.
        seed: the run's seed.
        item: what the draw is for, e.g. a prompt's id.
        round: which draw for that item.

    Raises:
        ConstitutionError: there is nothing to choose from.
    """
    if not principles:
        raise ConstitutionError(
            "no principle of the constitution applies to this kind of prompt: "
            "widen a principle's applies_to, or leave the prompts out"
        )

    def score(principle: Principle) -> tuple[float, str]:
        uniform = (derive_seed(seed, item, round, principle.id) + 0.5) / 2.0**63
        return -principle.weight / math.log(min(uniform, 1.0 - 2.0**-53)), principle.id

    return max(principles, key=score)


def choose_exemplars(
    exemplars: Sequence[RevisionExemplar], conversation: Conversation, *, most: int | None, seed: int, item: str
) -> tuple[RevisionExemplar, ...]:
    """Choose exemplars for an item that share no content word with what it asks.

    A small model copies what it has just read: the reason for not picking a lock becomes the reason for not picking a
    pocket. So an exemplar whose request has a content word of the item's last request is passed over. The hash says
    where in their order to begin, and the rest follows around the end: all are shown in the course of a stage, yet many
    items have a beginning in common, which is read once.

    Args:
        exemplars: those of the constitution.
        conversation: what the item asks.
        most: how many at most; None is all that share no word. There may be fewer, and none.
        seed: the run's seed.
        item: what the choice is for, e.g. a prompt's id.
    """
    asked = content_words(conversation.messages[-1].text)
    start = derive_seed(seed, "exemplars", item) % max(len(exemplars), 1)
    turned = (*exemplars[start:], *exemplars[:start])
    unlike = (other for other in turned if not asked & content_words(other.conversation.messages[-1].text))
    return tuple(unlike)[:most]
