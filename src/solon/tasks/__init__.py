"""Tasks that users make: prompts from their own files, graders of their own.

- `files`: a task from a YAML file or from prompt files alone.
- `checking`: what a task holds, and what its author may not have meant.
- `starter`: the prompts that ship with Solon for real models.
- `rules`, `judging`: graders for the answers of any model, one by plain rules and one that asks a judge.
- `graders`: a grader by its name or that of its class, and the one that stands in where there is none.

Tasks come into the pipeline from above, by an entry point or as an object; the pipeline imports none of them.
"""

from solon.tasks.checking import PoolFacts, TaskFacts, check_task, tell_form
from solon.tasks.files import FileTask, load
from solon.tasks.graders import NoGrader, load_grader
from solon.tasks.judging import Attribute, JudgeGrader
from solon.tasks.rules import RuleGrader

__all__ = [
    "Attribute",
    "FileTask",
    "JudgeGrader",
    "NoGrader",
    "PoolFacts",
    "RuleGrader",
    "TaskFacts",
    "check_task",
    "load",
    "load_grader",
    "tell_form",
]
