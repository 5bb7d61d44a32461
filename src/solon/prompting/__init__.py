"""Prompts as files, filled in one pass, in two layouts; and what keeps untrusted text from acting as a template."""

from solon.prompting.escaping import escape
from solon.prompting.filling import templates_digest
from solon.prompting.rendering import (
    ANSWER_MARK,
    ANSWERS,
    OPTIONS,
    add_system_prompt,
    render_comparison,
    render_critique,
    render_prompt_list,
    render_question,
    render_reasoning,
    render_response,
    render_revision,
    response_lead,
    response_stops,
)

__all__ = [
    "ANSWERS",
    "ANSWER_MARK",
    "OPTIONS",
    "add_system_prompt",
    "escape",
    "render_comparison",
    "render_critique",
    "render_prompt_list",
    "render_question",
    "render_reasoning",
    "render_response",
    "render_revision",
    "response_lead",
    "response_stops",
    "templates_digest",
]
