"""Tasks that users make: prompts from their own files, graders of their own.

- `files`: a task from a YAML file or from prompt files alone.
- `checking`: what a task holds, and what its author may not have meant.
- `starter`: the prompts that ship with Solon for real models.
- `graders`: a grader by the name of its class, and the one that stands in where there is none.

Tasks come into the pipeline from above, by an entry point or as an object; the pipeline imports none of them.
"""

from solon.tasks.checking import PoolFacts, TaskFacts, check_task, tell_form
from solon.tasks.files import FileTask, load
from solon.tasks.graders import NoGrader, load_grader

__all__ = [
    "FileTask",
    "NoGrader",
    "PoolFacts",
    "TaskFacts",
    "check_task",
    "load",
    "load_grader",
    "tell_form",
]
