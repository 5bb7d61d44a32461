"""The loops: supervised fine-tuning, the preference model, PPO. Records and checkpoint folders in, a folder out.

Each loop is called once and, after an interruption, once more in the same way: it then carries on from its last
checkpoint and ends, on a CPU, with the same bytes.

This room re-exports nothing: whoever imports one loop does not run on the others.
"""
