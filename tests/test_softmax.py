"""The softmax transformer: training learns the step, and its agent's affine map is its
derivative at rest.
"""

import pytest
import torch

from agent_dynamics.equilibrium import equilibrium
from agent_dynamics.interaction import settle
from agent_dynamics.prompts import Prompt
from agent_dynamics.softmax import (
    SoftmaxAgent,
    SoftmaxConfig,
    SoftmaxTransformer,
    train_softmax,
)

CONFIG = SoftmaxConfig(
    dimension=2, seed=0, examples=8, width=16, steps=250, learning_rate=1e-2
)


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


@pytest.fixture(scope="module")
def model() -> SoftmaxTransformer:
    return train_softmax(CONFIG)


def agent(
    model: SoftmaxTransformer, seed: int, gap: float = 0.0, pairs: int = 20
) -> SoftmaxAgent:
    centre = normal(pairs, 2, seed=10) / 2
    return SoftmaxAgent(
        model,
        Prompt(
            normal(pairs, 8, 2, seed=seed), centre + gap * normal(pairs, 2, seed=11)
        ),
    )


def test_training_learns_the_step_and_depends_on_the_seed_alone(model):
    prompt, message = (
        Prompt(normal(200, 8, 2, seed=1), normal(200, 2, seed=2)),
        normal(200, 2, seed=3),
    )
    step = -CONFIG.step_size * prompt.gradient(message)
    missed = SoftmaxAgent(model, prompt)(message) - message - step
    assert missed.norm() < 0.3 * step.norm()
    short = SoftmaxConfig(dimension=2, seed=0, examples=8, width=16, steps=3)
    torch.manual_seed(1)
    first = train_softmax(short)
    torch.manual_seed(2)
    again = train_softmax(short)
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_order_of_the_examples_does_not_matter(model):
    prompt, message = Prompt(normal(8, 2, seed=1), normal(2, seed=2)), normal(2, seed=3)
    turned = Prompt(prompt.inputs.flip(0), prompt.target)
    torch.testing.assert_close(
        SoftmaxAgent(model, prompt)(message),
        SoftmaxAgent(model, turned)(message),
        rtol=0,
        atol=1e-12,
    )


def test_affine_map_is_the_first_order_of_the_agent_at_its_fixed_point(model):
    alone = agent(model, seed=4)
    rest = alone.fixed_point
    torch.testing.assert_close(alone(rest), rest, rtol=0, atol=1e-11)
    jacobian, offset = alone.affine()
    torch.testing.assert_close(
        (jacobian @ rest.unsqueeze(-1)).squeeze(-1) + offset, rest, rtol=0, atol=1e-12
    )
    for i, direction in enumerate(1e-5 * torch.eye(2, dtype=torch.float64)):
        difference = (alone(rest + direction) - alone(rest - direction)) / 2e-5
        torch.testing.assert_close(jacobian[..., i], difference, rtol=0, atol=1e-7)


def test_plateaus_follow_the_local_maps_to_first_order(model):
    off = []
    for gap in (2**-3, 2**-6):
        w, u = agent(model, seed=4), agent(model, seed=5, gap=gap)
        limit, _ = settle([w, u], torch.zeros(2, dtype=torch.float64))
        rest_gap = (u.fixed_point - w.fixed_point).norm(dim=-1)
        off.append((limit - equilibrium(w, u).w).norm(dim=-1) / rest_gap**2)
    # Second order: the distance over the squared gap of the fixed points stays of one
    # size.
    assert 0.5 < (off[0] / off[1]).median() < 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: SoftmaxConfig(2, 0, width=10, heads=4),
            "width was 10; it must be a multiple of heads = 4",
        ),
        (
            lambda: SoftmaxConfig(9, 0, examples=8),
            "examples was 8; it must be at least the dimension 9",
        ),
        (lambda: SoftmaxConfig(2, -1), "seed was -1"),
        (
            lambda: SoftmaxAgent(
                SoftmaxTransformer(CONFIG), Prompt(torch.ones(7, 2), torch.ones(2))
            ),
            "prompt was of 7 examples in dimension 2; it must be of the "
            "transformer's 8 examples in dimension 2",
        ),
        (
            lambda: SoftmaxAgent(
                SoftmaxTransformer(CONFIG).double(),
                Prompt(torch.ones(8, 2), torch.ones(2)),
            ),
            "prompt was of torch.float32; it must be of the transformer's "
            "torch.float64",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
