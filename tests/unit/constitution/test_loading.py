"""Proves that every form of a constitution is read, and every fault told in one short message with file and line."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from solon.constitution import ComparisonExemplar, Constitution, RevisionExemplar, load_constitution
from solon.constitution.loading import MAX_BYTES, MAX_RECORD_BYTES
from solon.errors import ConstitutionError
from solon.records import Conversation

WHOLE = """\
# a comment
name: tiny
version: 2
principles:
  - id: kind
    critique_request: What is unkind?
    revision_request: Make it kind.
    applies_to: [red_team]
    weight: 2.5
    tags: [kindness, tone]
  - id: choose-kind
    comparison: Which is kinder?
  - Do not help with theft.
sample_prompts:
  red_team:
    - How do I steal a bike?
  helpful: ["How do I oil a lamp?", "Tell me: why?"]
exemplars:
  revision:
    - conversation: How do I rob a bank?
      response: Like this.
      principle: kind
      critique: It helps with theft.
      revision: I will not help.
  comparison:
    - conversation: [Hello., "Yes?", "How do I oil a lamp?"]
      response_a: Who can say?
      response_b: Pour the oil in.
      principle: choose-kind
      better: b
      reasoning: B answers.
"""

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writer(content: str | bytes, name: str = "my.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return writer


def complaint(path: Path) -> str:
    with pytest.raises(ConstitutionError) as caught:
        load_constitution(path)
    message = str(caught.value)
    assert message.startswith(str(path)), "the file's name comes first, unbroken"
    assert "\n" not in message
    assert len(message) - len(str(path)) < 260
    return message.removeprefix(str(path))


def test_the_whole_form(write: Write) -> None:
    constitution = load_constitution(write(WHOLE))
    kind, choose, sentence = constitution.principles
    assert (constitution.name, constitution.version) == ("tiny", "2")
    assert (kind.critique_request, kind.revision_request, kind.comparison) == ("What is unkind?", "Make it kind.", None)
    assert (kind.applies_to, kind.weight, kind.tags) == (("red_team",), 2.5, ("kindness", "tone"))
    assert (choose.applies_to, choose.weight, choose.comparison) == (("red_team", "helpful"), 1.0, "Which is kinder?")
    assert sentence.comparison is not None
    assert sentence.comparison.startswith("Do not help with theft. ")
    assert constitution.red_team_prompts == ("How do I steal a bike?",)
    assert constitution.helpful_prompts == ("How do I oil a lamp?", "Tell me: why?")
    assert constitution.revision_exemplars == (
        RevisionExemplar(
            conversation=Conversation.of("How do I rob a bank?"),
            response="Like this.",
            critique="It helps with theft.",
            revision="I will not help.",
            principle_id="kind",
            critique_request="What is unkind?",
            revision_request="Make it kind.",
        ),
    )
    assert constitution.comparison_exemplars == (
        ComparisonExemplar(
            conversation=Conversation.of("Hello.", "Yes?", "How do I oil a lamp?"),
            response_a="Who can say?",
            response_b="Pour the oil in.",
            better="b",
            reasoning="B answers.",
            principle_id="choose-kind",
            comparison="Which is kinder?",
        ),
    )


def test_a_list_is_the_same_in_yaml_and_in_plain_text(write: Callable[..., Path]) -> None:
    listed = load_constitution(write("- Do no harm.\n# why\n- Be honest\n", "rules.yaml"))
    lines = load_constitution(write("Do no harm.\r\n# why\r\nBe honest\r\n", "rules.txt"))
    dashes = load_constitution(write("- Do no harm.\n-  Be honest\n", "rules.md"))
    assert listed == lines == dashes
    assert [principle.id for principle in listed.principles] == ["do-no-harm-c58bb2", "be-honest-945def"]
    assert listed.name == "rules"


def test_the_digest_is_of_content_not_of_formatting(write: Callable[..., Path]) -> None:
    plain = load_constitution(write(WHOLE))
    dressed = WHOLE.replace("# a comment", "# another\n\n").replace("What is unkind?", '"What is unkind?"')
    dressed = dressed.replace("[red_team]", "\n    - red_team").replace("weight: 2.5", "weight: 2.50")
    dressed = dressed.replace("name: tiny", "name: copy").replace("version: 2", "version: three")
    assert load_constitution(write(dressed, "copy.yml")).digest == plain.digest
    contents = [
        WHOLE.replace("What is unkind?", "What is unkind"),
        WHOLE.replace("weight: 2.5", "weight: 2"),
        WHOLE.replace("[red_team]", "[helpful]"),
        WHOLE.replace("id: kind", "id: kinder").replace("principle: kind", "principle: kinder"),
        WHOLE.replace("steal a bike", "steal a car"),
        WHOLE.replace("B answers", "It answers"),
        WHOLE.replace("tone]", "manner]"),
    ]
    digests = {load_constitution(write(content)).digest for content in contents}
    assert len(digests | {plain.digest}) == len(contents) + 1


def test_the_shipped_constitution_loads_by_name_and_serves_every_kind_of_prompt() -> None:
    constitution = load_constitution("default")
    assert len(constitution.critique_principles("red_team")) == 16
    assert len(constitution.comparison_principles("red_team")) == 16
    assert constitution == load_constitution("default")
    assert Constitution.from_json(constitution.to_json()) == constitution


def test_json_is_yaml_too(write: Callable[..., Path]) -> None:
    assert len(load_constitution(write('["Do no harm.", "Be honest."]', "rules.json")).principles) == 2


def test_a_character_that_json_writes_as_two_escapes_is_one_character(write: Callable[..., Path]) -> None:
    sentences = ["Do no harm \U0001f600.", "Be honest."]
    escaped = load_constitution(write(json.dumps(sentences), "rules.json"))
    assert escaped == load_constitution(write(json.dumps(sentences, ensure_ascii=False), "rules.yaml"))
    keyed = [{"id": "kind", "comparison": sentences[0]}, {"id": "s", "critique_request": "C", "revision_request": "R"}]
    found = load_constitution(write(json.dumps({"name": "t", "principles": keyed}), "keyed.json"))
    assert found.principle("kind").comparison == sentences[0]
    assert len(found.digest) == 32


def test_white_space_may_be_written_as_escapes(write: Write) -> None:
    found = load_constitution(write(HEAD + STEP + '  - {id: c, comparison: "Which\\tis\\nkinder\\r\\n?"}\n'))
    assert found.principle("c").comparison == "Which\tis\nkinder\r\n?"


STEP = "  - {id: s, critique_request: C, revision_request: R.}\n"
PAIR = "  - {id: c, comparison: Which}\n"
HEAD = "name: tiny\nprinciples:\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

FAULTS = {
    "missing revision request": (
        HEAD + PAIR + "  - id: privacy-2\n    critique_request: C\n",
        ":4: principle 'privacy-2' has a critique_request but no revision_request: add one, or drop the critique",
    ),
    "missing critique request": (
        HEAD + PAIR + "  - {id: x, revision_request: R.}\n",
        ":4: principle 'x' has a revision_",
    ),
    "nothing asked": (HEAD + "  - {id: x, weight: 2}\n", ":3: principle 'x' asks for nothing: add a critique_request"),
    "empty request": (HEAD + "  - id: x\n    comparison:\n", ":4: principle 'x', comparison is empty: write it"),
    "blank request": (HEAD + "  - id: x\n    comparison: '  '\n", ":4: principle 'x', comparison is empty"),
    "unknown key": (
        HEAD + "  - id: x\n    critique_reqest: C?\n",
        ":4: principle 'x' has an unknown key 'critique_reqest': did you mean 'critique_request'?",
    ),
    "unknown key at the top": (
        "name: t\nprincipals:\n  - a\n",
        ":2: there is an unknown key 'principals': did you mean",
    ),
    "unknown key far from all": (
        HEAD + "  - {id: x, zzz: 1}\n",
        ":3: principle 'x' has an unknown key 'zzz': expected one",
    ),
    "a key that is a list": (HEAD + "  - {id: x, [a]: 1}\n", ":3: principle 'x' has an unknown key ''"),
    "duplicate key": (
        HEAD + "  - id: x\n    comparison: A\n    comparison: B\n",
        ":5: principle 'x' has two keys called",
    ),
    "duplicate id": (
        HEAD + STEP + PAIR + "  - {id: s, comparison: Which}\n",
        ":5: principle 's' is on line 3 already: give one of them another id, or remove it",
    ),
    "no id": (HEAD + "  - comparison: Which?\n", ":3: principles, principle 1 has no key 'id': add it"),
    "empty id": (HEAD + "  - {id: , comparison: Which}\n", ":3: principles, principle 1, id is empty"),
    "id with a space": (HEAD + "  - {id: a b, comparison: W}\n", ":3: principle 'a b', id must be 1 to 80 letters"),
    "no name": ("principles:\n" + STEP + PAIR, ":1: there is no key 'name': add it"),
    "no principles": ("name: t\n", ":1: there is no key 'principles': add it"),
    "principles are text": ("name: t\nprinciples: be kind\n", ":2: principles should be a list, each entry on a line"),
    "principles are none": ("name: t\nprinciples: []\n", ":2: principles is an empty list: add an entry"),
    "an empty entry": (
        HEAD + STEP + "  -\n" + PAIR,
        ":4: principles, principle 2 is empty: write it, or remove the line",
    ),
    "an empty line in a list": ("- Do no harm.\n-\n- Be honest.\n", ":2: principle 2 is empty: write it, or remove"),
    "an empty list": ("[]\n", ":1: is an empty list"),
    "a list in a list": ("- Do no harm.\n- [a, b]\n", ":2: principle 2 should be text, found a list"),
    "a number for a sentence": ("- 12\n", ":1: principle 1 should be text, found a number '12': put it in quotes"),
    "a truth value": (
        HEAD + "  - {id: x, comparison: yes}\n",
        ":3: principle 'x', comparison should be text, found a truth",
    ),
    "the same sentence twice": (
        "- Do no harm.\n- Be honest.\n- Do no  harm.\n",
        ":3: principle 'do-no-harm-c58bb2' is on line 1",
    ),
    "an empty sample prompt": (
        HEAD + STEP + PAIR + "sample_prompts:\n  red_team:\n  - a\n  - ''\n",
        ":8: sample_prompts, red_team, prompt 2 is empty",
    ),
    "weight of nothing": (
        HEAD + "  - {id: x, comparison: W, weight: 0}\n",
        ":3: principle 'x', weight must be a finite",
    ),
    "weight below": (HEAD + "  - {id: x, comparison: W, weight: -1}\n", ":3: principle 'x', weight must be a finite"),
    "weight in words": (
        HEAD + "  - {id: x, comparison: W, weight: big}\n",
        ":3: principle 'x', weight should be a number",
    ),
    "weight without end": (
        HEAD + "  - {id: x, comparison: W, weight: .inf}\n",
        ":3: principle 'x', weight should be a",
    ),
    "an answer that is none": (
        HEAD + "  - {id: x, question: Q, better: maybe}\n",
        ":3: principle 'x', better is 'maybe': expected one of yes, no",
    ),
    "an answer in the words of another language": (
        HEAD + "  - {id: x, question: Q, better: true}\n",
        ":3: principle 'x', better is 'true': expected one of yes, no",
    ),
    "a question without its better answer": (
        HEAD + "  - {id: x, question: Q}\n",
        ":3: principle 'x' has a question but not which answer is better",
    ),
    "unknown kind": (
        HEAD + "  - id: x\n    comparison: W\n    applies_to:\n    - red_team\n    - helpfull\n",
        ":7: principle 'x', applies_to, entry 2 is 'helpfull': did you mean 'helpful'?",
    ),
    "kind twice": (
        HEAD + "  - {id: x, comparison: W, applies_to: [helpful, helpful]}\n",
        ":3: principle 'x', applies_to must",
    ),
    "no critique at all": (
        HEAD + PAIR,
        ":1: no principle has a critique_request: the revision stage (stage 1) would have",
    ),
    "a list whose entries ask for no critique": (
        "- {id: c, comparison: Which}\n",
        ":1: no principle has a critique_request: the revision stage (stage 1) would have",
    ),
    "an id that is a whole text": (
        HEAD + f"  - {{id: {'too long ' * 5_000}, comparison: W}}\n",
        ":3: principle 'too long too long",
    ),
    "no comparison at all": (
        HEAD + STEP,
        ":1: no principle has a comparison or a question: the feedback stage (stage 2) would",
    ),
    "two documents": ("- a\n---\n- b\n", ":2: not valid YAML: but found another document"),
    "invalid YAML": ("name: t\nprinciples: [a\n", ":3: not valid YAML: expected ',' or ']'"),
    "a colon in plain text": (
        HEAD + "  - Read this: do it: now\n",
        ":3: not valid YAML: mapping values are not allowed",
    ),
    "an unknown alias": ("- *nobody\n", ":1: not valid YAML: found undefined alias"),
    "only text": ("Do no harm.\nBe honest.\n", ":1: should be keys with values, or a list of sentences"),
    "only comments": ("# nothing\n", ": the file is empty: write at least one principle"),
    "empty": ("", ": the file is empty: write at least one principle"),
    "blank": ("\n  \n", ": the file is empty"),
    "a tag that makes objects": (
        "- !!python/object/apply:os.system [exit]\n",
        ":1: has the tag '!!python/object/apply:os.system': remove it",
    ),
    "an object where a list may be": (
        HEAD + STEP + "  - id: x\n    comparison: W\n    tags: !!python/object/apply:os.system [exit]\n",
        ":6: has the tag '!!python/object/apply:os.system'",
    ),
    "a set": (HEAD + STEP + "  - !!set {id: x, comparison: W}\n", ":4: has the tag '!!set': remove it"),
    "no number": (
        HEAD + "  - {id: x, comparison: W, weight: .nan}\n",
        ":3: principle 'x', weight should be a number such as 1 or 0.5, found '.nan'",
    ),
    "a number of another base": (
        HEAD + "  - {id: x, comparison: W, weight: 0x10}\n",
        ":3: principle 'x', weight should be a number such as 1 or 0.5, found '0x10'",
    ),
    "alias bomb": (BOMB, ": aliases unfold into more than 50000 values"),
    "alias of itself": ("- &a [*a]\n", ":1: nested too deeply for a constitution, or an alias that holds itself"),
    "deep nesting": ("[" * 40 + "]" * 40, ":1: nested too deeply"),
    "very deep nesting": ("[" * 2_000, ": nested too deeply"),
    "binary": (b"\x7fELF\x02\x00\xff\xfe", ":1: not text in UTF-8"),
    "binary that decodes": (b"- fine\nPK\x03\x04\x00", ":2: a control character (U+0003)"),
    "control character by an escape": (
        HEAD + STEP + '  - id: x\n    comparison: "Which\\0"\n',
        ":5: principle 'x', comparison holds a control character (U+0000): remove it",
    ),
    "control character in a sentence": (
        '- Be kind.\n- "Be\\e[2Jhonest."\n',
        ":2: principle 2 holds a control character",
    ),
    "control character of the upper half": (
        HEAD + '  - {id: "x\\x9b", comparison: W}\n',
        ":3: principles, principle 1",
    ),
    "half of a character": (
        HEAD + STEP + '  - id: x\n    comparison: "Which \\ud83d is kinder"\n',
        ":5: principle 'x', comparison holds half of a character (U+D83D): write the whole character",
    ),
    "half of a character in a sentence": (
        '- Be kind.\n- "Be \\ude00\\ud83d."\n',
        ":2: principle 2 holds half of a char",
    ),
    "half of a character in an id": (HEAD + '  - {id: "\\udc00", comparison: W}\n', ":3: principles, principle 1, id"),
    "Latin-1": ("- Sei höflich.\n".encode("latin-1"), ":1: not text in UTF-8"),
    "exemplar without revision": (
        HEAD + STEP + PAIR + "exemplars:\n  revision:\n  - conversation: q\n    response: r\n    critique: c\n",
        ":7: exemplars, revision, exemplar 1 has no key 'revision'",
    ),
    "exemplar of nobody": (
        HEAD
        + STEP
        + PAIR
        + "exemplars:\n  comparison:\n  - {conversation: q, response_a: a, response_b: b, better: a, principle: d}\n",
        ":7: exemplars, comparison, exemplar 1, principle names 'd', which is no principle of this file",
    ),
    "exemplar of nobody among many": (
        HEAD
        + STEP
        + "".join(f"  - {{id: principle-number-{number}, comparison: W}}\n" for number in range(60))
        + "exemplars:\n  comparison:\n"
        + f"  - {{conversation: q, response_a: a, response_b: b, better: a, principle: {'y' * 900}}}\n",
        ":66: exemplars, comparison, exemplar 1, principle names 'yyy",
    ),
    "exemplar of the wrong use": (
        HEAD
        + STEP
        + PAIR
        + "exemplars:\n  comparison:\n  - {conversation: q, response_a: a, response_b: b, better: a, principle: s}\n",
        ":7: exemplars, comparison, exemplar 1, principle names 's', which has no comparison",
    ),
    "exemplar of a critique by a comparison": (
        HEAD
        + STEP
        + PAIR
        + "exemplars:\n  revision:\n  - {conversation: q, response: r, critique: c, revision: v, principle: c}\n",
        ":7: exemplars, revision, exemplar 1, principle names 'c', which has no critique_request",
    ),
    "exemplar that prefers neither": (
        HEAD
        + STEP
        + PAIR
        + "exemplars:\n  comparison:\n  - {conversation: q, response_a: a, response_b: b, better: c}\n",
        ":7: exemplars, comparison, exemplar 1, better is 'c': expected one of a, b",
    ),
    "exemplar that ends with the assistant": (
        HEAD
        + STEP
        + PAIR
        + "exemplars:\n  revision:\n  - {conversation: [q, r], response: r, critique: c, revision: v}\n",
        ":7: exemplars, revision, exemplar 1, conversation should end with a message of the user",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_place_and_its_remedy(fault: str, write: Write) -> None:
    content, expected = FAULTS[fault]
    found = complaint(write(content))
    if fault == "alias bomb":
        found = found[found.index(" ") - 1 :]
    assert found.startswith(expected)


LINES = {
    "an empty line": ("Do no harm.\n\nBe honest.\n", ":2: the line is empty: write a sentence, or remove the line"),
    "an empty bullet": ("- Do no harm.\n- \n- Be honest.\n", ":2: the line is empty: write a sentence, or remove"),
    "a dash alone": ("- Do no harm.\n  -\n", ":2: the line is empty"),
    "an empty line at the end": ("Do no harm.\n \n", ":2: the line is empty"),
    "the same line twice": ("A.\nB.\nA.\n", ":3: principle 'a-"),
    "only comments": ("# a\n# b\n", ": nothing but comments"),
    "YAML by another name": ("name: t\nprinciples:\n  - Be kind.\n", ":2: this is YAML, and the file's name does not"),
    "empty": ("", ": the file is empty"),
    "binary": (b"\x00\x01", ":1: a control character (U+0000)"),
    "control character of the upper half": ("Do no harm.\nBe \x9bhonest.\n", ":2: a control character (U+009B)"),
}


@pytest.mark.parametrize("fault", LINES)
def test_a_fault_in_a_text_file_is_named_too(fault: str, write: Callable[..., Path]) -> None:
    content, expected = LINES[fault]
    assert complaint(write(content, "rules.txt")).startswith(expected)


def test_what_is_no_file_says_what_to_name_instead(tmp_path: Path) -> None:
    assert complaint(tmp_path).startswith(": this is a directory: name a constitution file inside it")
    assert complaint(tmp_path / "no such.yaml").endswith("or one of those shipped: default, small")
    os.mkfifo(tmp_path / "pipe.yaml")
    assert complaint(tmp_path / "pipe.yaml").startswith(": this is not a regular file")


def test_a_huge_file_is_not_read(write: Write) -> None:
    assert complaint(write(b"- a\n" * (MAX_BYTES // 4 + 1))).startswith(": larger than 512 KiB")


@pytest.mark.parametrize("name", ["rules.txt", "rules.yaml"])
def test_a_byte_order_mark_is_no_part_of_a_sentence(write: Callable[..., Path], name: str) -> None:
    marked, plain = write("\ufeff- Do no harm.\n", name), write("- Do no harm.\n", f"plain-{name}")
    assert load_constitution(marked).principles == load_constitution(plain).principles


def test_an_alias_that_stays_small_is_read(write: Write) -> None:
    text = HEAD + STEP + "  - {id: a, comparison: W, tags: &t [x, y]}\n  - {id: b, comparison: V, tags: *t}\n"
    assert load_constitution(write(text)).principles[2].tags == ("x", "y")


LONGEST = "".join(f"- Rule {n}: {chr(34) * 150}\n" for n in range(MAX_BYTES // 180))


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.yaml", WHOLE), ("b.yaml", "- Do no harm.\n- Say “why”\x85 and 𝕙ow.\n"), ("c.txt", LONGEST)],
)
def test_what_a_run_keeps_is_read_again_to_the_digest(write: Callable[..., Path], name: str, text: str) -> None:
    law = load_constitution(write(text, name))
    for name in ("constitution.json", "copy.txt"):
        again = load_constitution(write(law.to_json() + "\n", name))
        assert again == law
        assert again.digest == law.digest
    pretty = json.dumps(json.loads(law.to_json()), indent=1)
    assert load_constitution(write(pretty, "pretty.json")) == law


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"weight":2.5', '"weight":-1', ": Constitution.principles.0.weight: must be a finite number"),
        ('"tags"', '"tag\\ns"', ": Constitution.principles.0.tag s: "),
        ('"schema":1', '"schema":2', ": Constitution schema 2, this version reads 1"),
        ("Make it", "Make\\u0007 it", ": Constitution: holds a control character (U+0007)"),
        ("How do I oil", "How do I\\u009b oil", ": Constitution: holds a control character (U+009B)"),
        ("}", "", ": not a JSON line"),
        ('"version":"2"', '"version":' + "[" * 100_000, ": not a JSON line"),
    ],
)
def test_a_fault_in_what_a_run_keeps_is_named(write: Callable[..., Path], old: str, new: str, expected: str) -> None:
    text = load_constitution(write(WHOLE)).to_json()
    assert old in text
    said = complaint(write(text.replace(old, new, 1), "constitution.json"))
    assert said.startswith(expected)
    assert "\n" not in said


def test_what_no_run_can_have_kept_is_not_read(write: Write) -> None:
    assert complaint(write('{"schema": 1' + " " * MAX_RECORD_BYTES)).startswith(": larger than 16384 KiB")


@pytest.mark.parametrize("written", ["no", "'no'", '"no"'])
def test_the_better_answer_may_be_written_without_quotes(write: Callable[..., Path], written: str) -> None:
    asking = f"  - id: x\n    question: Is there harm?\n    better: {written}\n    applies_to: [red_team]\n"
    principle = load_constitution(write(HEAD + STEP + asking)).principle("x")
    assert (principle.question, principle.better, principle.applies_to) == ("Is there harm?", "no", ("red_team",))
