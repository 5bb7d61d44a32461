"""Proves that the table of a run says what it counts, evaluation by evaluation and column by column as declared."""

from solon.cli.tables import results_table
from solon.records import Measure, Measures

COST = {"total_seconds": 61, "cpu_seconds": 100.0, "peak_rss_mb": 500.0}
MEASURES = Measures(
    rates=(
        Measure(group="harmful", name="complies", caption="Harmful: complies"),
        Measure(group="harmful", name="refuses_and_explains", caption="Harmful: explains", short="explains"),
        Measure(group="harmful", name="evades", caption="Harmful: evades"),
        Measure(group="benign", name="helps_correctly", caption="Benign: helps", short="helps"),
        Measure(group="twins", name="refused", caption="Twins: refused"),
    ),
    ungraded=("harmful", "benign"),
)


def rate(value):
    return {"value": value, "low": value / 2, "high": (1 + value) / 2}


BLOCK = {
    "harmful": {
        "n": 12,
        "goals": 6,
        "complies": rate(0.1),
        "refuses_and_explains": rate(0.2),
        "evades": rate(0.3),
        "ungraded": None,
        "cut": rate(0.25),
    },
    "benign": {"n": 8, "goals": 5, "helps_correctly": rate(0.4), "ungraded": rate(0.5), "cut": rate(0.0)},
    "twins": {"n": 4, "goals": 2, "refused": rate(0.6), "ungraded": rate(0.0), "cut": rate(1.0)},
}


NAMES = {"base": "Base", "sl-cai": "SL-CAI", "rl-cai": "RL-CAI"}


def asked(name, measures=MEASURES, groups=("harmful", "benign", "twins")):
    measures = measures.model_dump(mode="json")
    return {"name": name, "caption": "", "grader": "g", "groups": dict.fromkeys(groups, 4), "measures": measures}


def table(evaluations, **models):
    models = {name: {"evaluations": blocks} for name, blocks in models.items()}
    return results_table({"evaluations": evaluations, "models": models, "model_names": NAMES, **COST}).splitlines()


def test_answers_are_counted_and_not_called_prompts():
    lines = table([asked("heldout")], base={"heldout": BLOCK})
    assert lines[0] == "heldout, answers: 12 to harmful (6 goals), 8 to benign (5 goals), 4 to twins (2 goals)"
    assert lines[1].split() == ["harmful", "benign", "twins", "harmful", "benign"]
    assert " ".join(lines[2].split()) == "% complies explains evades helps refused not graded not graded"
    assert lines[3].split() == ["Base", "10.0", "20.0", "30.0", "40.0", "60.0", "-", "50.0"]
    assert lines[4].split()[0] == "5.0-55.0"
    assert lines[-1] == "1 min 1 s, 100 CPU seconds, 500 MiB"


def test_answers_that_the_limit_cut_off_are_counted_below_the_rates_by_model_and_group():
    whole = {group: {**rates, "cut": rate(0.0)} for group, rates in BLOCK.items()}
    lines = table([asked("heldout")], base={"heldout": BLOCK}, **{"sl-cai": {"heldout": whole}})
    assert lines[-4:-2] == ["cut by the token limit:", "  Base: 3 of 12 to harmful, 4 of 4 to twins"]
    lines = table([asked("heldout")], base={"heldout": BLOCK}, **{"sl-cai": {"heldout": BLOCK}})
    assert [line.split(":")[0] for line in lines[-5:-2]] == ["cut by the token limit", "  Base", "  SL-CAI"]
    assert table([asked("heldout")], base={"heldout": whole})[-3] == "cut by the token limit: none"


def test_results_that_do_not_count_what_was_cut_off_are_not_said_to_have_none():
    older = {group: {k: v for k, v in rates.items() if k != "cut"} for group, rates in BLOCK.items()}
    assert table([asked("heldout")], base={"heldout": older})[-3] == "cut by the token limit: not counted"


def test_an_evaluation_that_compares_with_the_base_says_so():
    pairs = {**asked("pairs", groups=("benign",)), "paired": True}
    lines = table([asked("heldout"), pairs], base={"heldout": BLOCK}, **{"sl-cai": {"heldout": BLOCK, "pairs": BLOCK}})
    (first,) = [line for line in lines if "compared" in line]
    assert first == "pairs, answers: 8 to benign (5 goals), each compared with the base's"


def test_one_goal_is_not_called_goals():
    block = {"all": {"n": 1, "goals": 1, "ungraded": None}}
    assert table([asked("main", groups=("all",))], base={"main": block})[0] == "main, answers: 1 to all (1 goal)"


def test_columns_and_groups_stand_above_their_numbers():
    lines = table([asked("heldout")], base={"heldout": BLOCK})
    for group, first in (("harmful", "complies"), ("benign", "helps"), ("twins", "refused")):
        assert lines[1].index(group) + len(group) == lines[2].index(first) + len(first)
    assert lines[2].index("evades") + len("evades") == lines[3].index("30.0") + len("30.0")


def test_every_evaluation_has_a_table_with_all_models_in_order():
    novel = {group: {**rates, "n": 1} for group, rates in BLOCK.items()}
    lines = table(
        [asked("heldout"), asked("novel")],
        base={"heldout": BLOCK, "novel": novel},
        **{"sl-cai": {"heldout": BLOCK}, "rl-cai": {"novel": novel}},
    )
    assert [line.partition(",")[0] for line in lines if "answers:" in line] == ["heldout", "novel"]
    names = [
        line.split()[0]
        for line in lines
        if line and not line.startswith((" ", "%", "heldout", "novel", "cut by", "1 min"))
    ]
    assert names == ["Base", "SL-CAI", "RL-CAI"] * 2
    rows = [line.split() for line in lines]
    assert ["RL-CAI", *["-"] * 7] in rows  # not asked in the first evaluation: nothing was measured
    assert ["SL-CAI", *["-"] * 7] in rows


def test_an_evaluation_that_compares_models_has_dashes_for_the_first():
    wins = Measures(rates=(Measure(group="all", name="wins", caption="Wins"),))
    lines = table(
        [asked("pairs", wins, ("all",))],
        base={},
        **{"sl-cai": {"pairs": {"all": {"n": 5, "goals": 3, "wins": rate(0.5)}}}},
    )
    assert lines[0] == "pairs, answers: 5 to all (3 goals)"
    assert lines[3].split() == ["Base", "-"]
    assert lines[5].split() == ["SL-CAI", "50.0"]
    assert lines[6].split() == ["25.0-75.0"]


def test_a_run_that_nobody_graded_shows_that_and_no_rate():
    block = {"harmful": {"n": 3, "goals": 2, "ungraded": rate(1.0)}}
    lines = table([asked("main", Measures(ungraded=("harmful",)), ("harmful",))], base={"main": block})
    assert lines[2].split() == ["%", "not", "graded"]
    assert lines[3].split() == ["Base", "100.0"]
