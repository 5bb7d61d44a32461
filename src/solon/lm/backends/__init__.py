"""Where models come from, one file each: `local` loads a checkpoint, `scripted` reads answers from a file.

A backend is a module with the two functions of `solon.lm.spec.Backend`. It is found by its name, here or among what can
be imported, and named nowhere else: a new one is a new file.
"""
