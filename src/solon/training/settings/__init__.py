"""How each loop is told to run: the fields of a configuration, had without torch.

A file for each loop, so that whoever imports one does not run on the settings of another.
"""
