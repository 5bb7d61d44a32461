r"""Proves that a prompt is read from every kind of file and in every form, and that what does not fit is named.

The transcripts are made up here, in the form of published ones: "\n\nHuman: ...\n\nAssistant: ...".
"""

import json
from pathlib import Path
from typing import Any

import pytest

from solon.errors import RecordError
from solon.redteam import PromptPool, load_prompts
from solon.redteam.forms import FINAL_ANSWER, MAX_CHARACTERS

DIALOGUE = "\n\nHuman: How?\n\nAssistant: Like so:\n\n1. Dig\n2. Hide: well\n\nHuman: And then?\n\nAssistant: Run."
ASKED = [("user", "How?"), ("assistant", "Like so:\n\n1. Dig\n2. Hide: well"), ("user", "And then?")]
MESSAGES = [{"role": role, "content": text} for role, text in ASKED]


def load(folder: Path, name: str, content: str | bytes) -> PromptPool:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_prompts(path, kind="red_team", split="train")


def turns(pool: PromptPool) -> list[list[tuple[str, str]]]:
    return [[(m.role, m.text) for m in prompt.conversation.messages] for prompt in pool.prompts]


@pytest.mark.parametrize("name", ["a.txt", "a", "A.TXT"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_plain_text(tmp_path: Path, name: str, end: str, mark: str) -> None:
    pool = load(tmp_path, name, mark + end.join(["One?", "", "  Two: and more ", "one?"]))
    assert turns(pool) == [[("user", "One?")], [("user", "Two: and more")]]
    assert pool.counts == {"in": 3, "kept": 2, "duplicate": 1}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_with_texts_that_hold_commas_lines_and_quotation_marks(tmp_path: Path, end: str) -> None:
    rows = [",Prompt ,kind,note,", '0,"One, or ""two""?",helpful,,', '1,"a\nb",,x,', "", ",,,,", "2,Three?,,,"]
    pool = load(tmp_path, "a.csv", "\ufeff" + end.join(rows))
    assert turns(pool) == [[("user", 'One, or "two"?')], [("user", "a\nb")], [("user", "Three?")]]
    assert [prompt.kind for prompt in pool.prompts] == ["helpful", "red_team", "red_team"]
    assert pool.passed_over == {"note": 1}


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array(tmp_path: Path, name: str, indent: int | None) -> None:
    body = ["One, [two]?", {"prompt": "Three?", "kind": "helpful"}, {"messages": MESSAGES}]
    pool = load(tmp_path, name, "\ufeff\n " + json.dumps(body, indent=indent) + "\n")
    assert turns(pool) == [[("user", "One, [two]?")], [("user", "Three?")], ASKED]
    assert [prompt.kind for prompt in pool.prompts] == ["red_team", "helpful", "red_team"]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    pool = load(tmp_path, name, '"One?"\r\n\r\n {"PROMPT": "Two \\ud83d\\ude00\\u2028?"} \r\n')
    assert turns(pool) == [[("user", "One?")], [("user", "Two \N{GRINNING FACE}\u2028?")]]


@pytest.mark.parametrize(
    "body",
    [
        {"transcript": DIALOGUE},
        {"chosen": DIALOGUE, "rejected": DIALOGUE + " Far."},
        {"prompt": DIALOGUE.removesuffix(" Run.")},
        {"prompt": DIALOGUE.strip()},
        {"transcript": DIALOGUE.replace("\n", "\r\n").replace("so:\r\n\r\n1. Dig\r\n", "so:\n\n1. Dig\n")},
        {"transcript": DIALOGUE.removesuffix("\n\nAssistant: Run.")},
        {"messages": [*MESSAGES, {"role": "assistant", "content": "Run."}]},
        {"chosen": MESSAGES},
        {"prompt": MESSAGES},
        {"prompt": [text for _, text in ASKED]},
        {"turns": [*(text for _, text in ASKED), "Run."]},
        {"messages": [{"role": m["role"], "content": [{"type": "text", "text": m["content"]}]} for m in MESSAGES]},
    ],
)
def test_a_dialogue_keeps_every_turn_but_an_answer_at_its_end(tmp_path: Path, body: Any) -> None:
    pool = load(tmp_path, "a.jsonl", json.dumps(body))
    assert turns(pool) == [ASKED]
    assert pool.passed_over.get(FINAL_ANSWER, 0) == int("Run." in json.dumps(body.get("chosen", body)))


def test_a_text_file_that_is_a_transcript_is_one_prompt(tmp_path: Path) -> None:
    assert turns(load(tmp_path, "a.txt", DIALOGUE)) == [ASKED]
    assert turns(load(tmp_path, "b.txt", "Human: One?\n\nHuman: Two?\n")) == [[("user", "One?")], [("user", "Two?")]]


SHORT = "Human: How?\nAssistant: Like so:\n1. Dig\n2. Hide: well\nHuman: And then?\nAssistant: Run."
SAID = [("user", "How?"), ("assistant", "Like so:\n1. Dig\n2. Hide: well"), ("user", "And then?")]


@pytest.mark.parametrize("text", [SHORT, f"\n\n{SHORT}\n", SHORT.removesuffix(" Run."), SHORT.replace("\n", "\r\n")])
def test_a_transcript_without_empty_lines_is_the_same_dialogue_in_every_file(tmp_path: Path, text: str) -> None:
    assert turns(load(tmp_path, "a.txt", text)) == [SAID]
    for field in ("prompt", "transcript", "chosen", "instruction"):
        assert turns(load(tmp_path, "a.jsonl", json.dumps({field: text}))) == [SAID]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_system_message_stands_before_a_transcript_whatever_ends_its_lines(tmp_path: Path, end: str) -> None:
    for text, expected in ((f"Be kind.{DIALOGUE}", ASKED), (f"Be kind.\n{SHORT}", SAID)):
        pool = load(tmp_path, "a.jsonl", json.dumps({"transcript": text.replace("\n", end)}))
        assert turns(pool) == [[("system", "Be kind."), *expected]]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (f"A title\n{SHORT}", 2, "does not begin with 'Human:'"),
        (f"A title{DIALOGUE}", 3, "does not begin with 'Human:'"),
        ("How?\nAssistant: So.\nWhy?", 2, "does not begin with 'Human:'"),
        (" Assistant: So.", 1, "does not begin with 'Human:'"),
        ("User: How?\n\nAssistant: So.", 3, "does not begin with 'Human:'"),
        (f"{SHORT}\n\n{SHORT}", 1, "after an empty line and others that are not"),
        (f"{SHORT}\n\n\n{SHORT}", 9, "begins another dialogue"),
        (f"{DIALOGUE}\n{DIALOGUE}", 15, "begins another dialogue"),
        ("Human: One?\nHuman: Two?\n\nAssistant: So.", 1, "after an empty line and others that are not"),
        ("Human: One?\nHuman: Two?\nAssistant: So.", 1, "by the user again"),
    ],
)
def test_plain_text_with_answers_that_is_no_one_dialogue_is_refused(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    with pytest.raises(RecordError) as caught:
        load(tmp_path, "a.txt", text)
    assert_says(caught.value, f"{tmp_path / 'a.txt'}:{line}: ", said)


def test_a_list_is_taken_as_it_is(tmp_path: Path) -> None:
    text = "Go on with this:\n\nHuman: How?\n\nAssistant:"
    assert turns(load(tmp_path, "a.jsonl", json.dumps({"prompt": [text]}))) == [[("user", text)]]


def test_a_speaker_within_a_line_is_a_word(tmp_path: Path) -> None:
    text = "What does Assistant: mean after Human: in a text?"
    assert turns(load(tmp_path, "a.txt", text)) == [[("user", text)]]


def test_a_transcript_in_a_cell_and_words_before_the_first_turn(tmp_path: Path) -> None:
    pool = load(tmp_path, "a.csv", f'chosen\n"Be kind.{DIALOGUE}"\n')
    assert turns(pool) == [[("system", "Be kind."), *ASKED]]


def test_an_instruction_is_read_with_its_input_and_a_goal_may_be_the_prompt(tmp_path: Path) -> None:
    lines = ['{"instruction": "Shorten.", "input": "A b.", "output": "B."}', '{"instruction": "Sing.", "input": ""}']
    pool = load(tmp_path, "a.jsonl", "\n".join(lines))
    assert turns(pool) == [[("user", "Shorten.\n\nA b.")], [("user", "Sing.")]]
    pool = load(tmp_path, "a.csv", "goal,target\nRob a bank,Sure\n")
    assert turns(pool) == [[("user", "Rob a bank")]]
    assert pool.prompts[0].goal == "Rob a bank"


LINES = [
    ('{"prompt"', "is not a line of JSON"),
    ("{'prompt': 'x'}", "is not a line of JSON"),
    ('{"prompt": "x"} {"prompt": "y"}', "more follows after the first value"),
    ('{"prompt": "x", "prompt": "y"}', "'prompt' is there twice"),
    ('{"prompt": "x", "Prompt": "y"}', "'prompt' is there twice, in two spellings"),
    ("7", "expected a JSON object or a text, found int"),
    ('["x"]', "expected a JSON object or a text, found list"),
    ('{"text": "x"}', "expected one of the fields 'prompt', 'turns', "),
    ('{"prompt": null}', "'prompt' is empty"),
    ('{"prompt": null, "goal": "x"}', "'prompt' is empty"),
    ('{"prompt": 3}', "'prompt' must be a text or a list of messages, found int"),
    ('{"prompt": " "}', "turn 1 of 'prompt' is without words"),
    ('{"prompt": ["x", "", "y"]}', "turn 2 of 'prompt' is without words"),
    ('{"prompt": "\\u200b"}', "turn 1 of 'prompt' is without words"),
    ('{"prompt": " \\u2060\\u200d\\ufeff\\u00ad "}', "turn 1 of 'prompt' is without words"),
    ('{"prompt": "\\u3164\\u2800\\ufe0f\\u034f"}', "turn 1 of 'prompt' is without words"),
    ('{"prompt": ["x", "\\u200b", "y"]}', "turn 2 of 'prompt' is without words"),
    ('{"turns": "x"}', "'turns' must be a list"),
    ('{"turns": []}', "expected at least 1"),
    ('{"turns": ["x", 3, "y"]}', "turn 2 of 'turns' must be a text, found int"),
    ('{"messages": ["x"]}', "message 1 of 'messages' must be an object"),
    ('{"messages": [{"role": "human", "content": "x"}]}', "has the role 'human': expected one of system, user"),
    ('{"messages": [{"role": "user", "content": null}]}', "message 1 of 'messages' must be a text"),
    ('{"messages": [{"role": "user", "content": [{"type": "image"}]}]}', "a part that is no text"),
    ('{"messages": [{"role": "assistant", "content": "x"}]}', "the user to begin"),
    ('{"messages": [{"role": "system", "content": "x"}]}', "holds no turn of the user"),
    ('{"transcript": "Human: x\\n\\nAssistant: y\\n\\nAssistant: z"}', "turn 3 of 'transcript' is by the"),
    ('{"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}]}', "by the user again"),
    ('{"messages": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}]}', "the user to begin"),
    ('{"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]}', "at the beginning"),
    ('{"prompt": "Go on.\\n\\nHuman: x\\n\\nAssistant: y"}', "a line that begins with 'Human:', and does not begin"),
    ('{"prompt": "x\\nAssistant: y"}', "has a line that begins with 'Assistant:'"),
    ('{"prompt": "Assistant: y"}', "has a line that begins with 'Assistant:'"),
    ('{"prompt": "Human: x\\n\\nAssistant: y\\nHuman: z"}', "others that are not: write an empty line before"),
    ('{"transcript": "Assistant: y\\n\\nHuman: z"}', "'transcript' is no transcript"),
    ('{"chosen": "Sure."}', "'chosen' is no transcript"),
    ('{"transcript": "Human: x\\n\\nHuman: y"}', "turn 2 of 'transcript' is by the user again"),
    ('{"transcript": "\\n\\nHuman: x\\n\\nAssistant:\\n\\nHuman: y"}', "turn 2 of 'transcript' is without words"),
    ('{"prompt": "x", "split": "novel"}', "split 'novel' is unknown: expected one of train, heldout, test, "),
    ('{"prompt": "x", "kind": "red-team"}', "kind 'red-team' is unknown: did you mean 'red_team'?"),
    ('{"prompt": "x", "goal": 3}', "'goal' must be a text, found int"),
    ('{"prompt": "x", "splt": "heldout"}', "unknown field 'splt': did you mean 'split'?"),
    ('{"prompt": "x", "categroy": "theft"}', "unknown field 'categroy': did you mean 'category'?"),
    ('{"prompt": "x\\u0000"}', "holds a control character (U+0000)"),
    ('{"prompt": "x", "goal": "x\\u0000"}', "'goal' holds a control character (U+0000)"),
    ('{"prompt": "x\\ud83d"}', "text: holds half of a character"),
    ('{"prompt": "x", "goal": "x\\ud83d"}', "goal: holds half of a character"),
    ('{"schema": 1, "id": "\\udc00"}', "Prompt.id: holds half of a character"),
    ('{"schema": 1, "id": "x"}', "Prompt"),
    ("[" * 100_000, "nested too deeply"),
    ('{"prompt": "' + "x " * MAX_CHARACTERS + '"}', "'prompt' is 200,000 characters long, and a prompt at most"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), LINES, ids=[str(n) for n in range(len(LINES))])
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, line: str, expected: str) -> None:
    with pytest.raises(RecordError) as caught:
        load(tmp_path, "a.jsonl", f'{{"prompt": "fine"}}\n\n{line}\n')
    assert_says(caught.value, f"{tmp_path / 'a.jsonl'}:3: ", expected)


@pytest.mark.parametrize(
    ("name", "content", "line", "expected"),
    [
        ("a.txt", " \n\n", "", "holds no prompt"),
        ("a.json", "[ ]", "", "holds no prompt"),
        ("a.csv", "prompt\n", "", "holds no prompt"),
        ("a.txt", "fine\n\0\n", ":2", "binary"),
        ("a.txt", b"fine\nhow\xe9", ":2", "byte 0xe9 is not UTF-8"),
        ("a.csv", "\ufeffpromptß\n".encode("utf-8") + b"\xfc", ":2", "byte 0xfc is not UTF-8"),
        ("a.txt", "fine".encode("utf-16"), ":1", "UTF-16"),
        ("a.txt", "fine\nring \x07", ":2", "control character (U+0007)"),
        ("a.txt", "fine\n" + "x" * 200_000, ":2", "200,000 characters long"),
        ("a.json", '["fine",\n\n3]', ":3", "expected a JSON object or a text, found int"),
        ("a.json", '["fine",\n"how"', ":2", "expected ',' or ']'"),
        ("a.json", '["fine"\n"how"]', ":1", "expected ',' or ']'"),
        ("a.json", '["fine",\n{"prompt": }]', ":2", "is not a line of JSON"),
        ("a.json", '["fine",\n]\n["x"]', ":2", "more follows after the array"),
        ("a.json", "[", ":1", "is not a line of JSON"),
        ("a.json", '{\n "prompt": "x"\n}', ":1", "one array of prompts in the whole file"),
        ("a.csv", "prompt,goal\nfine,x\none, or two,x\n", ":3", "has 3 cells and the header 2"),
        ("a.csv", 'prompt,goal\n"a\nb",x\n"open,x\n\n', ":4", "close every quotation mark"),
        ("a.csv", "prompt\n" + "x" * 200_000, ":2", "cannot be read as CSV"),
        ("a.csv", "prompt,,,goal,goal\na,b,c,d,e", ":1", "two columns are called 'goal'"),
        ("a.csv", "how,why\na,b", ":2", "found \"['how', 'why']\""),
        ("a.csv", "prompt,goal\n,b", ":2", "'prompt' is empty"),
        ("a.tsv", "prompt\nx", "", "expected a name that ends in .jsonl, .json, .csv, .txt"),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    tmp_path: Path, name: str, content: str | bytes, line: str, expected: str
) -> None:
    with pytest.raises(RecordError) as caught:
        load(tmp_path, name, content)
    assert_says(caught.value, f"{tmp_path / name}{line}: ", expected)


def assert_says(error: RecordError, beginning: str, expected: str) -> None:
    assert str(error).startswith(beginning)
    assert expected in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < len(beginning) + 500


def test_a_folder_and_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no.txt"):
        with pytest.raises(RecordError, match="cannot be read"):
            load_prompts(path, kind="helpful")
