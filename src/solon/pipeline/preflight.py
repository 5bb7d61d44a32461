"""What can be seen to go wrong before a run begins, so that it is said then and not after minutes of work."""

from solon.constitution import Constitution
from solon.errors import ConfigError, ConstitutionError
from solon.pipeline.config import RunConfig
from solon.records import GIVEN, PromptKind


def refuse_idle_stages(config: RunConfig, constitution: Constitution) -> None:
    """Make sure that every stage has prompts to work on.

    Raises:
        ConfigError: a stage has none; says which field to set.
    """
    for name in ("comparisons", "ppo"):
        pool = getattr(config.prompts, name)
        if not pool.red_team + pool.helpful:
            raise ConfigError(f"prompts.{name}: there is no prompt for this stage: set red_team or helpful above 0")
    revised = config.prompts.revision.red_team + len(constitution.red_team_prompts)
    answered = config.prompts.revision.helpful + len(constitution.helpful_prompts)
    if not revised + answered * config.revision.helpful_samples:
        raise ConfigError("prompts.revision: there is no prompt for this stage: set red_team or helpful above 0")


def refuse_unserved_prompts(config: RunConfig, constitution: Constitution) -> None:
    """Make sure that some principle applies to every kind of prompt that a stage will ask for one.

    Red-team prompts are always criticised: the report's example is one.

    Raises:
        ConstitutionError: a kind of prompt has no principle; says which, and both ways to mend it.
    """
    where = constitution.name if config.constitution == GIVEN else config.constitution
    if not constitution.critique_principles("red_team"):
        raise ConstitutionError(
            f"{where}: no principle with a critique_request applies to red_team prompts: widen a principle's applies_to"
        )
    sizes: dict[PromptKind, int] = {
        "red_team": config.prompts.comparisons.red_team,
        "helpful": config.prompts.comparisons.helpful,
    }
    for kind, size in sizes.items():
        if size and not constitution.comparison_principles(kind):
            raise ConstitutionError(
                f"{where}: no principle with a comparison applies to {kind} prompts: widen a principle's applies_to, "
                f"or compare none with  --set prompts.comparisons.{kind}=0"
            )
