"""Proves of any chains, filters and choice of rounds that every target is learnt or left out under one reason."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from solon.lm import ItemResults
from solon.records import Failure, RevisionChain, RevisionStep
from solon.revision import FILTERS, RevisionConfig, count_revision_targets, filter_revisions, sft_targets
from tests.scripts import make_constitution, make_prompts, make_sample
from tests.unit.revision.test_filters import EXEMPLAR, LEFT_OUT, PASSING

PROMPTS = make_prompts(4)
LAW = make_constitution(revision_exemplars=(EXEMPLAR,))
TEXTS = st.sampled_from([*PASSING, *(text for texts in LEFT_OUT.values() for text in texts)])
REASONS = st.sampled_from(["call_failed", "empty_critique", "truncated_revision"])
CONFIGS = st.builds(
    RevisionConfig,
    rounds=st.integers(1, 4),
    targets=st.sampled_from(["all", "last"]),
    filters=st.lists(st.sampled_from(list(FILTERS)), unique=True).map(tuple),
)


@st.composite
def results(draw: st.DrawFn, rounds: int) -> list[RevisionChain | Failure]:
    """Return a chain or a failure for each prompt; a chain that is short of its rounds says why."""
    made: list[RevisionChain | Failure] = []
    for number, prompt in enumerate(PROMPTS):
        texts = draw(st.lists(TEXTS, max_size=rounds))
        failure = Failure(item=prompt.id, stage="revision", reason=draw(REASONS))
        steps = (RevisionStep(principle_id="p", critique=None, revision=make_sample(text)) for text in texts)
        chain = RevisionChain(
            id=f"c{number}",
            prompt_id=prompt.id,
            initial_response=make_sample("initial"),
            steps=tuple(steps),
            failure=failure if len(texts) < rounds else None,
        )
        made.append(failure if draw(st.booleans()) and not texts else chain)
    return made


@given(st.data(), CONFIGS)
def test_in_is_kept_and_every_reason_and_both_books_say_the_same(data: st.DataObject, config: RevisionConfig) -> None:
    found = ItemResults(data.draw(results(config.rounds)))
    filtered = filter_revisions(found.kept, PROMPTS, LAW, config)
    learnt = sft_targets(found.kept, [], PROMPTS, config, filtered=filtered)
    books = count_revision_targets(found, config, filtered=filtered)
    assert books["in"] == len(PROMPTS) * (config.rounds if config.targets == "all" else 1)
    assert books["in"] == books["kept"] + sum(count for name, count in books.items() if name not in ("in", "kept"))
    assert books["kept"] == len(learnt)
    names = {name.removeprefix("filter_"): count for name, count in books.items() if name.startswith("filter_")}
    assert list(names) == sorted(config.filters)
    assert Counter(names) == Counter(revision.filter for revision in filtered)
    without = sft_targets(found.kept, [], PROMPTS, config)
    assert sorted(e.id for e in without) == sorted([*(e.id for e in learnt), *(r.id for r in filtered)])
