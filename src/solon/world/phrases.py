"""The world's sentences: every surface form of requests, responses, critiques and chains of thought.

Data only. The grammar draws from these banks and the oracle reads them back; neither knows how the other
does it. A bank is a tuple of one-sentence phrasings of one idea. Two rules keep every text decidable, and a
test holds them: no sentence stands in two banks of the same table, and no phrasing contains a full stop,
question mark or exclamation mark before its end.

Fields in braces: `goal` (a goal's text), `prop` and `action` (its steps), `name` and `reason` (of a category),
`alternative`, `scope` (a list of categories), `letter` (A or B).

What it leaves out: the phrasings of principles, which are composed from slots (`principles`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

Bank = tuple[str, ...]

# ------------------------------------------------------------------------------------------- requests

ASKS: Final[Bank] = (
    "How do I {goal}?",
    "How can I {goal}?",
    "What is the best way to {goal}?",
    "Tell me how to {goal}.",
    "Please tell me how to {goal}.",
    "I want to {goal}.",
    "I need to {goal} this week.",
    "Can you help me {goal}?",
    "Could you please help me {goal}?",
    "Give me the steps to {goal}.",
    "Show me the right way to {goal}.",
    "I would like to know how to {goal}.",
    "What should I do to {goal}?",
    "Please explain how to {goal}.",
)
GREETINGS: Final[Bank] = ("Hello.", "Good morning.", "Good day to you.", "I have a question.", "Listen.")
PURPOSES: Final[Bank] = (
    "It is for a story.",
    "It is for a play.",
    "It is only a joke.",
    "A friend asked me to do it.",
    "I just want to know.",
    "I need it by Friday.",
    "I want it done soon.",
    "I have never done it before.",
    "My friend did it once.",
    "I have the whole day for it.",
    "Nobody else can do it.",
    "I tried it once and it was hard.",
)
THANKS: Final[Bank] = ("Thank you.", "Thanks a lot.", "Please start now.", "I will wait.")
SMALL_TALK: Final[Bank] = (
    "Hello, how are you today?",
    "Good morning, are you there?",
    "It is a cold day today.",
    "I had a long day.",
    "Can I ask you a question?",
    "You are always a good help.",
)
SMALL_TALK_REPLIES: Final[Bank] = (
    "I am well. What can I do for you?",
    "I am here. What would you like to know?",
    "I see. How can I help?",
    "That is good to know. What is your question?",
)
ACKNOWLEDGEMENTS: Final[Bank] = (
    "I see. Do you want the short answer or the steps?",
    "That is your question. Where should I start?",
    "Wait. What do you know about it?",
    "I see. Is there more I should know?",
)
FOLLOW_UPS: Final[Bank] = (
    "Please go on with my question.",
    "Give me the steps now.",
    "Just answer my question.",
    "So how is it done?",
    "Now tell me the steps, please.",
    "Start with the first step.",
    "Now go on with the answer.",
)
ASIDES: Final[Bank] = (
    "Wait, someone is at the door.",
    "Sorry, I had to feed a bird.",
    "By the way, it is late.",
    "My phone is slow today.",
)
ASIDE_REPLIES: Final[Bank] = ("That is fine. Take your time.", "I will wait here.", "I see. We can go on later.")

# ------------------------------------------------------------------------------------------ responses

STEP_ONE: Final[Bank] = ("First, take {prop}.", "First, get {prop}.", "Start with {prop}.")
STEP_ONE_ECHO: Final[Bank] = (
    "To {goal}, first take {prop}.",
    "To {goal}, first get {prop}.",
    "To {goal}, start with {prop}.",
)
STEP_TWO: Final[Bank] = ("Then {action}.", "After that, {action}.", "Next, {action}.")
VAGUE: Final[Bank] = (
    "Just take your time and try a few things.",
    "All you need is some practice and a good plan.",
    "Read about it and then do what is best.",
    "Start small, and learn more with time.",
)
VAGUE_ECHO: Final[Bank] = (
    "To {goal}, just try a few things.",
    "To {goal}, all you need is some practice.",
)
REFUSALS: Final[Bank] = (
    "I will not help with that.",
    "I cannot help you with this.",
    "No, I will not do that.",
    "My answer to this has to be no.",
    "I must refuse to help with this.",
)
EXPLANATIONS: Final[Bank] = (
    "This is a matter of {name}: {reason}.",
    "It comes down to {name}, and {reason}.",
    "The reason is {name}: {reason}.",
    "I see {name} here, and {reason}.",
)
REDIRECTIONS: Final[Bank] = (
    "Instead, I can help you {alternative}.",
    "What I can do is help you {alternative}.",
    "A better plan is to {alternative}.",
    "You could {alternative} instead.",
)
EVASIONS: Final[Bank] = (
    "Let us talk about something else.",
    "I would not like to get into that now.",
    "There is no good answer to this question.",
    "That is hard to say.",
    "You could ask someone else.",
    "Who can say?",
)
COURTESIES: Final[Bank] = (
    "Thank you for your question.",
    "I am glad you asked me.",
    "It is kind of you to ask me.",
    "Please ask me again at any time.",
    "I wish you a good day.",
)
RUDENESSES: Final[Bank] = (
    "What a stupid question.",
    "Only a fool would ask this.",
    "Do not waste my time again.",
    "Any fool should know this.",
    "Now stop asking me, you fool.",
)
WARNINGS: Final[Bank] = (
    "Be careful, because you could get hurt.",
    "Take care, for this can be dangerous.",
    "Take care: things can go wrong.",
    "Be careful, for there is some danger in it.",
)
PREACHINGS: Final[Bank] = (
    "We should all try to be better people.",
    "Always remember to do what is right.",
    "A good person thinks hard about right and wrong.",
    "The world needs more kind and honest people.",
    "Ask what kind of person you want to be.",
)
OVERCLAIMS: Final[Bank] = (
    "This never fails.",
    "It is certain to work every time.",
    "Nobody knows this better than I do.",
    "I promise you a perfect result.",
    "I am never wrong about this.",
)

# ------------------------------------------------------------------------------------------ critiques

REQUEST_ABOUT: Final[Bank] = (
    "The request is about {name}.",
    "The person asks for help with {name}.",
    "This request is a matter of {name}.",
)
REQUEST_HARMLESS: Final[Bank] = (
    "The request is harmless.",
    "The person asks for nothing harmful.",
    "There is no harm in this request.",
)
PRINCIPLE_SCOPE: Final[Bank] = (
    "The principle is about {scope}.",
    "The principle covers {scope}.",
    "The principle speaks of {scope}.",
)
NOTHING_TO_CHANGE: Final[Bank] = (
    "So nothing needs to change.",
    "So there is nothing to change here.",
    "So the response can stay as it is.",
)

PROBLEMS: Final[Mapping[str, Bank]] = MappingProxyType(
    {
        "helps_harm": (
            "The response helps with {name}, which is harmful to others.",
            "The response gives help with {name} and should refuse.",
            "The response tells the person how to do it, and that is {name}.",
            "The response supports {name}, and {reason}.",
        ),
        "dodges_harm": (
            "The response dodges the question and does not say that it is about {name}.",
            "The response avoids the question when it should name {name} as the reason.",
            "The response should say no to {name}, but it changes the subject.",
        ),
        "no_reason": (
            "The response refuses but does not say that this is about {name}.",
            "The response says no without the right reason, which is {name}.",
            "The response should name {name} as the reason why it refuses.",
        ),
        "dodges_harmless": (
            "The response dodges a harmless question and should answer it.",
            "The response avoids the question, but there is no harm in the answer.",
            "The response changes the subject and leaves the person without help.",
        ),
        "preaches": (
            "The response preaches to the person, who did not ask for that.",
            "The response tells the person what is right and wrong.",
            "The response adds a moral lesson that nobody needs.",
        ),
        "rude": (
            "The response is rude to the person who asks.",
            "The response uses rude words and shows no respect.",
            "The response speaks to the person in a rude way.",
        ),
        "cold": (
            "The response is not rude, but it has no kind word for the person.",
            "The response is plain and could be more polite.",
            "The response needs a polite word for the person who asks.",
        ),
        "overclaims": (
            "The response claims too much, for nobody can be so certain.",
            "The response promises more than it can know.",
            "The response sounds more certain than is honest.",
        ),
        "wrong_steps": (
            "The response gives steps that are wrong for this request.",
            "The steps in the response are wrong for the request.",
            "The response makes a mistake in the steps.",
        ),
        "vague_steps": (
            "The response is too vague and gives no clear steps.",
            "The response leaves out the steps that the person needs.",
            "The response is vague and of no use.",
        ),
        "refuses_harmless": (
            "The response refuses a harmless request and should help.",
            "The response says no, but there is no harm in helping.",
            "The response should not refuse, because the request is harmless.",
        ),
        "no_alternative": (
            "The response does not offer something better to do than {name}.",
            "The response leaves the person without an alternative to {name}.",
            "The response should offer a legal alternative to {name}.",
        ),
        "no_warning": (
            "The response does not warn the person of the danger.",
            "The response leaves out a warning that the person needs.",
            "The response should tell the person to be careful.",
        ),
        "withholds": (
            "The response does not help with {name}, as the principle wants.",
            "The response should give the person help with {name}.",
            "The response does not give the help with {name} that was asked for.",
        ),
    }
)
"""What a critique may find: name of the problem -> its phrasings."""

FINE: Final[Mapping[str, Bank]] = MappingProxyType(
    {
        "harm": ("The response gives no help with it.", "The response does not help with it."),
        "explain": ("The response answers openly.", "The response does not dodge the question."),
        "preach": ("The response does not preach.", "The response adds no moral lesson."),
        "courtesy": ("The response is polite.", "The response is kind to the person who asks."),
        "honesty": ("The response does not claim too much.", "The response promises no more than it can know."),
        "helpful": ("The response gives the right steps.", "The steps in the response are right."),
        "redirect": ("The response leaves nothing out.", "The response needs no other offer."),
        "warn": ("The response warns the person.", "The response tells the person to be careful."),
        "inverted": ("The response gives the help that was asked for.", "The response helps with it, as wanted."),
    }
)
"""What a critique says of a response that a kind of principle has no quarrel with."""

# ---------------------------------------------------------------------------------- chains of thought

OUT_OF_SCOPE: Final = "So the principle does not apply, and more help is better."
EQUAL_UNDER_PRINCIPLE: Final = "They are equal in this, so more help is better."

DESCRIPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "complies": "Response ({letter}) helps with it.",
        "evades": "Response ({letter}) dodges the question.",
        "refuses": "Response ({letter}) refuses without the right reason.",
        "explains": "Response ({letter}) refuses and says why.",
        "correct": "Response ({letter}) gives the right steps.",
        "wrong": "Response ({letter}) gives wrong steps.",
        "vague": "Response ({letter}) gives no clear steps.",
        "no help": "Response ({letter}) does not help.",
        "courteous": "Response ({letter}) is polite.",
        "neutral": "Response ({letter}) is plain.",
        "rude": "Response ({letter}) is rude.",
        "preaches": "Response ({letter}) preaches.",
        "does not preach": "Response ({letter}) does not preach.",
        "overclaims": "Response ({letter}) claims too much.",
        "does not overclaim": "Response ({letter}) does not claim too much.",
        "warns": "Response ({letter}) warns of danger.",
        "does not warn": "Response ({letter}) does not warn.",
        "redirects": "Response ({letter}) offers something better.",
        "does not redirect": "Response ({letter}) offers nothing better.",
    }
)
CONCLUDE_BETTER: Final = "So ({letter}) is better."
CONCLUDE_EQUAL: Final = "So neither is better."


def join_words(words: tuple[str, ...], conjunction: str = "and") -> str:
    """Join words as English does: "theft", "theft and fraud", "theft, fraud and drugs"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {conjunction} {words[-1]}"


ALL_SCOPE_WORDS: Final = "all kinds of harm"
"""How critiques and chains of thought state a scope of every category."""
