"""What a run needs of models: to identify, open and train checkpoints. One implementation, and fakes in tests.

The stages see a `LanguageModel` and folders. What is behind them, torch on this machine, is named here only and
imported when it is first needed.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from solon.errors import MissingExtraError
from solon.lm.protocol import LanguageModel
from solon.records import PreferencePair, Prompt, SFTExample

if TYPE_CHECKING:
    from solon.training.ppo import PPOConfig, PPOSummary
    from solon.training.preference_model import PMSummary, PreferenceModelConfig
    from solon.training.sft import SFTConfig, SFTSummary

OnProgress = Callable[[int, int], None]
"""Called with how many items are done and how many there are."""


class Engine(Protocol):
    """Identifies, opens and trains checkpoints. All folders are Hugging Face folders."""

    def weights_digest(self, checkpoint: Path) -> str:
        """Return the digest of a checkpoint's content."""
        ...

    def open_model(self, checkpoint: Path) -> AbstractContextManager[LanguageModel]:
        """Return a model that can be asked, to be closed after use."""
        ...

    def run_sft(
        self,
        base: Path,
        examples: Sequence[SFTExample],
        config: "SFTConfig",
        out: Path,
        *,
        seed: int,
        metrics: Path,
        on_progress: OnProgress,
    ) -> "SFTSummary":
        """Fine-tune `base` on examples into `out`."""
        ...

    def run_preference_model(
        self,
        init: Path,
        pairs: Sequence[PreferencePair],
        heldout: Sequence[PreferencePair],
        config: "PreferenceModelConfig",
        out: Path,
        *,
        seed: int,
        metrics: Path,
        on_progress: OnProgress,
    ) -> "PMSummary":
        """Train a preference model that starts as `init` on soft labels into `out`."""
        ...

    def run_ppo(
        self,
        policy: Path,
        preference_model: Path,
        prompts: Sequence[Prompt],
        config: "PPOConfig",
        out: Path,
        *,
        seed: int,
        metrics: Path,
        on_progress: OnProgress,
        value_out: Path,
    ) -> "PPOSummary":
        """Train `policy` against a preference model into `out`, its value model into `value_out`."""
        ...
