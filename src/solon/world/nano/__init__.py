"""The nano model of the reference world: its shape, its pretraining, its build, and the check of what it can do.

- `shape`: tokenizer and a small Llama.
- `documents`: lessons of the world as tokens with loss weights.
- `pretrain`: the forward and backward pass, optimizer and loop that fit two CPU cores.
- `build`: from nothing to a checkpoint; `check`: its abilities against their bars.
- `shipped`: where the checkpoint lies that comes with the package.
"""
