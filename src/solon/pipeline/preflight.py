"""What can be seen to go wrong before a run begins, so that it is said then and not after minutes of work."""

from solon.constitution import Constitution
from solon.errors import ConstitutionError
from solon.pipeline.config import RunConfig
from solon.records import PromptKind


def refuse_unserved_prompts(config: RunConfig, constitution: Constitution) -> None:
    """Make sure that some principle applies to every kind of prompt that a stage will ask for one.

    Red-team prompts are always criticised: the report's example is one.

    Raises:
        ConstitutionError: a kind of prompt has no principle; says which, and both ways to mend it.
    """
    if not constitution.critique_principles("red_team"):
        raise ConstitutionError(
            f"constitution {constitution.name}: no principle with a critique_request applies to red_team prompts: "
            "widen a principle's applies_to"
        )
    sizes: dict[PromptKind, int] = {
        "red_team": config.prompts.comparisons.red_team,
        "helpful": config.prompts.comparisons.helpful,
    }
    for kind, size in sizes.items():
        if size and not constitution.comparison_principles(kind):
            raise ConstitutionError(
                f"constitution {constitution.name}: no principle with a comparison applies to {kind} prompts: widen a "
                f"principle's applies_to, or compare none with  --set prompts.comparisons.{kind}=0"
            )
