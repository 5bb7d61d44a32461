"""When two prompts say the same: equal after normalisation, turn by turn.

It finds copies and not paraphrases; near-duplicates are the concern of `solon.redteam.leaks`.
"""

from solon.records import Conversation, Prompt
from solon.words import normalize_text


def prompt_key(conversation: Conversation) -> str:
    """Return what two prompts have in common if and only if they say the same, turn by turn."""
    return "\x1f".join(f"{message.role}:{normalize_text(message.text)}" for message in conversation.messages)


def split_key(prompt: Prompt) -> str:
    """Return what may not be on both sides of a split: the prompt's goal, or what it says where it names no goal."""
    return prompt_key(prompt.conversation) if prompt.goal is None else f"goal:{normalize_text(prompt.goal)}"
