"""Gradient agents: their turn is autograd's gradient step, and their affine map is
their turn.
"""

import math

import pytest
import torch

from agent_dynamics.agents import GradientAgent, Repeated
from agent_dynamics.lsa import LSAAgent, gradient_descent_weights
from agent_dynamics.prompts import Prompt


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


@pytest.fixture
def prompt() -> Prompt:
    return Prompt(normal(2, 7, 3, seed=0), normal(2, 3, seed=1))


@pytest.mark.parametrize("step_size", [0.1, [0.1, 0.3]])
def test_turn_is_gradient_steps_of_the_objective(prompt, step_size):
    expected = normal(5, 2, 3, seed=2)
    eta = torch.tensor(step_size, dtype=torch.float64)
    answer = GradientAgent(prompt, eta if eta.ndim else step_size, steps=3)(expected)
    for _ in range(3):
        v = expected.clone().requires_grad_()
        residual = (prompt.inputs @ v.unsqueeze(-1)).squeeze(-1) - prompt.labels
        (gradient,) = torch.autograd.grad(residual.square().sum() / (2 * 7), v)
        expected = expected - eta.unsqueeze(-1) * gradient
    torch.testing.assert_close(answer, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(
    "step_size", [0.1, torch.tensor([[0.1], [0.2], [0.3]], dtype=torch.float64)]
)
def test_affine_map_reproduces_the_turn(prompt, step_size, steps):
    agent = GradientAgent(prompt, step_size, steps)
    a, b = agent.affine()
    message = normal(3, 2, 3, seed=2)
    torch.testing.assert_close(
        (a @ message.unsqueeze(-1)).squeeze(-1) + b,
        agent(message),
        rtol=1e-12,
        atol=1e-13,
    )
    torch.testing.assert_close(
        agent(agent.target), agent.target.expand_as(agent(agent.target)), rtol=0, atol=0
    )


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0,), "step_size was 0; it must be greater than 0"),
        ((-0.1,), "step_size was -0.1; it must be greater than 0"),
        ((math.inf,), "step_size was not finite"),
        (
            (torch.ones(3),),
            r"prompt and step_size was of leading shapes \(2,\), \(3,\)",
        ),
        ((0.1, 0), "steps was 0; it must be an integer of at least 1"),
        ((0.1, 1.5), "steps was 1.5; it must be an integer of at least 1"),
    ],
)
def test_bad_input_is_named(prompt, arguments, message):
    with pytest.raises(ValueError, match=message):
        GradientAgent(prompt, *arguments)


def test_message_of_another_dimension_is_named(prompt):
    with pytest.raises(
        ValueError, match=r"message was of shape \(4,\); it must be of shape \(..., 3\)"
    ):
        GradientAgent(prompt, 0.1)(torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99, 1.01, 1.5])
def test_lone_agent_converges_iff_its_step_is_stable(share):
    lone = Prompt(normal(9, 4, seed=3), normal(4, seed=4))
    eigenvalues, eigenvectors = torch.linalg.eigh(lone.covariance)
    agent = GradientAgent(lone, share * 2 / eigenvalues[-1].item())
    message = torch.zeros(4, dtype=torch.float64)
    factors = (1 - agent.step_size * eigenvalues).abs()
    before = eigenvectors.mT @ (message - lone.target)
    after = eigenvectors.mT @ (agent(message) - lone.target)
    torch.testing.assert_close(
        after.abs(), factors * before.abs(), rtol=1e-10, atol=1e-13
    )
    for _ in range(20_000):
        message = agent(message)
    reached = (message - lone.target).norm() < 1e-6 * lone.target.norm()
    assert bool(reached) == (share < 1)


def test_a_repeated_agent_takes_its_steps_and_says_their_affine_map(prompt):
    repeated = Repeated(LSAAgent(gradient_descent_weights(3, 0.1), prompt), 3)
    whole = GradientAgent(prompt, 0.1, steps=3)
    message = normal(2, 3, seed=2)
    torch.testing.assert_close(
        repeated(message), whole(message), rtol=1e-12, atol=1e-13
    )
    for part, expected in zip(repeated.affine(), whole.affine(), strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-12, atol=1e-13)
    assert torch.equal(repeated.target, prompt.target)
    with pytest.raises(
        ValueError, match="steps was 0; it must be an integer of at least 1"
    ):
        Repeated(whole, 0)


@pytest.mark.parametrize("part", [slice(0, 2), slice(1, 4), slice(3, None)])
@pytest.mark.parametrize(
    ("inputs", "target", "step_size"),
    [
        ((4,), (4,), (4,)),
        ((4,), (), ()),
        ((), (4,), ()),
        ((4, 1), (2,), ()),
        ((2,), (4, 1), (4, 2)),
        ((1, 2), (4, 2), (2,)),
    ],
)
def test_a_part_of_a_batch_of_agents_replies_as_it_did_in_the_whole(
    inputs, target, step_size, part
):
    steps = 0.2 * normal(*step_size, 1, seed=3).sigmoid()[..., 0]
    whole = GradientAgent(
        Prompt(normal(*inputs, 7, 3, seed=0), normal(*target, 3, seed=1)),
        steps,
        steps=2,
    )
    some = whole[part]
    batch = torch.broadcast_shapes(inputs, target, step_size)
    message = normal(*batch, 3, seed=2)
    torch.testing.assert_close(
        some(message[part]), whole(message)[part], rtol=1e-13, atol=1e-14
    )
    assert some.prompt.inputs.shape == (*message[part].shape[:-1], 7, 3)
    assert some.target.shape == message[part].shape
    assert some.step_size.shape == message[part].shape[:-1]
    assert torch.equal(some.target, whole.target.expand(*batch, 3)[part])
