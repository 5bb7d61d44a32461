"""What can be seen to go wrong before a run begins, so that it is said then and not after minutes of work."""

import unicodedata
from collections import Counter
from typing import Any, Final

from solon.constitution import SHIPPED, Constitution, load_constitution
from solon.errors import ConfigError, ConstitutionError
from solon.evaluation import PairGrader, check_grader
from solon.feedback import ASKS, Labels, asking_principles, describe_lack
from solon.messages import nearest
from solon.pipeline.config import RunConfig
from solon.pipeline.prompt_pools import RunPrompts
from solon.records import GIVEN, Measures

_SIGNS: Final = frozenset("_-. ")


def refuse_prompts(prompts: RunPrompts, config: RunConfig, constitution: Constitution) -> None:
    """Hold the prompts and evaluations of a run to all that is asked of them here.

    Raises:
        ConfigError, ConstitutionError: something is wrong with them, or no principle applies to some.
    """
    refuse_confused_names(prompts)
    refuse_wrong_graders(prompts)
    refuse_idle_stages(prompts, config)
    refuse_unknown_groups(prompts)
    refuse_paired_revisions(prompts)
    where = constitution.name if config.constitution == GIVEN else config.constitution
    refuse_unserved_prompts(prompts, constitution, where, config.feedback.labels)


def refuse_confused_names(prompts: RunPrompts) -> None:
    """Make sure that evaluations and groups can be told apart by name, and that every name can stand in a table.

    Raises:
        ConfigError: two evaluations have one name, or a name is empty or holds a character that no name may.
    """
    names = [evaluation.name for evaluation in prompts.evaluations]
    for name, count in Counter(names).items():
        if count > 1:
            raise ConfigError(f"evaluation {name!r}: {count} evaluations have this name: give each one of its own")
    for evaluation in prompts.evaluations:
        _check_name(evaluation.name, "evaluation")
        for group in evaluation.prompts:
            _check_name(group, f"evaluation {evaluation.name}: group")


def _check_name(name: str, what: str) -> None:
    fits = all(character in _SIGNS or unicodedata.category(character)[0] in "LMN" for character in name)
    if not fits or not any(map(str.isalnum, name)) or name != name.strip():
        raise ConfigError(
            f"{what} {name!r}: cannot be a name: expected letters or digits, with '_', '-', '.' or spaces among "
            "them and no space at either end: rename it"
        )


def refuse_idle_stages(prompts: RunPrompts, config: RunConfig) -> None:
    """Make sure that every stage and every evaluation has prompts to work on.

    Raises:
        ConfigError: one has none; says which.
    """
    if not prompts.evaluations:
        raise ConfigError("the task has no evaluation: give it prompts to measure on")
    for evaluation in prompts.evaluations:
        if not evaluation.prompts:
            raise ConfigError(f"evaluation {evaluation.name}: has no group of prompts: give it prompts to measure on")
        for group, asked in evaluation.prompts.items():
            if not asked:
                raise ConfigError(f"evaluation {evaluation.name}: there is no prompt in group {group}: give it some")
    for stage, pool in prompts.pools.items():
        useful = [p for p in pool if stage != "revision" or p.kind == "red_team" or config.revision.helpful_samples]
        if not useful:
            raise ConfigError(
                f"prompts.{stage}: there is no prompt for this stage: set red_team or helpful above 0, or add prompts"
            )


def refuse_wrong_graders(prompts: RunPrompts) -> None:
    """Make sure that every evaluation has a grader that can be asked and measures that can be reported.

    Raises:
        ConfigError: one has not; says which, and what is wrong.
    """
    for evaluation in prompts.evaluations:
        check_grader(evaluation.grader, f"evaluation {evaluation.name}: grader {type(evaluation.grader).__name__}")
        measures: Any = evaluation.measures  # a user's own task may give anything
        if not isinstance(measures, Measures):
            kind = type(measures).__name__
            raise ConfigError(f"evaluation {evaluation.name}: its measures have to be a Measures, not {kind}")


def refuse_unknown_groups(prompts: RunPrompts) -> None:
    """Make sure that measures name groups of prompts that there are.

    Measures that several evaluations share need each group in one of them only.

    Raises:
        ConfigError: a group is in no evaluation of these measures; says which, and the nearest that is.
    """
    for evaluation in prompts.evaluations:
        sharing = [other for other in prompts.evaluations if other.measures == evaluation.measures]
        groups = {group: None for other in sharing for group in other.prompts}
        for name in evaluation.measures.groups:
            if name not in groups:
                where = " and ".join(dict.fromkeys(other.name for other in sharing))
                raise ConfigError(
                    f"evaluation {where}: no group of prompts is called {name!r}, as its measures say"
                    f"; {nearest(name, groups)}"
                )


def refuse_paired_revisions(prompts: RunPrompts) -> None:
    """Make sure that a grader which compares two answers is not asked to grade revisions, of which there is one each.

    Raises:
        ConfigError: the main evaluation has such a grader and follows revisions.
    """
    main, *_ = prompts.evaluations
    if main.measures.revisions and isinstance(main.grader, PairGrader):
        raise ConfigError(
            f"evaluation {main.name}: grader {main.grader.identity} compares two answers and cannot grade revisions: "
            "leave `revisions` out of the measures, or put another evaluation first"
        )


def refuse_unserved_prompts(prompts: RunPrompts, constitution: Constitution, where: str, labels: Labels) -> None:
    """Make sure that some principle applies to every kind of prompt that a stage will ask for one.

    Red-team prompts are always criticised: the report's example is one.

    Args:
        prompts: the prompts of the run.
        constitution: its constitution.
        where: the file or name the constitution was loaded from.
        labels: the kind of label that feedback is asked for.

    Raises:
        ConstitutionError: a kind of prompt has no principle; says which, and the ways to mend it.
    """
    if not constitution.critique_principles("red_team"):
        raise ConstitutionError(
            f"{where}: no principle with a critique_request applies to red_team prompts: widen a principle's applies_to"
        )
    for kind in sorted({prompt.kind for prompt in prompts.pools["comparisons"]}):
        if not asking_principles(constitution, labels, kind):
            other: Labels = "comparison" if labels == "pointwise" else "pointwise"
            lack, way = describe_lack(constitution, labels, kind)
            ways = [way]
            if asking_principles(constitution, other, kind):
                ways.append(f"ask for its {ASKS[other]} with  --set feedback.labels={other}")
            shipped = [name for name in SHIPPED if asking_principles(load_constitution(name), labels, kind)]
            ways += [f"take another with  --constitution {name}" for name in shipped if name != where]
            ways.append(f"compare none with  --set prompts.comparisons.{kind}=0")
            raise ConstitutionError(f"{where}: {lack}: {', or '.join(ways)}")
