"""Proves that whatever a file holds, loading it ends in a constitution or in one short message that begins with it."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from solon.constitution import Constitution, check_constitution, load_constitution
from solon.errors import ConstitutionError

PARTS = st.sampled_from(
    [
        *("name: t\n", "version: 1\n", "principles:\n", "  - id: a\n", "  - id: b\n", "    comparison: Which\n"),
        *(
            "    critique_request: C\n    revision_request: R\n",
            "    weight: 2\n",
            "    tags: [x]\n",
            "    applies_to: ",
        ),
        *("sample_prompts:\n", "  red_team:\n", "exemplars:\n", "  revision:\n", "    - conversation: q\n"),
        *(
            "      response: r\n",
            "      better: a\n",
            "      principle: a\n",
            "- Be kind.\n",
            "-\n",
            "- ",
            "\n",
            "  ",
            "# c\n",
        ),
        *(
            "&x ",
            "*x",
            "<<: ",
            "? ",
            ": ",
            "{",
            "}",
            "[",
            "]",
            "'",
            '"',
            "|\n",
            ">\n",
            "!!",
            "!!int ",
            "%YAML 1.1\n",
            "---\n",
        ),
        *(
            "...\n",
            "~",
            "null",
            "true",
            "2026-01-01",
            "0x1f",
            "1_0",
            ".inf",
            "-1",
            "1:30",
            "\t",
            "\x00",
            "\x85",
            "\ufeff",
            "é",
        ),
        "id",
    ]
)
TEXTS = st.one_of(st.lists(PARTS, max_size=14).map("".join), st.text(max_size=40))


def outcome(path: Path) -> Constitution | str:
    try:
        return load_constitution(path)
    except ConstitutionError as error:
        return str(error)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(TEXTS.map(lambda text: text.encode("utf-8")), st.binary(max_size=40)),
    suffix=st.sampled_from([".yaml", ".txt"]),
)
def test_any_file_is_a_constitution_or_a_short_message(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"any{suffix}"
    path.write_bytes(content)
    found = outcome(path)
    if isinstance(found, Constitution):
        assert Constitution.from_json(found.to_json()) == found
        assert check_constitution(found).principles > 0
    else:
        assert found.startswith(str(path))
        assert len(found.splitlines()) == 1
        assert len(found) < len(str(path)) + 400


def test_the_parts_above_can_make_a_whole_constitution(tmp_path: Path) -> None:
    path = tmp_path / "whole.yaml"
    path.write_text(
        "name: t\nprinciples:\n  - id: a\n    comparison: Which\n"
        "  - id: b\n    critique_request: C\n    revision_request: R\n"
    )
    assert len(load_constitution(path).principles) == 2
    path.write_text("name: t\nprinciples:\n  - id: a\n    comparison: Which\n  - id: b\n    weight: 2\n")
    with pytest.raises(ConstitutionError, match="'b' asks for nothing"):
        load_constitution(path)
