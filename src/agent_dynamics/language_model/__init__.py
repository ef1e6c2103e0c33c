"""Language models as agents, over any OpenAI-compatible endpoint.

An agent shows the model its own examples and the other's last estimate, and asks for an
improved one. Every attempt is appended to a transcript as it happens. What a transcript
holds is never asked again, so a run that stopped goes on from it, and a whole
transcript replays without an endpoint.
"""

from .._extras import extra

with extra("language-models"):
    from .agent import LanguageModelAgent, NoAnswer
    from .analysis import (
        Speaker,
        effective_step,
        fits,
        habits,
        plateaus,
        predicted_plateaus,
        speakers,
    )
    from .endpoint import Endpoint, Rejected, Settings
    from .experiment import Pair, experiment, replay, run
    from .question import PLAIN, STEP, VARIANTS, Variant
    from .transcript import STAND_IN, BudgetReached, Transcript, transcripts

__all__ = [
    "PLAIN",
    "STAND_IN",
    "STEP",
    "VARIANTS",
    "BudgetReached",
    "Endpoint",
    "LanguageModelAgent",
    "NoAnswer",
    "Pair",
    "Rejected",
    "Settings",
    "Speaker",
    "Transcript",
    "Variant",
    "effective_step",
    "experiment",
    "fits",
    "habits",
    "plateaus",
    "predicted_plateaus",
    "replay",
    "run",
    "speakers",
    "transcripts",
]
