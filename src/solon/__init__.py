"""Constitutional AI, whole: from a constitution to a harmless, helpful, non-evasive model."""

__version__ = "0.1.0"
