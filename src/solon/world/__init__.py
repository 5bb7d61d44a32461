"""The reference world: a small grammar of English in which every response can be graded exactly.

The world is the project's instrument. It stands in for a large model's world where one run must be cheap and
its truth known. It is a model organism and is called one wherever its results are shown; the steps of its
harmful answers are nonsense props.

- `lexicon`: the facts. Categories of harm, benign topics, goals and their two correct steps, twins.
- `splits`: which goals a model may meet where: train, dev, heldout, novel.
- `plans`: what a response is, and what a principle makes of it: problem, mend, prefer.
- `phrases`: the surface forms, as data.
- `grammar`: plans to text.
- `principles`: kind x scope x phrasing to the three forms of a principle.
- `oracle`: text to grade. For evaluation only; `grader`, `nano.check` and tests import it, nothing else may.
- `task`: the world as a task of the pipeline, with its `prompts`, its `grader`, its presets and the words it knows
  (`vocabulary`).
- `nano`: the model that comes with it.

The world stands on top of the rest: no other room but the command line imports it.
"""
