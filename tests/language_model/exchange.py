"""What the tests of language-model agents have in common."""

import json

import torch

from agent_dynamics.language_model import LanguageModelAgent, Transcript, experiment

KEY = "sk-a-key-that-must-stay-secret"
PAIRS = experiment(6, 1)
HERE = torch.tensor([0.5, -0.25, 1.0], dtype=torch.float64)


def agent(path, endpoint, **options):
    transcript = Transcript(path, **options)
    return LanguageModelAgent(
        PAIRS[1].prompt_w, "pair/W", transcript, endpoint, wait=0.001
    )


def entries(path):
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if "turn" in line]
