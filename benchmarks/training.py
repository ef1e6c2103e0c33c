"""Training an LSA layer: the time to a given operator error, and a step against the
attention matrix.
"""

import time

import torch
from tqdm import tqdm

from agent_dynamics.lsa import LinearSelfAttention, tokens
from agent_dynamics.prompts import Prompt
from agent_dynamics.training import TrainingConfig, train_lsa

from .timing import ratio, side_by_side, slope, spread

DIMENSIONS, SEEDS, ERRORS = (5, 10, 20), range(10), (1e-2, 1e-4, 1e-8)
EXAMPLES = [20, 80, 320]
# Timed of each: those with the attention matrix take long.
STEPS = {"moments": 100, "attention": 5}


def answers(
    model: LinearSelfAttention, prompt: Prompt, messages: torch.Tensor
) -> torch.Tensor:
    """The layer's answers by its attention matrix, over all tokens: shape (..., d)."""
    z = model(tokens(prompt, messages), prompt.examples)
    return z[..., model.d + 1 : -1, -1]


def plain_training(config: TrainingConfig, steps: int) -> None:
    """Training by the layer's definition: examples drawn, tokens laid out, the
    attention matrix formed.
    """
    random = torch.Generator().manual_seed(config.seed)
    model = LinearSelfAttention(config.dimension)
    with torch.no_grad():
        model.value.normal_(0, config.value_scale, generator=random)
        model.query.normal_(0, config.query_scale, generator=random)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=config.learning_rate, amsgrad=True
    )

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    for _ in range(steps):
        prompt = Prompt(
            normal(config.batch_size, config.examples, config.dimension),
            normal(config.batch_size, config.dimension),
        )
        context = int(torch.randint(config.context + 1, (), generator=random))
        messages = normal(config.batch_size, context + 1, config.dimension)
        w = messages[:, -1]
        error = (
            answers(model, prompt, messages) - w + config.step_size * prompt.gradient(w)
        )
        optimizer.zero_grad()
        error.square().sum(-1).mean().backward()
        optimizer.step()


def run() -> dict[str, object]:
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    return {
        "errors": ERRORS,
        "seeds": len(SEEDS),
        "table": [row for device in devices for row in table(device)],
        **against_attention(),
        "goals": {},
    }


def table(device: str) -> list[dict[str, object]]:
    """For each dimension and error the seconds over all initialisations, and how many
    got there.
    """
    # torch loads parts of itself at the first step.
    train_lsa(TrainingConfig(5, 0, steps=10, evaluate_every=10), device=device)
    rows = []
    for d in DIMENSIONS:
        reached = {error: [] for error in ERRORS}
        for seed in tqdm(SEEDS, leave=False, desc=f"training d={d} {device}"):
            config = TrainingConfig(
                d, seed, examples=max(20, d), tolerance=min(ERRORS), evaluate_every=25
            )
            began = time.perf_counter()
            history = train_lsa(config, device=device).history
            a_step = (time.perf_counter() - began) / history["step"][-1].item()
            for error in ERRORS:
                there = history["step"][history["operator_error"] <= error]
                if len(there):
                    reached[error].append(there[0].item() * a_step)
        rows += [
            {"device": device, "d": d, "error": error, "reached": len(seconds)}
            | (spread(seconds) if seconds else {})
            for error, seconds in reached.items()
        ]
    return rows


def against_attention() -> dict[str, object]:
    """Seconds a step for growing prompts, by moments and by the attention matrix."""
    ways = {}
    for n in EXAMPLES:
        config = TrainingConfig(
            5, 0, examples=n, steps=STEPS["moments"], evaluate_every=STEPS["moments"]
        )
        ways[f"moments {n}"] = lambda config=config: train_lsa(config)
        ways[f"attention {n}"] = lambda config=config: plain_training(
            config, STEPS["attention"]
        )
    times = {
        way: seconds / STEPS[way.split()[0]]
        for way, seconds in side_by_side(ways).items()
    }
    kinds = {
        kind: [spread(times[f"{kind} {n}"])["median"] for n in EXAMPLES]
        for kind in STEPS
    }
    return {
        "examples": EXAMPLES,
        "steps": STEPS,
        "step_seconds": kinds,
        "exponent": {kind: slope(EXAMPLES, seconds) for kind, seconds in kinds.items()},
        "against_attention": {
            str(n): ratio(times[f"attention {n}"], times[f"moments {n}"])
            for n in EXAMPLES
        },
    }
