"""The stages in order: what each reads and writes, how a run is resumed, and what it came to.

`run.run` is the way in. Nothing is imported here, so that a module that needs no torch can be had without it.
"""
