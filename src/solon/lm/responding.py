"""The one way in which a stage has a model answer a conversation."""

from solon.lm.protocol import LanguageModel
from solon.lm.sentences import whole_sentences
from solon.prompting import render_response
from solon.records import Conversation, Sample, Sampling


async def respond(
    model: LanguageModel, conversation: Conversation, sampling: Sampling, *, seed: int, trim: bool = False
) -> Sample:
    """Have a model write the assistant's next message, asked in the model's own layout.

    What comes may have a `Sample.fault`: the caller says whether that ends its item.

    Args:
        model: who answers.
        conversation: ends with a user message.
        sampling: how the answer is drawn.
        seed: the seed of this draw.
        trim: True takes a response that the limit cut off up to the end of its last whole sentence, as `trimmed`; one
            without a whole sentence stays as it is, truncated.

    Raises:
        CallFailedError: the call came to no result.
        PromptingError: the conversation does not end with a user message.
    """
    response = await model.generate(render_response(conversation, model.layout), sampling, seed=seed)
    if not (trim and response.cut and (text := whole_sentences(response.text))):
        return response
    return response.model_copy(update={"text": text, "trimmed": True})
