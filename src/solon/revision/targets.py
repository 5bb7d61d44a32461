"""From chains and helpful samples to what SFT learns, and what became of every target.

With `targets: all` every revision is a target, with `last` that of the last round only: a chain that failed before
it has no such target, and its earlier revisions do not stand in for it. What a round that failed would have brought
is counted under its reason, so that  in = kept + every reason  holds on targets. A revision that does not pass a
filter is no target, is counted under that filter, and leaves those of the other rounds what they are.

Reference: Bai et al. 2022 (arXiv 2212.08073), sections 1.2, 3.1 and 3.4.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from solon.constitution import Constitution
from solon.errors import RecordError
from solon.lm import ItemResults
from solon.prompting import LayoutLike, response_lead, revision_lead
from solon.records import (
    Failure,
    FilteredRevision,
    HelpfulSample,
    Prompt,
    RevisionChain,
    SFTExample,
    filter_reason,
)
from solon.revision.chains import RevisionConfig
from solon.revision.filters import Candidate, Shown, find_filter
from solon.storage import content_digest


def filter_revisions(
    chains: Iterable[RevisionChain], prompts: Iterable[Prompt], constitution: Constitution, config: RevisionConfig
) -> list[FilteredRevision]:
    """Return the revisions that would be targets but do not pass `config.filters`, each under the first of these.

    Args:
        chains: revised responses.
        prompts: the prompts that they answer.
        constitution: what their models may have copied from.
        config: which revisions are targets, and the filters.

    Raises:
        RecordError: a chain answers a prompt that is not among `prompts`.
    """
    known, shown = _by_id(prompts), Shown.of(constitution)
    filtered = []
    for chain in chains:
        prompt = _prompt_of(chain, known)
        for number in _target_rounds(chain, config):
            critique = chain.steps[number - 1].critique
            revision = chain.response_after(number).text
            candidate = Candidate(
                prompt.conversation.asked, revision, critique="" if critique is None else critique.text, shown=shown
            )
            name = find_filter(candidate, config.filters)
            if name is not None:
                filtered.append(
                    FilteredRevision(
                        id=_name_revision(chain, number),
                        prompt_id=prompt.id,
                        conversation=prompt.conversation,
                        response=revision,
                        chain_id=chain.id,
                        round=number,
                        filter=name,
                    )
                )
    return filtered


def sft_targets(
    chains: Iterable[RevisionChain],
    helpful: Iterable[HelpfulSample],
    prompts: Iterable[Prompt],
    config: RevisionConfig,
    *,
    filtered: Iterable[FilteredRevision] = (),
    written_in: LayoutLike = "chat",
    learnt_in: LayoutLike = "chat",
) -> list[SFTExample]:
    """Return what SFT learns: revisions as answers to their prompts, and helpful samples.

    Critiques and initial responses are never targets.

    A layout may have spaces before a response, which the model writes. Where a revision was written after others than
    it is learnt after, it is learnt without them, read anew: the first letter must not tell a revision from a helpful
    sample.

    Args:
        chains: revised responses; rounds after `config.rounds` are passed over, so that one set of chains gives
            SL-CAI-n for every n up to its own.
        helpful: responses to ordinary requests.
        prompts: the prompts that both answer.
        config: which revisions are targets.
        filtered: those of them that are not, as `filter_revisions` finds them.
        written_in: the critic's layout.
        learnt_in: the assistant's.

    Raises:
        RecordError: a chain or sample answers a prompt that is not among `prompts`.
    """
    known = _by_id(prompts)
    left_out = {revision.id for revision in filtered}
    lead = revision_lead(written_in)
    is_at_home = lead == response_lead(learnt_in)
    examples = []
    for chain in chains:
        prompt = _prompt_of(chain, known)
        for number in _target_rounds(chain, config):
            revision = chain.response_after(number)
            name = _name_revision(chain, number)
            if name in left_out:
                continue
            examples.append(
                SFTExample(
                    id=name,
                    prompt_id=prompt.id,
                    conversation=prompt.conversation,
                    response=revision.text if is_at_home else revision.text.removeprefix(lead),
                    source="revision",
                    chain_id=chain.id,
                    round=number,
                    tokens=revision.tokens if is_at_home else None,
                )
            )
    for sample in helpful:
        prompt = _prompt_of(sample, known)
        examples.append(
            SFTExample(
                id=content_digest(["helpful", sample.id, sample.response.text], size=8),
                prompt_id=prompt.id,
                conversation=prompt.conversation,
                response=sample.response.text,
                source="helpful",
                ended=not sample.response.cut,
                tokens=sample.response.tokens,
            )
        )
    return examples


def count_revision_targets(
    results: ItemResults[RevisionChain], config: RevisionConfig, *, filtered: Collection[FilteredRevision] = ()
) -> dict[str, int]:
    """Count revision targets: `in`, `kept`, and one entry for each reason; in = kept + reasons.

    Args:
        results: a chain or the failure of each prompt.
        config: which revisions are targets, and the filters: each has an entry, were it 0.
        filtered: what `filter_revisions` finds of these chains.
    """
    each = config.rounds if config.targets == "all" else 1
    left_out = Counter(revision.reason for revision in filtered)
    left_out.update({filter_reason(name): 0 for name in config.filters})
    kept = -len(filtered)
    for item in results.results:
        failure, found = (item, 0) if isinstance(item, Failure) else (item.failure, len(_target_rounds(item, config)))
        kept += found
        if found < each:
            left_out[failure.reason if failure is not None else "not_reached"] += each - found
    return {"in": each * len(results.results), "kept": kept, **dict(sorted(left_out.items()))}


def _by_id(prompts: Iterable[Prompt]) -> dict[str, Prompt]:
    return {prompt.id: prompt for prompt in prompts}


def _prompt_of(answer: RevisionChain | HelpfulSample, known: Mapping[str, Prompt]) -> Prompt:
    if answer.prompt_id not in known:
        what = "chain" if isinstance(answer, RevisionChain) else "helpful sample"
        raise RecordError(
            f"{what} {answer.id} answers prompt {answer.prompt_id}, which was not given: give the prompts of its stage"
        )
    return known[answer.prompt_id]


def _name_revision(chain: RevisionChain, number: int) -> str:
    """Return the id of a revision as something to learn, whether or not it is learnt."""
    return content_digest(["revision", chain.id, number, chain.response_after(number).text], size=8)


def _target_rounds(chain: RevisionChain, config: RevisionConfig) -> range:
    first = 1 if config.targets == "all" else config.rounds
    return range(first, min(len(chain.steps), config.rounds) + 1)
