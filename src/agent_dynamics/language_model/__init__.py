"""Language models as agents, over any OpenAI-compatible endpoint.

An agent shows the model its own examples and the other's last estimate, and asks for an
improved one. Every attempt is appended to a transcript as it happens. What a transcript
holds is never asked again, so a run that stopped goes on from it, and a whole
transcript replays without an endpoint.
"""

from .._extras import extra

with extra("language-models"):
    from .agent import LanguageModelAgent, NoAnswer, Rejected
    from .endpoint import connect
    from .experiment import (
        Pair,
        effective_step,
        experiment,
        predicted_plateaus,
        replay,
        run,
    )
from .transcript import STAND_IN, BudgetReached, Transcript, given_transcript

__all__ = [
    "STAND_IN",
    "BudgetReached",
    "LanguageModelAgent",
    "NoAnswer",
    "Pair",
    "Rejected",
    "Transcript",
    "connect",
    "effective_step",
    "experiment",
    "given_transcript",
    "predicted_plateaus",
    "replay",
    "run",
]
