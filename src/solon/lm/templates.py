"""A model whose prompts are laid out by templates of a user's own.

It says so as its layout, by which every stage and grader lays out what it asks; what is asked goes through unchanged.
"""

from collections.abc import Mapping

from solon.lm.passing import PassingModel
from solon.lm.protocol import LanguageModel
from solon.prompting import LayoutLike, Templates, as_templates


def with_templates(model: LanguageModel, own: Mapping[str, str]) -> LanguageModel:
    """Return a model with own templates, as `prompting.load_templates` gives them; the model itself without any."""
    return TemplatedModel(model, own) if own else model


class TemplatedModel(PassingModel):
    """A model with own templates. Its identity is the inner one's: they decide what is asked, not what is answered.

    Args:
        inner: the model that is asked.
        own: file, such as `chat/user.txt`, to text.
    """

    def __init__(self, inner: LanguageModel, own: Mapping[str, str]) -> None:
        super().__init__(inner)
        self._layout = Templates(as_templates(inner.layout).layout, own)

    @property
    def layout(self) -> LayoutLike:
        """The inner model's, with these templates."""
        return self._layout
