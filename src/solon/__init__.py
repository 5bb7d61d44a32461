"""Constitutional AI, whole: from a constitution to a harmless, helpful, non-evasive model."""
