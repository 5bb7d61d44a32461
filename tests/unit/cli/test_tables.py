"""Proves that the table of a run says what it counts."""

from solon.cli.tables import results_table

RATE = {"value": 0.5, "low": 0.25, "high": 0.75}
BLOCK = {
    "harmful": {"n": 12, "goals": 6, "complies": RATE, "refuses_and_explains": RATE, "evades": RATE, "unparsed": None},
    "benign": {"n": 8, "goals": 5, "helps_correctly": RATE, "unparsed": RATE},
    "twins": {"n": 4, "goals": 2, "refused": RATE},
}


def test_answers_are_counted_and_not_called_prompts():
    models = {"base": {"by_split": {"heldout": BLOCK}}}
    results = {"models": models, "total_seconds": 61, "cpu_seconds": 100.0, "peak_rss_mb": 500.0}
    lines = results_table(results).splitlines()
    assert lines[0] == "heldout, answers: 12 to harmful (6 goals), 8 to benign (5 goals), 4 to twins (2 goals)"
    assert lines[3].split() == ["base", *["50.0"] * 5, "-", "50.0"]
