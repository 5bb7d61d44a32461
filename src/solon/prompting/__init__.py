"""Prompts as files, filled in one pass, in three layouts; and what keeps untrusted text from acting as a template."""

from solon.prompting.escaping import escape
from solon.prompting.filling import templates_digest
from solon.prompting.layouts import LayoutLike, Templates, as_templates
from solon.prompting.own import load_templates
from solon.prompting.rendering import (
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
    revision_lead,
)

__all__ = [
    "ANSWERS",
    "OPTIONS",
    "LayoutLike",
    "Templates",
    "add_system_prompt",
    "as_templates",
    "escape",
    "load_templates",
    "render_comparison",
    "render_critique",
    "render_prompt_list",
    "render_question",
    "render_reasoning",
    "render_response",
    "render_revision",
    "response_lead",
    "response_stops",
    "revision_lead",
    "templates_digest",
]
