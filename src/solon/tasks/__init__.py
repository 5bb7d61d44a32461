"""Tasks that users make: prompts from their own files, graders of their own.

- `files`: a task from a YAML file or from prompt files alone.
- `graders`: a grader by the name of its class, and the one that stands in where there is none.

Tasks come into the pipeline from above, by an entry point or as an object; the pipeline imports none of them.
"""

from solon.tasks.files import FileTask, load
from solon.tasks.graders import NoGrader, load_grader

__all__ = ["FileTask", "NoGrader", "load", "load_grader"]
