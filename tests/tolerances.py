"""Every tolerance of the tests, in one place. They are never loosened to make a test pass."""

FLOAT64_EXACT = 1e-12
"""Two ways of computing the same thing in float64: rounding of a few dozen operations, relative and absolute."""

FLOAT32_SAME = 1e-5
"""The same number in float32 by another order of operations, or under another padding."""

ACCUMULATED_STEP = 2e-5
"""A parameter after some optimizer steps whose gradients were summed in another order, relative to its size."""

BANDIT_TOTAL_VARIATION = 0.02
"""Total variation between the policy that PPO ends with and the known optimum of the bandit."""

SOFT_TARGET = 0.02
"""Probability by which a preference model trained on a soft label may miss it."""
