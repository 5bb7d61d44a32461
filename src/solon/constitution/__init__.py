"""Constitutions: what they are, reading and checking them, choosing principles and exemplars."""

from solon.constitution.checking import ConstitutionFacts, check_constitution
from solon.constitution.choosing import choose_exemplars, choose_principle
from solon.constitution.loading import SHIPPED, load_constitution, load_run_constitution
from solon.constitution.principles import ComparisonExemplar, Constitution, Principle, PrincipleUse, RevisionExemplar
from solon.constitution.sentences import own_words, principle_from_sentence, sentence_id

__all__ = [
    "SHIPPED",
    "ComparisonExemplar",
    "Constitution",
    "ConstitutionFacts",
    "Principle",
    "PrincipleUse",
    "RevisionExemplar",
    "check_constitution",
    "choose_exemplars",
    "choose_principle",
    "load_constitution",
    "load_run_constitution",
    "own_words",
    "principle_from_sentence",
    "sentence_id",
]
