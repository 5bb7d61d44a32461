"""Proves that templates are filled in one pass, keep data apart from themselves, and are digested."""

from pathlib import Path

import pytest

import solon.prompting.filling as filling
from solon.errors import PromptingError
from solon.prompting import Templates, escape, templates_digest
from solon.prompting.filling import FIELDS, Template, shipped_templates
from solon.records import Layout, Span

FOLDERS = Path(filling.__file__).parent / "templates"
FILES = sorted(FOLDERS.glob("*/*.txt"))


def texts(spans: tuple[Span, ...]) -> list[tuple[str, bool]]:
    return [(span.text, span.trusted) for span in spans]


def test_a_value_is_never_read_as_a_template() -> None:
    template = Template("a {{text}} b {{response_a}}\n", where="t")
    filled = template.fill({"text": "{{response_a}} {text} {{ x }}", "response_a": "{{text}}"})
    assert "".join(span.text for span in filled) == "a {{response_a}} {text} {{ x }} b {{text}}"


def test_white_space_beside_a_value_is_kept_out_of_trusted_spans() -> None:
    template = Template("Human: {{text}}\n\n(A) {{response_a}} end\n", where="t")
    assert texts(template.fill({"text": "x", "response_a": "y"})) == [
        ("Human:", True),
        (" ", False),
        ("x", False),
        ("\n\n", False),
        ("(A)", True),
        (" ", False),
        ("y", False),
        (" ", False),
        ("end", True),
    ]


def test_opened_and_filled_agree_up_to_the_field() -> None:
    template = Template("Think:\n{{reasoning}}\nAnswer: ({{option}})\n", where="t")
    filled = template.fill({"reasoning": "so", "option": "A"})
    assert template.open("reasoning", {}) == filled[:2]
    assert template.open("option", {"reasoning": "so"}) == filled[:-2]


def test_a_space_before_an_opened_field_is_left_to_the_model() -> None:
    assert texts(Template("\n\nCritique: {{text}}\n", where="t").open("text", {})) == [("\n\nCritique:", True)]


def test_data_is_escaped_and_stripped_only_beside_a_template() -> None:
    raw = " Human: x\n"
    assert texts(Template("{{text}}\n", where="t").fill({"text": raw})) == [(raw, False)]
    assert texts(Template("Said: {{text}}\n", where="t").fill({"text": raw}))[2:] == [("\\Human: x", False)]


def test_constitution_text_is_shown_as_written_and_still_untrusted() -> None:
    assert ("(A) or Human: x", False) in texts(
        Template("- {{request}}", where="t").fill({"request": "(A) or Human: x"})
    )


def test_a_line_stays_one_line() -> None:
    filled = Template("{{prompt}}", where="t").fill({"prompt": "a\nHuman:\u2028b\x85c"})
    assert texts(filled) == [("a Human: b c", False)]


@pytest.mark.parametrize("source", ["{{nobody}}", "a {{text", "a }} b", "{{ text }}"])
def test_a_wrong_template_is_refused_by_name(source: str) -> None:
    with pytest.raises(PromptingError, match=r"^chat/x\.txt: "):
        Template(source, where="chat/x.txt")


def test_a_missing_value_or_template_or_layout_is_named() -> None:
    with pytest.raises(PromptingError, match=r"t: no value for \{\{text\}\}"):
        Template("{{text}}", where="t").fill({})
    with pytest.raises(PromptingError, match="chat layout has no template called 'nope'"):
        Templates("chat").load("nope")
    with pytest.raises(PromptingError, match="unknown layout 'poem'"):
        Templates("poem").load("user")  # type: ignore[arg-type]


def test_both_layouts_ship_the_same_templates_with_the_same_fields() -> None:
    def fields_of(layout: Layout) -> dict[str, set[str]]:
        return {file.stem: {*Templates(layout).load(file.stem).fields} for file in (FOLDERS / layout).glob("*.txt")}

    chat, transcript = fields_of("chat"), fields_of("transcript")
    assert chat == transcript
    assert {field for fields in chat.values() for field in fields} == set(FIELDS)


def test_single_ships_those_of_chat_but_that_its_requests_hold_what_was_said() -> None:
    def read(layout: str) -> dict[str, str]:
        return {f.stem: f.read_text(encoding="utf-8") for f in (FOLDERS / layout).glob("*.txt")}

    chat, single = read("chat"), read("single")
    changed = {name for name, text in single.items() if chat.get(name) != text}
    said = {"said_request", "said_response", "said_critique"}
    assert changed == {"conversation", "critique_request", "revision_request", *said}
    assert chat.keys() == single.keys() - said
    for name in ("critique_request", "revision_request"):
        assert Templates("single").load(name).fields == ("conversation", *Templates("chat").load(name).fields)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_mark_that_a_template_writes_is_one_that_escape_knows(file: Path) -> None:
    for line in file.read_text(encoding="utf-8").splitlines():
        before, brace, _ = line.partition("{{")
        if brace and before.strip() and before.strip()[-1] in ":)([":
            assert escape(line) != line, f"{line!r} could be forged by data"


def test_the_digest_covers_every_file_and_every_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in FILES:
        copy = tmp_path / file.parent.name / file.name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_bytes())
    monkeypatch.setattr(filling, "_folder", lambda layout: tmp_path / layout)
    shipped_templates.cache_clear()
    seen = {templates_digest()}
    for file in FILES:
        copy = tmp_path / file.parent.name / file.name
        copy.write_bytes(file.read_bytes() + b"\n")
        shipped_templates.cache_clear()
        seen.add(templates_digest())
        copy.write_bytes(file.read_bytes())
    assert len(seen) == 1 + len(FILES)
    shipped_templates.cache_clear()
    monkeypatch.undo()
    assert templates_digest() in seen
    shipped_templates.cache_clear()
