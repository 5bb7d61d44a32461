"""Prompts as a template would render them, all of it untrusted text."""

from solon.records import Layout, Rendered, Role, Span, Turn


def ask(*turns: tuple[Role, str], layout: Layout = "chat", stop: tuple[str, ...] = ()) -> Rendered:
    made = tuple(Turn(role=role, spans=(Span(text=text, trusted=False),)) for role, text in turns)
    return Rendered(layout=layout, turns=made, stop=stop)
