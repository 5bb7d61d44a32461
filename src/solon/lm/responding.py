"""The one way in which a stage has a model answer a conversation."""

from solon.lm.protocol import LanguageModel
from solon.prompting import render_response
from solon.records import Conversation, Sample, Sampling


async def respond(model: LanguageModel, conversation: Conversation, sampling: Sampling, *, seed: int) -> Sample:
    """Have a model write the assistant's next message, asked in the model's own layout.

    What comes may have a `Sample.fault`: the caller says whether that ends its item.

    Args:
        model: who answers.
        conversation: ends with a user message.
        sampling: how the answer is drawn.
        seed: the seed of this draw.

    Raises:
        CallFailedError: the call came to no result.
        PromptingError: the conversation does not end with a user message.
    """
    return await model.generate(render_response(conversation, model.layout), sampling, seed=seed)
