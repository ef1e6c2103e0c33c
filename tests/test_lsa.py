"""The LSA layer: its construction is a gradient step, its Gram form the literal one."""

import math

import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_dynamics.agents import GradientAgent
from agent_dynamics.lsa import (
    LinearSelfAttention,
    LSAAgent,
    gradient_descent_weights,
    tokens,
)
from agent_dynamics.prompts import Prompt

SEEDS = st.integers(0, 2**32 - 1)


def normal(random: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=random, dtype=torch.float64)


def random_prompt(random: torch.Generator, d: int, n: int) -> Prompt:
    return Prompt(normal(random, 3, n, d), normal(random, 3, d))


def random_layer(random: torch.Generator, d: int) -> LinearSelfAttention:
    layer = LinearSelfAttention(d)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(normal(random, *parameter.shape))
    return layer


def relative_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    error = torch.linalg.vector_norm(value - expected, dim=-1)
    return (error / torch.linalg.vector_norm(expected, dim=-1)).max().item()


def literal_answer(
    layer: LinearSelfAttention, prompt: Prompt, messages: torch.Tensor
) -> torch.Tensor:
    return layer(tokens(prompt, messages), prompt.examples)[..., layer.d + 1 : -1, -1]


def test_tokens_are_laid_out_in_four_blocks():
    prompt = Prompt(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1.0, -1.0]))
    z = tokens(prompt, torch.tensor([[5.0, 6.0], [7.0, 8.0]]))
    assert z.tolist() == [
        [1, 3, 0, 0],
        [2, 4, 0, 0],
        [-1, -1, 0, 0],
        [0, 0, 5, 7],
        [0, 0, 6, 8],
        [0, 0, 1, 1],
    ]


@settings(max_examples=50)
@given(
    seed=SEEDS,
    d=st.integers(1, 8),
    n=st.integers(1, 20),
    earlier=st.integers(0, 4),
    step_size=st.floats(0.01, 1.0),
)
@torch.no_grad()
def test_construction_takes_a_gradient_step_whatever_earlier_messages_the_context_holds(
    seed, d, n, earlier, step_size
):
    random = torch.Generator().manual_seed(seed)
    prompt = random_prompt(random, d, n)
    messages = normal(random, 3, earlier + 1, d)
    layer = gradient_descent_weights(d, step_size)
    gradient_step = GradientAgent(prompt, step_size)(messages[..., -1, :])
    # Both add a step of about eta ||S|| ||w - t|| to w: rounding is relative to the
    # sizes of all three.
    scale = 1 + (step_size * torch.linalg.matrix_norm(prompt.gram)).max().item()
    scale *= 1 + torch.linalg.vector_norm(messages, dim=-1).max().item()
    for answer in (
        literal_answer(layer, prompt, messages),
        layer.step(prompt.gram, n, messages),
    ):
        assert (answer - gradient_step).abs().max() <= 1e-14 * scale


@settings(max_examples=50)
@given(seed=SEEDS, d=st.integers(1, 8), n=st.integers(1, 20), earlier=st.integers(0, 4))
@torch.no_grad()
def test_step_from_second_moments_is_the_literal_layer(seed, d, n, earlier):
    random = torch.Generator().manual_seed(seed)
    prompt, layer = random_prompt(random, d, n), random_layer(random, d)
    messages = normal(random, 2, 3, earlier + 1, d)
    assert (
        relative_error(
            layer.step(prompt.gram, n, messages),
            literal_answer(layer, prompt, messages),
        )
        <= 1e-12
    )


@pytest.mark.parametrize("d", [1, 2])
def test_construction_is_symbolically_a_gradient_step(d):
    n, k, eta = 3, 2, sympy.Rational(1, 4)
    x = sympy.Matrix(n, d, sympy.symbols(f"x:{n * d}"))
    t = sympy.Matrix(sympy.symbols(f"t:{d}"))
    w = sympy.Matrix(d, k, sympy.symbols(f"w:{d * k}"))
    data = sympy.Matrix.vstack(x.T, (x * t).T, sympy.zeros(d + 1, n))
    weights = sympy.Matrix.vstack(sympy.zeros(d + 1, k), w, sympy.ones(1, k))
    z = sympy.Matrix.hstack(data, weights)
    layer = gradient_descent_weights(d, float(eta))
    value, query = (
        sympy.Matrix(p.tolist()).applyfunc(sympy.Rational)
        for p in (layer.value, layer.query)
    )
    answer = (z + value * z * (z.T * query * z) / n)[d + 1 : -1, -1]
    message = w[:, -1]
    assert (
        answer - (message - eta * x.T * x * (message - t) / n)
    ).expand() == sympy.zeros(d, 1)


@pytest.mark.parametrize("d", [1, 3, 4])
def test_a_new_layer_has_two_zero_matrices_for_four_blocks_and_echoes(d):
    layer = LinearSelfAttention(d)
    for matrix in (layer.value, layer.query):
        assert torch.equal(matrix, torch.zeros(2 * d + 2, 2 * d + 2).double())
    messages = normal(torch.Generator().manual_seed(0), 2, d)
    echo = layer.step(torch.ones(d + 1, d + 1).double(), 3, messages)
    assert torch.equal(echo, messages[-1])


@pytest.mark.parametrize("batch", [(), (4,), (2, 4)])
def test_an_agents_affine_map_has_the_batch_of_its_prompts(batch):
    random = torch.Generator().manual_seed(2)
    prompt = Prompt(normal(random, *batch, 5, 3), normal(random, *batch, 3))
    agent = LSAAgent(gradient_descent_weights(3, 0.2), prompt)
    for part, expected in zip(
        agent.affine(), GradientAgent(prompt, 0.2).affine(), strict=True
    ):
        torch.testing.assert_close(part, expected, rtol=1e-13, atol=1e-13)


def test_agent_of_the_construction_is_the_gradient_agent():
    random = torch.Generator().manual_seed(0)
    prompt = random_prompt(random, 4, 9)
    agent, gradient = (
        LSAAgent(gradient_descent_weights(4, 0.3), prompt),
        GradientAgent(prompt, 0.3),
    )
    message = normal(random, 2, 3, 4)
    torch.testing.assert_close(
        agent(message), gradient(message), rtol=1e-13, atol=1e-13
    )
    for measured, exact in zip(agent.affine(), gradient.affine(), strict=True):
        torch.testing.assert_close(measured, exact, rtol=1e-13, atol=1e-13)
    assert torch.equal(agent.target, prompt.target)


def test_affine_map_of_a_layer_without_attention_between_weight_tokens_is_exact():
    random = torch.Generator().manual_seed(1)
    d, prompt = 3, random_prompt(random, 3, 9)
    layer = random_layer(random, d)
    with torch.no_grad():
        layer.query[d + 1 :, d + 1 :] = 0
    agent = LSAAgent(layer, prompt)
    a, b = agent.affine()
    message = normal(random, 3, d)
    torch.testing.assert_close(
        (a @ message.unsqueeze(-1)).squeeze(-1) + b,
        agent(message),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.unchecked
@pytest.mark.parametrize("step_size", [0.0, -0.1, math.nan, "large"])
def test_construction_refuses_a_step_size_that_is_not_positive_and_finite(step_size):
    with pytest.raises(
        ValueError,
        match="step_size was .*; it must be (a finite number|greater than 0)",
    ):
        gradient_descent_weights(2, step_size)


@pytest.mark.unchecked
def test_shapes_that_do_not_fit_are_named():
    prompt = Prompt(torch.ones(2, 5, 3), torch.ones(3))
    layer = LinearSelfAttention(2)
    with pytest.raises(ValueError, match="d was 0"):
        LinearSelfAttention(0)
    with pytest.raises(
        ValueError,
        match="prompt was of dimension 3; it must be of the layer's dimension 2",
    ):
        LSAAgent(layer, prompt)
    with pytest.raises(
        ValueError,
        match="prompt was of dimension 3; it must be of the layer's dimension 4",
    ):
        LSAAgent(LinearSelfAttention(4), prompt)
    with pytest.raises(
        ValueError,
        match=r"messages was of shape \(1, 2\); it must be of shape \(..., 3\)",
    ):
        tokens(prompt, torch.ones(1, 2))
    with pytest.raises(
        ValueError,
        match=r"messages was of shape \(3,\); it must be of shape \(..., k \+ 1, 3\)",
    ):
        tokens(prompt, torch.ones(3))
    with pytest.raises(
        ValueError, match="prompt was of torch.float32; .* the layer's torch.float64"
    ):
        LSAAgent(LinearSelfAttention(3), prompt)
    for shape in [(2, 2), (2, 3), (3, 2), (4, 4), (5, 4, 3)]:
        with pytest.raises(
            ValueError,
            match=r"gram was of shape .*; it must be of shape \(..., 3, 3\)",
        ):
            layer.step(torch.ones(shape), 5, torch.ones(1, 2))
    with pytest.raises(
        ValueError, match=r"messages was of shape \(2,\); .* \(..., k \+ 1, 2\)"
    ):
        layer.step(torch.eye(3), 5, torch.ones(2))
    with pytest.raises(ValueError, match="prompt and messages was of leading shapes"):
        tokens(prompt, torch.ones(4, 1, 3))
    with pytest.raises(
        ValueError,
        match=r"messages was of shape \(1, 3\); it must be of shape \(..., k \+ 1, 2\)",
    ):
        layer.step(torch.eye(3), 5, torch.ones(1, 3))
