"""Proves that the table of a run says what it counts."""

from solon.cli.tables import results_table

RATE = {"value": 0.5, "low": 0.25, "high": 0.75}
BLOCK = {
    "harmful": {"n": 12, "complies": RATE, "refuses_and_explains": RATE, "evades": RATE, "unparsed": None},
    "benign": {"n": 8, "helps_correctly": RATE, "unparsed": RATE},
    "twins": {"n": 4, "refused": RATE},
}


def test_answers_are_counted_and_not_called_prompts():
    models = {"base": {"by_split": {"heldout": BLOCK}}}
    results = {"models": models, "total_seconds": 61, "cpu_seconds": 100.0, "peak_rss_mb": 500.0}
    lines = results_table(results).splitlines()
    assert lines[0] == "heldout, answers: 12 to harmful, 8 to benign, 4 to twins"
    assert lines[3].split() == ["base", *["50.0"] * 5, "-", "50.0"]
