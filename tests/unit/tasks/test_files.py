"""Proves that a task is made of the user's files: who is trained on, who is measured on, by whom, how much, and what is
wrong with a file in one line.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import solon
from solon.cli.tasks import find_task, folder_name
from solon.constitution import Constitution, load_constitution
from solon.errors import ConfigError, ModelError, RecordError
from solon.evaluation import Evaluation
from solon.pipeline.config import build_config
from solon.pipeline.graph import Graph
from solon.pipeline.plan import build_plan, resolve_config
from solon.pipeline.preflight import refuse_idle_stages
from solon.pipeline.prompt_pools import POOLS, RunPrompts, draw_prompts
from solon.pipeline.task import Task, find_checkpoint, load_task
from solon.records import Measures, Prompt
from solon.redteam import split_key
from solon.tasks import FileTask, NoGrader
from solon.tasks.files import FileSizes
from solon.world.nano.shipped import find_nano_model
from tests.prompt_files import FORMS, make_texts, write_prompts
from tests.scripts import make_constitution

MODEL = {"models": {"assistant": {"source": "m"}}}
GROUPS = {"harmful": {"file": "harmful.txt", "kind": "red_team"}, "benign": {"file": "benign.txt", "kind": "helpful"}}
WHOLE = {
    "name": "bakery",
    "training": {"red_team": "red-team.txt", "helpful": "helpful.txt"},
    "evaluations": [{"name": "main", "groups": GROUPS}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with four files of prompts that have nothing in common."""
    for seed, (name, count) in enumerate({"red-team": 9, "helpful": 7, "harmful": 5, "benign": 4}.items()):
        (tmp_path / f"{name}.txt").write_text("\n".join(make_texts(count, seed=seed)))
    return tmp_path


def load(folder: Path, **changes: Any) -> FileTask:
    (folder / "task.yaml").write_text(yaml.safe_dump({**WHOLE, **changes}, sort_keys=False))
    task = load_task(folder / "task.yaml")
    assert isinstance(task, FileTask)
    return task


def draw(task: FileTask, **prompts: Any) -> RunPrompts:
    config = build_config("paper", {**MODEL, "prompts": prompts}, task)
    return draw_prompts(task, config, make_constitution("p"))


def ask(task: FileTask, **sizes: Any) -> list[Evaluation]:
    return list(task.evaluations(FileSizes(**sizes), seed=0))


def texts(prompts: Any) -> list[str]:
    return [prompt.conversation.messages[-1].text for prompt in prompts]


def notes(task: FileTask) -> list[str]:
    return list(task.notices(load_constitution("default"), {}))


def test_files_are_trained_on_and_measured_on_as_the_task_says(folder: Path) -> None:
    models = {"assistant": {"source": "models/base"}, "critic": "judge"}
    task = load(folder, title="a bakery", about="Buns.", example="How do I burn bread?", models=models)
    assert (task.name, task.title, task.about) == ("bakery", "a bakery", "Buns.")
    assert task.models == {"assistant": {"source": str(folder / "models/base"), "backend": "local"}, "critic": "judge"}
    assert task.source == str(folder / "task.yaml")
    drawn = draw(task)
    trained = make_texts(9, seed=0) + make_texts(7, seed=1)
    assert {stage: texts(pool) for stage, pool in drawn.pools.items()} == dict.fromkeys(POOLS, trained)
    assert [p.kind for p in drawn.pools["ppo"]] == ["red_team"] * 9 + ["helpful"] * 7
    (main,) = drawn.evaluations
    assert (main.name, main.caption) == ("main", "main")
    asked = {group: texts(prompts) for group, prompts in main.prompts.items()}
    assert asked == {"harmful": make_texts(5, seed=2), "benign": make_texts(4, seed=3)}
    assert [p.kind for prompts in main.prompts.values() for p in prompts] == ["red_team"] * 5 + ["helpful"] * 4
    assert {p.split for pool in drawn.pools.values() for p in pool} == {"train"}
    assert {p.split for prompts in main.prompts.values() for p in prompts} == {"heldout"}
    example = task.example()
    assert example is not None
    assert texts([example]) == ["How do I burn bread?"]
    assert load(folder).example() is None


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_file_makes_a_task(folder: Path, form: str) -> None:
    trained, measured = make_texts(6, seed=10), make_texts(5, seed=11)
    training = write_prompts(folder, form, trained, name="own-training")
    measuring = write_prompts(folder, form, measured, name="own-measuring")
    groups = {"harmful": {"file": measuring.name, "kind": "red_team"}}
    task = load(folder, training={"red_team": training.name}, evaluations=[{"name": "main", "groups": groups}])
    drawn = draw(task)
    assert texts(drawn.pools["comparisons"]) == trained
    assert texts(drawn.evaluations[0].prompts["harmful"]) == measured
    short = FileTask.of_files(red_team=training, harmful=measuring)
    assert texts(draw(short).pools["comparisons"]) == trained
    assert texts(draw(short).evaluations[0].prompts["harmful"]) == measured


def test_several_files_of_a_kind_are_one_pool(folder: Path) -> None:
    (folder / "more.txt").write_text("\n".join(make_texts(3, seed=20)))
    task = load(folder, training={"red_team": ["red-team.txt", "more.txt"]})
    assert texts(draw(task).pools["revision"]) == make_texts(9, seed=0) + make_texts(3, seed=20)


def write_lines(path: Path, *rows: dict[str, str]) -> None:
    path.write_text("\n".join(map(json.dumps, rows)))


@pytest.mark.parametrize("kinds", [("red_team", "red_team"), ("red_team", "helpful"), ("helpful", "red_team")])
@pytest.mark.parametrize("stated", ["heldout", "train"])
def test_a_goal_in_two_files_is_on_the_side_that_one_of_them_says(
    folder: Path, kinds: tuple[str, str], stated: str
) -> None:
    asked, others = make_texts(40, seed=50), make_texts(40, seed=51)
    write_lines(folder / "a.jsonl", *({"prompt": p, "goal": f"g{n}", "split": stated} for n, p in enumerate(asked)))
    write_lines(folder / "b.jsonl", *({"prompt": p, "goal": f"G{n}"} for n, p in enumerate(others)))
    write_lines(folder / "c.jsonl", *({"prompt": p, "goal": f"h{n}"} for n, p in enumerate(make_texts(40, seed=52))))
    for names in (("a.jsonl", "b.jsonl"), ("b.jsonl", "a.jsonl")):
        files: dict[str, list[str]] = {"helpful": ["c.jsonl"], "red_team": []}
        for kind, name in zip(kinds, names, strict=True):
            files[kind].append(name)
        task = load(folder, training=files, evaluations=[])
        trained = {split_key(prompt) for prompt in draw(task).pools["ppo"]}
        measured = {split_key(prompt) for prompts in ask(task)[0].prompts.values() for prompt in prompts}
        goals = {f"goal:g{n}" for n in range(40)}
        assert goals <= (trained if stated == "train" else measured)
        assert not trained & measured


def test_a_goal_that_two_files_put_on_both_sides_is_refused_by_both_lines(folder: Path) -> None:
    write_lines(folder / "a.jsonl", {"prompt": "Aa bb cc", "goal": "0", "split": "heldout"})
    write_lines(folder / "b.jsonl", {"prompt": "Dd ee ff", "goal": "0", "split": "train"})
    for evaluations in ([], WHOLE["evaluations"]):
        with pytest.raises(
            RecordError, match=rf"^{folder}/b\.jsonl:1: is of split 'train', and {folder}/a\.jsonl:1 of"
        ):
            load(folder, training={"red_team": ["a.jsonl"], "helpful": "b.jsonl"}, evaluations=evaluations)


def test_a_prompt_of_two_files_is_drawn_and_measured_once(folder: Path) -> None:
    asked = make_texts(60, seed=53)
    (folder / "a.txt").write_text("\n".join(asked[:40]))
    (folder / "b.txt").write_text("\n".join(text.upper() for text in asked[20:]))
    task = load(folder, training={"red_team": ["a.txt", "b.txt"]})
    drawn = draw(task, ppo={"red_team": 60})
    assert len({text.lower() for text in texts(drawn.pools["ppo"])}) == 60
    assert notes(task)[-1] == "b.txt: 20 prompts kept; left out as saying the same as another: 20"
    with pytest.raises(ConfigError, match=r"^prompts\.ppo\.red_team=61: there are 60 prompts"):
        draw(task, ppo={"red_team": 61})
    held = draw(load(folder, training={"red_team": ["a.txt", "b.txt"]}, evaluations=[]))
    measured = texts(held.evaluations[0].prompts["harmful"])
    assert len({text.lower() for text in measured}) == len(measured) == 60 - len(held.pools["ppo"])


# ------------------------------------------------------------------------------------------------ how many


def test_a_number_draws_so_many_by_seed_and_none_is_all(folder: Path) -> None:
    task = load(folder)
    drawn = draw(task, ppo={"red_team": 4, "helpful": 0}, comparisons={"red_team": 2})
    assert len(drawn.pools["revision"]) == 16
    assert [p.kind for p in drawn.pools["ppo"]] == ["red_team"] * 4
    assert [p.kind for p in drawn.pools["comparisons"]] == ["red_team"] * 2 + ["helpful"] * 7
    assert drawn.pools["comparisons"][:2] == drawn.pools["ppo"][:2]  # a smaller draw begins a larger one
    wanted = {"ppo": {"red_team": 4, "helpful": 0}}
    draws = {tuple(texts(task.training_prompts(wanted, seed=seed)["ppo"])) for seed in range(5)}
    assert len(draws) > 1
    assert len({tuple(texts(task.training_prompts(wanted, seed=3)["ppo"])) for _ in range(2)}) == 1


def test_more_than_there_are_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"^prompts\.ppo\.helpful=8: there are 7 prompts of this kind [^\n]*$"):
        draw(load(folder), ppo={"helpful": 8})


def test_each_group_is_cut_to_the_size_asked_for(folder: Path) -> None:
    task = load(folder)
    (main,) = ask(task, at_most=4)
    assert {group: len(prompts) for group, prompts in main.prompts.items()} == {"harmful": 4, "benign": 4}
    (whole,) = ask(task)
    assert ask(task, at_most=9)[0].prompts == whole.prompts
    assert set(texts(main.prompts["harmful"])) < set(texts(whole.prompts["harmful"]))
    assert len(draw(task, evaluation={"at_most": 2}).asked) == 4
    with pytest.raises(ConfigError, match=r"unknown field 'at_mots'; did you mean 'at_most'"):
        draw(task, evaluation={"at_mots": 2})


# -------------------------------------------------------------------------------------------------- splits


def rows(count: int, **said: Any) -> str:
    wordings = [text for n in range(count) for text in make_texts(2, seed=100 + n)]
    return "\n".join(json.dumps({"prompt": text, "goal": f"goal {n // 2}", **said}) for n, text in enumerate(wordings))


def test_without_files_to_measure_on_a_fifth_of_the_goals_is(folder: Path) -> None:
    (folder / "asked.jsonl").write_text(rows(100))
    task = load(folder, training={"red_team": "asked.jsonl", "helpful": "helpful.txt"}, evaluations=[])
    (main,) = ask(task)
    pool = draw(task).pools["ppo"]
    asked = [prompt for prompts in main.prompts.values() for prompt in prompts]
    assert not {split_key(prompt) for prompt in pool} & {split_key(prompt) for prompt in asked}
    assert len(pool) + len(asked) == 207
    assert 20 <= len(main.prompts["harmful"]) <= 60
    assert (main.name, main.caption) == ("main", "Held-out prompts")
    assert all(prompt.kind == "red_team" for prompt in main.prompts["harmful"])


def test_where_there_are_files_to_measure_on_no_training_prompt_of_either_kind_is_lost(folder: Path) -> None:
    (folder / "asked.jsonl").write_text(rows(50))
    groups = {"harmful": GROUPS["harmful"]}
    task = load(folder, training={"helpful": "asked.jsonl"}, evaluations=[{"name": "main", "groups": groups}])
    assert len(draw(task).pools["ppo"]) == 100
    short = FileTask.of_files(helpful=folder / "asked.jsonl", harmful=folder / "harmful.txt")
    assert len(draw(short).pools["ppo"]) == 100


def test_a_prompt_that_says_its_split_is_on_that_side_and_what_is_not_used_is_told(folder: Path) -> None:
    kept_out, trained = make_texts(2, seed=30)
    (folder / "red-team.jsonl").write_text(
        json.dumps({"prompt": kept_out, "split": "test"}) + "\n" + json.dumps({"prompt": trained})
    )
    measured, shown = make_texts(2, seed=31)
    (folder / "harmful.jsonl").write_text(
        json.dumps({"prompt": measured}) + "\n" + json.dumps({"prompt": shown, "split": "train"})
    )
    groups = {"harmful": {"file": "harmful.jsonl", "kind": "red_team"}}
    task = load(folder, training={"red_team": "red-team.jsonl"}, evaluations=[{"name": "main", "groups": groups}])
    drawn = draw(task)
    assert texts(drawn.pools["ppo"]) == [trained]
    assert texts(drawn.evaluations[0].prompts["harmful"]) == [measured]
    said = notes(task)
    assert "red-team.jsonl: 2 prompts kept; kept from training by their split: 1" in said
    assert "harmful.jsonl: 2 prompts kept; of the split train and not measured on: 1" in said
    held = load(folder, training={"red_team": "red-team.jsonl"}, evaluations=[])
    assert texts(ask(held)[0].prompts["harmful"])[0] == kept_out
    assert ask(held)[0].prompts["harmful"][0].split == "test"


@pytest.mark.parametrize("kind", ["red_team", "helpful"])
def test_files_too_small_to_hold_any_out_are_refused_with_what_to_give(folder: Path, kind: str) -> None:
    stated = [json.dumps({"prompt": text, "split": "train"}) for text in make_texts(3, seed=40)]
    (folder / "few.jsonl").write_text("\n".join(stated))
    said = r"^there is nothing to measure on, since none of the 3 prompts .* --harmful FILE  or  --benign FILE, or as"
    with pytest.raises(ConfigError, match=said):
        FileTask.of_files(**{kind: folder / "few.jsonl"})
    with pytest.raises(ConfigError, match=said):
        load(folder, training={kind: "few.jsonl"}, evaluations=[])


def test_a_prompt_is_of_the_kind_that_it_says_and_not_of_that_of_its_file(folder: Path) -> None:
    asked = make_texts(60, seed=41)
    lines = [{"prompt": text, "kind": ("helpful", "red_team")[n % 3 == 0]} for n, text in enumerate(asked)]
    (folder / "mixed.jsonl").write_text("\n".join(map(json.dumps, lines)))
    task = load(folder, training={"red_team": "mixed.jsonl"})
    drawn = draw(task, ppo={"red_team": 5, "helpful": 30}, comparisons={"red_team": 0})
    assert [p.kind for p in drawn.pools["ppo"]] == ["red_team"] * 5 + ["helpful"] * 30
    assert texts(drawn.pools["comparisons"]) == [text for n, text in enumerate(asked) if n % 3]
    (main,) = ask(load(folder, training={"red_team": "mixed.jsonl"}, evaluations=[]))
    assert {group: {p.kind for p in prompts} for group, prompts in main.prompts.items()} == {
        "harmful": {"red_team"},
        "benign": {"helpful"},
    }


# ------------------------------------------------------------------------------------- models and gold comparisons


def test_a_model_that_ships_is_known_to_every_task_by_its_name(folder: Path) -> None:
    task = load(folder, models={"assistant": {"source": "nano"}})
    assert build_config(None, {}, task).models["judge"].source == "nano"
    assert find_checkpoint(task, "nano") == find_checkpoint(None, "nano") == find_nano_model()
    (folder / "nano").mkdir()
    own = load(folder, models={"assistant": {"source": "./nano"}})  # a folder that is called so
    assert build_config(None, {}, own).models["assistant"].source == str(folder / "nano")
    with pytest.raises(ModelError, match=r"^nani: no such checkpoint folder"):
        find_checkpoint(task, "nani")


GOLD = {"prompt": "How?", "response_a": "So.", "response_b": "No.", "answer": "a", "kind": "helpfulness"}


def test_gold_comparisons_come_from_the_file_that_is_named(folder: Path) -> None:
    other = {**GOLD, "answer": "b", "principle_id": "p"}
    (folder / "gold.jsonl").write_text(f"{json.dumps(GOLD)}\n\n{json.dumps(other)}\n")
    first, second = load(folder, gold="gold.jsonl").gold()
    assert (first.prompt, first.response_a, first.response_b) == ("How?", "So.", "No.")
    assert (first.answer, first.kind, first.principle_id) == ("a", "helpfulness", None)
    assert (second.answer, second.principle_id) == ("b", "p")
    assert load(folder, gold="gold.jsonl").identity == load(folder).identity  # nobody is asked anything else
    assert list(load(folder).gold()) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (json.dumps({**GOLD, "answer": "c"}), "answer: Input should be 'a' or 'b'"),
        (json.dumps({**GOLD, "kind": ""}), "kind: .*at least 1 character"),
        (json.dumps({**GOLD, "prompt": ["How?"]}), "prompt: Input should be a valid string"),
        (json.dumps({**GOLD, "response_b": "So."}), "response_a and response_b are equal"),
        (json.dumps({**GOLD, "principle": "p"}), "principle: "),
        (json.dumps({name: GOLD[name] for name in GOLD if name != "answer"}), "answer: Field required"),
        ('"How?"', "expected an object with prompt, .* found str"),
        ("{", "is not a line of JSON"),
    ],
)
def test_a_gold_comparison_that_is_none_is_named_by_file_and_line(folder: Path, line: str, said: str) -> None:
    (folder / "gold.jsonl").write_text(f"{json.dumps(GOLD)}\n{line}\n")
    with pytest.raises(RecordError, match=rf"^{folder}/gold\.jsonl:2: [^\n]*{said}[^\n]*$"):
        load(folder, gold="gold.jsonl")
    with pytest.raises(RecordError, match=r"nothing\.jsonl: cannot be read"):
        load(folder, gold="nothing.jsonl")


# ------------------------------------------------------------------------------------- identity and notices


def test_the_identity_is_that_of_the_prompts(folder: Path) -> None:
    first = load(folder).identity
    assert first.startswith("file/1 ")
    assert load(folder, title="another", about="x", **MODEL).identity == first
    assert load(folder, example="How?").identity != first
    (folder / "moved").mkdir()
    for file in [*folder.glob("*.txt")]:
        (folder / "moved" / file.name).write_bytes(file.read_bytes())
    assert load(folder / "moved").identity == first
    for name in ("red-team", "helpful", "harmful", "benign"):
        path = folder / f"{name}.txt"
        before = path.read_text()
        path.write_text(before.replace("?", "!", 1))
        assert load(folder).identity != first, name
        path.write_text(before)
    assert load(folder).identity == first


def test_what_was_read_and_left_out_is_told_with_counts(folder: Path) -> None:
    (first, *_) = make_texts(9, seed=0)
    with (folder / "red-team.txt").open("a") as file:
        file.write(f"\n{first.upper()}\n")
    lines = [{"prompt": text, "rating": 3, "id": 1} for text in make_texts(4, seed=3)]
    (folder / "benign.jsonl").write_text("\n".join(map(json.dumps, lines[:3])) + "\n" + json.dumps({"prompt": "Hm?"}))
    groups = {**GROUPS, "benign": {"file": "benign.jsonl", "kind": "helpful"}}
    said = notes(load(folder, evaluations=[{"name": "main", "groups": groups}]))
    assert said == [
        "red-team.txt: 9 prompts kept; left out as saying the same as another: 1",
        "benign.jsonl: 4 prompts kept; rating passed over in 3 prompts, id passed over in 3 prompts",
    ]


def told(task: Task, law: Constitution, **prompts: Any) -> str:
    """Return what is said of the prompts of a run, worked out but not done."""
    settings = {"models": {"assistant": {"source": "nano"}}, "prompts": prompts}
    plan = build_plan(
        task,
        resolve_config(task, law, "paper" if isinstance(task, FileTask) else None, settings),
        law,
        settings=settings,
        grader=None,
        grader_source="",
        graph=Graph(),
        until=None,
    )
    (line,) = [notice for notice in plan.header.notices if notice.startswith("prompts to train on")] or [""]
    return line


def test_the_counts_said_before_a_run_are_those_of_the_run(folder: Path) -> None:
    law = make_constitution("p", red_team_prompts=("Say it.", "say it", make_texts(1, seed=0)[0]))
    (leaked,) = make_texts(1, seed=3)
    with (folder / "red-team.txt").open("a") as file:
        file.write(f"\n{leaked.upper()}\n")
    sizes = {"comparisons": {"red_team": 0}, "ppo": {"helpful": 3}, "evaluation": {"at_most": 4}}
    assert told(load(folder), law, drop_leaks=True, **sizes) == (
        "prompts to train on: revision 10 red-team and 7 helpful (left out, duplicate: 2, leak exact: 1), "
        "comparisons 0 red-team and 7 helpful, ppo 9 red-team and 3 helpful (left out, leak exact: 1); "
        "to measure on: 4 in main/harmful, 4 in main/benign"
    )


def test_of_the_world_no_counts_are_said() -> None:
    assert told(load_task(), make_constitution("p")) == ""


# -------------------------------------------------------------------------------------------------- errors

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a missing file": ({"training": {"red_team": "nothing.txt"}}, r"nothing\.txt: cannot be read"),
    "an unknown field": ({"trainings": {}}, r"unknown field 'trainings'; did you mean 'training'\?"),
    "an unknown field of the training": (
        {"training": {"redteam": "red-team.txt"}},
        r"unknown field 'training.redteam'; did you mean 'red_team'\?",
    ),
    "an unknown field of a group": (
        {"evaluations": [{"name": "main", "groups": {"harmful": {"file": "harmful.txt", "kin": "red_team"}}}]},
        r"evaluations\.0\.groups\.harmful",
    ),
    "an unknown kind": (
        {"evaluations": [{"name": "main", "groups": {"harmful": {"file": "harmful.txt", "kind": "red-team"}}}]},
        r"evaluations\.0\.groups\.harmful\.kind: Input should be 'red_team' or 'helpful' \(got 'red-team'\)",
    ),
    "no files at all": (
        {"training": {}, "evaluations": []},
        "there are no prompts to train on: name files of them under `training` as red_team, helpful or both",
    ),
    "no name of a training file": (
        {"training": {"red_team": {"file": "red-team.txt"}}},
        r"training\.red_team: expected the name of a file, or a list of names$",
    ),
    "a training file that is a number": (
        {"training": {"red_team": ["red-team.txt"], "helpful": ["helpful.txt", 3]}},
        r"training\.helpful: expected the name of a file, or a list of names \(got \['helpful.txt', 3\]\)$",
    ),
    "no group": ({"evaluations": [{"name": "main", "groups": {}}]}, r"evaluations\.0\.groups: .*at least 1"),
    "no name": ({"name": ""}, "name: must hold a letter or digit"),
    "a measure of no rate": (
        {"measures": {"by_category": ["harmful", "helps"]}},
        r"measures: no measure is called harmful\.helps",
    ),
    "an axis without a better side": (
        {
            "measures": {
                "rates": [{"group": "benign", "name": "helps", "caption": "x"}],
                "helpfulness": {"group": "benign", "name": "helps", "caption": "x"},
            }
        },
        r"an axis needs a measure that says which way is better: benign\.helps",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_line(folder: Path, case: str) -> None:
    changes, said = WRONG[case]
    with pytest.raises((ConfigError, RecordError), match=said) as caught:
        load(folder, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../../escaped", "/tmp/x", "a\\b", "a\nb", "\x1b[2Ja", "..", " ", "a\u2028b", "\u200b"]
)
def test_a_task_name_that_is_a_path_or_more_than_a_line_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{folder}/task\.yaml: name: must hold a letter or digit[^\n]*$"):
        load(folder, name=name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bakery", "bakery"),
        ("own-prompts", "own-prompts"),
        ("My shop: no. 7", "My-shop-no.-7"),
        ("../../escaped", "escaped"),
        ("/etc", "etc"),
        ("a/../b\n", "a-..-b"),
        ("Bäckerei", "Bäckerei"),
    ],
)
def test_the_folder_of_a_task_is_one_step_below_runs(name: str, expected: str) -> None:
    assert folder_name(name) == expected


def test_a_name_that_no_folder_can_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^'\.\./': makes no name of a folder: give one with  --out DIR$"):
        folder_name("../")


@pytest.mark.parametrize("example", ["", "  ", "\u200b", "How\x07?"])
def test_an_example_without_words_is_refused(folder: Path, example: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{folder}/task\.yaml: example: must be a text with words[^\n]*$"):
        load(folder, example=example)


@pytest.mark.parametrize(
    ("content", "line", "key"),
    [
        ("name: x\ntraining: {}\nname: y\n", 3, "name"),
        ("name: x\ntraining:\n  red_team: a.txt\n  'red_team': b.txt\n", 4, "red_team"),
        ("name: x\nevaluations:\n  - {name: m,\n     groups: {a: 1, a: 2}}\n", 4, "a"),
    ],
)
def test_a_key_that_is_there_twice_is_refused_by_its_line(tmp_path: Path, content: str, line: int, key: str) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=rf"^{path}:{line}: the key '{key}' is there twice: remove one$"):
        load_task(path)


def test_a_key_that_lies_over_a_merged_one_is_no_repeat(folder: Path) -> None:
    groups = "{a: &g {file: harmful.txt, kind: red_team}, b: {<<: *g, file: benign.txt}}"
    text = f"training: {{red_team: red-team.txt}}\nevaluations: [{{name: m, groups: {groups}}}]\n"
    (folder / "task.yaml").write_text(f"name: x\n{text}")
    task = load_task(folder / "task.yaml")
    assert isinstance(task, FileTask)
    assert {group: len(p) for group, p in ask(task)[0].prompts.items()} == {"a": 5, "b": 4}


def test_a_damaged_line_is_named_with_its_file(folder: Path) -> None:
    (folder / "broken.jsonl").write_text('{"prompt": "How?"}\n{"prompt"\n')
    with pytest.raises(RecordError, match=rf"^{folder}/broken\.jsonl:2: is not a line of JSON"):
        load(folder, training={"red_team": "broken.jsonl"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name: [", "is not YAML"),
        (b"- a\n", "expected the fields of a task"),
        (b"\xff\xfe\x00", "cannot be read as a task's file"),
        (b"name: x\n", "field 'training' is missing"),
        (b"#" * 1_000_001, "is too long"),
    ],
)
def test_a_task_file_that_is_none_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "task.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^{path}: [^\n]*{said}[^\n]*$"):
        load_task(path)
    with pytest.raises(ConfigError, match="cannot be read as a task's file"):
        load_task(tmp_path / "nothing.yaml")


def test_no_training_prompts_and_a_group_without_prompts_are_refused(folder: Path) -> None:
    def refuse(task: FileTask) -> None:
        config = build_config(None, MODEL, task)
        refuse_idle_stages(draw_prompts(task, config, make_constitution("p")), config)

    with pytest.raises(ConfigError, match=r"^prompts\.revision: there is no prompt for this stage"):
        refuse(load(folder, training={}))
    (folder / "shown.jsonl").write_text('{"prompt": "How?", "split": "train"}')
    groups = {"harmful": {"file": "shown.jsonl", "kind": "red_team"}}
    with pytest.raises(ConfigError, match=r"^evaluation main: there is no prompt in group harmful"):
        refuse(load(folder, evaluations=[{"name": "main", "groups": groups}]))


@pytest.mark.parametrize("names", [["main", "main"], ["main", ""], ["a\nb"]])
def test_confused_names_of_evaluations_stop_a_run_before_its_folder_is_made(folder: Path, names: list[str]) -> None:
    task = load(folder, evaluations=[{"name": name, "groups": GROUPS} for name in names])
    with pytest.raises(ConfigError, match=r"^evaluation '[^\n]*$"):
        solon.run(out=folder / "run", task=task, overrides=MODEL)
    assert not (folder / "run").exists()


def test_a_task_without_a_model_needs_one(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"^task bakery: brings no model: [^\n]*--model PATH$"):
        build_config(None, {}, load(folder))
    with pytest.raises(ConfigError, match=r"task bakery has no such preset"):
        build_config("smoke", MODEL, load(folder))
    own = build_config(None, {}, load(folder, **MODEL))
    assert own.models["assistant"].source == str(folder / "m")


def test_prompt_files_beside_a_task_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--red-team: cannot be given beside --task"):
        find_task("task.yaml", red_team=folder / "red-team.txt")
    with pytest.raises(ConfigError, match=r"^give prompts to train on:  --red-team FILE, --helpful FILE, or both$"):
        find_task(None, harmful=folder / "harmful.txt", benign=None)
    for nothing in (folder, Path("")):  # what the shell makes of a variable that is not set
        with pytest.raises(ConfigError, match=rf"^--red-team {nothing}: is a folder: give a file of prompts$"):
            find_task(None, red_team=nothing)
    short = find_task(None, red_team=folder / "red-team.txt", benign=folder / "benign.txt")
    assert short.source == f"--red-team {folder}/red-team.txt --benign {folder}/benign.txt"
    assert find_task(None).name == "world"


def test_an_unknown_task_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^--task wrld: no such task; did you mean 'world'\?"):
        load_task("wrld")


# ------------------------------------------------------------------------------------ graders and measures

GRADER = """
import functools

from solon.records import Grade, Measure, Measures


class Rude:
    identity = "rude/1"
    measures = Measures(rates=(Measure(group="harmful", name="rude", caption="Rude", better="lower"),))

    async def grade(self, prompt, response, open_model):
        return Grade(values={"rude": "fool" in response.text})


class Plain(Rude):
    identity = "plain/1"
    measures = Measures()


class Beside:
    identity = "beside/1"

    async def compare(self, prompt, response, reference, open_model):
        return Grade(values={"longer": len(response.text) > len(reference.text)})


class Needy(Rude):
    def __init__(self, key):
        pass


class Nothing:
    identity = "nothing"


class NoName(Rude):
    identity = "  "


class Numbered(Rude):
    identity = 3


class Nameless:
    async def grade(self, prompt, response, open_model):
        return Grade(values={"rude": False})


class Failing(Rude):
    @property
    def identity(self):
        raise KeyError("name")


class Leaving(Rude):
    def __init__(self):
        raise SystemExit("usage: rude")


class Blocking(Rude):
    def grade(self, prompt, response, open_model):
        return Grade(values={"rude": False})


class Short(Rude):
    async def grade(self, prompt, response):
        return Grade(values={"rude": False})


class Text(Rude):
    grade = "rude"


class Pair(Beside):
    async def compare(self, prompt, response, open_model):
        return Grade(values={"longer": False})


class Unmeasured(Rude):
    measures = None


class Listed(Rude):
    measures = ["rude"]


class Mapped(Rude):
    measures = {"rates": []}


class AskingText(Rude):
    asks = "judge"


class WeighingText(Rude):
    weighs = "judge"


class AskingNumbers(Rude):
    asks = ("judge", 3)


class Limitless(Rude):
    limits = ["irony"]


def wrap(method):
    @functools.wraps(method)
    def wrapped(*args, **kwargs):
        return method(*args, **kwargs)

    return wrapped


class Wrapped(Rude):
    grade = wrap(Rude.grade)
"""


@pytest.fixture
def graders(folder: Path) -> str:
    """The name of a module of graders beside the task's file; another one for each test, since modules are kept."""
    name = f"graders_of_{folder.name.replace('-', '_')}"
    (folder / f"{name}.py").write_text(GRADER)
    return name


def test_without_a_grader_answers_are_kept_ungraded(folder: Path) -> None:
    (main,) = ask(load(folder))
    assert isinstance(main.grader, NoGrader)
    assert main.measures == Measures()


def test_a_grader_is_found_beside_the_file_and_says_what_is_reported(folder: Path, graders: str) -> None:
    (main,) = ask(load(folder, grader=f"{graders}:Rude"))
    assert main.grader.identity == "rude/1"
    assert [rate.name for rate in main.measures.rates] == ["rude"]
    pair = {"name": "pair", "groups": GROUPS, "grader": f"{graders}:Beside"}
    first, second = ask(load(folder, grader=f"{graders}:Rude", evaluations=[*WHOLE["evaluations"], pair]))
    assert (first.grader.identity, second.grader.identity) == ("rude/1", "beside/1")


def test_measures_of_the_file_stand_over_those_of_the_grader(folder: Path, graders: str) -> None:
    own = {"rates": [{"group": "benign", "name": "rude", "caption": "Rude to friends", "better": "lower"}]}
    (main,) = ask(load(folder, grader=f"{graders}:Rude", measures=own))
    assert [(rate.group, rate.caption) for rate in main.measures.rates] == [("benign", "Rude to friends")]
    other = {"rates": [{"group": "harmful", "name": "rude", "caption": "Rude to foes"}], "details": ["harmful"]}
    (main,) = ask(
        load(
            folder,
            grader=f"{graders}:Plain",
            measures=own,
            evaluations=[{"name": "main", "groups": GROUPS, "measures": other}],
        )
    )
    assert [rate.caption for rate in main.measures.rates] == ["Rude to foes"]
    assert main.measures.details == ("harmful",)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("{}", "expected MODULE:CLASS"),
        ("{}:", "expected MODULE:CLASS"),
        ("{}:Needy", "cannot be made from .*TypeError: .*key"),
        ("{}:Missing", "cannot be made from .*AttributeError"),
        ("no_module_of_this_name:Rude", "cannot be made from .*ModuleNotFoundError"),
        ("{}:Nothing", "needs `async def grade.* or `async def compare"),
        ("{}:NoName", "needs an `identity`, a text such as 'my-grader/1', not an empty one"),
        ("{}:Numbered", "needs an `identity`, .* not int"),
        ("{}:Nameless", "needs an `identity`, .* not NoneType"),
        ("{}:Failing", "cannot be asked what it is: KeyError: 'name'"),
        ("{}:Leaving", "cannot be made from .*SystemExit: usage: rude"),
        ("{}:Blocking", "`grade` is not asynchronous: write `async def grade"),
        ("{}:Short", "`grade` cannot be called as `async def grade.*: too many positional arguments"),
        ("{}:Text", "`grade` cannot be called as `async def grade.*: 'rude' is not a callable object"),
        ("{}:Pair", "`compare` cannot be called as `async def compare.*: too many positional arguments"),
        ("{}:Unmeasured", "`measures` has to be a Measures of solon.records, not NoneType"),
        ("{}:Listed", "`measures` has to be a Measures of solon.records, not list"),
        ("{}:Mapped", "`measures` has to be a Measures of solon.records, not dict"),
        ("{}:AskingText", r"`asks` has to be a tuple of roles, such as \('judge',\), not str"),
        ("{}:WeighingText", r"`weighs` has to be a tuple of roles, such as \('judge',\), not str"),
        ("{}:AskingNumbers", "`asks` has to be a tuple of roles, .* not tuple"),
        ("{}:Limitless", "`limits` has to be a text that says what it cannot tell, not list"),
        ("{}:Grade", "cannot be made from"),
    ],
)
def test_a_grader_that_cannot_be_had_is_named_in_one_line(folder: Path, graders: str, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load(folder, grader=name.format(graders))
    assert str(caught.value).startswith(f"grader {name.format(graders)}: ")
    assert "\n" not in str(caught.value)


def test_a_method_may_be_wrapped(folder: Path, graders: str) -> None:
    (main,) = ask(load(folder, grader=f"{graders}:Wrapped"))
    assert main.grader.identity == "rude/1"


# --------------------------------------------------------------------------------------------------- leaks


def leak(folder: Path, text: str) -> None:
    with (folder / "red-team.txt").open("a") as file:
        file.write(f"\n{text}")


def change_a_word(text: str, number: int = 5) -> str:
    words = text.split()
    return " ".join([*words[:number], "changed", *words[number + 1 :]])


@pytest.mark.parametrize("how", ["the same", "nearly the same"])
def test_a_leak_is_named_with_both_sides_and_can_be_left_out(folder: Path, how: str) -> None:
    measured = make_texts(5, seed=2)[3]
    leaked = measured.upper() if how == "the same" else change_a_word(measured)
    leak(folder, leaked)
    task = load(folder)
    with pytest.raises(ConfigError) as caught:
        draw(task)
    trained, asked = task.training_prompts({"ppo": {"red_team": None, "helpful": 0}}, seed=0)["ppo"][-1], ask(task)[0]
    said = str(caught.value)
    assert said.startswith("1 training prompts say what an evaluation prompt says")
    assert f"{trained.id} (train, red-team.txt)" in said
    assert f"says {how} as {asked.prompts['harmful'][3].id} (heldout, harmful.txt)" in said
    assert "\n" not in said
    left = draw(task, drop_leaks=True)
    assert leaked not in texts(left.pools["ppo"])
    assert {stage: len(pool) for stage, pool in left.pools.items()} == dict.fromkeys(POOLS, 16)
    exact, near = (3, 0) if how == "the same" else (0, 3)  # each of three stages would have had it
    assert (left.counts["leak_exact"], left.counts["leak_near"]) == (exact, near)
    assert left.counts["in"] == sum(count for reason, count in left.counts.items() if reason != "in")


def test_what_the_example_says_is_a_leak_too(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"says the same as \w+ \(heldout, example\)"):
        draw(load(folder, example=make_texts(9, seed=0)[2]))


def test_a_near_twin_of_the_other_kind_is_no_leak(folder: Path) -> None:
    leak(folder, change_a_word(make_texts(4, seed=3)[0]))  # near a benign prompt that is measured on
    assert len(draw(load(folder)).pools["ppo"]) == 17


def test_prompts_with_few_words_in_common_are_no_leaks(folder: Path) -> None:
    words, others = make_texts(5, seed=2)[0].split(), make_texts(1, seed=40)[0].split()
    leak(folder, " ".join([*words[:5], *others[:7]]))
    assert len(draw(load(folder)).pools["ppo"]) == 17


def test_stored_prompts_are_prompts(folder: Path) -> None:
    prompts: list[Prompt] = list(draw(load(folder)).pools["ppo"][:3])
    (folder / "stored.jsonl").write_text("\n".join(prompt.to_json() for prompt in prompts))
    assert draw(load(folder, training={"red_team": "stored.jsonl"})).pools["ppo"] == tuple(prompts)
