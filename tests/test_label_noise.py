"""The error that noisy labels leave, alone and after talking: closed forms against
simulated noise.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_dynamics.agents import GradientAgent
from agent_dynamics.equilibrium import equilibrium
from agent_dynamics.interaction import settle
from agent_dynamics.label_noise import (
    NoisyPrompt,
    critical_gap,
    error_alone,
    expected_error,
    pooled_estimate,
)
from agent_dynamics.lsa import LSAAgent, gradient_descent_weights
from agent_dynamics.prompts import (
    Prompt,
    prompt_with_covariance,
    random_covariance,
    target_pair,
)

SEEDS = st.integers(0, 2**32 - 1)
DIMENSIONS = st.integers(1, 5)
KEPT = st.floats(0.05, 0.95)  # a = 1 - eta lambda
NOISES = st.floats(0.05, 2)
ETA = 0.4


def normal(random: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=random, dtype=torch.float64)


def drawn(random, d, product=0.9, condition=6.0, shape=()):
    """A gradient agent of step ETA with largest ETA lambda = product."""
    s = random_covariance(
        d,
        condition if d > 1 else 1.0,
        largest=product / ETA,
        shape=shape,
        generator=random,
    )
    return GradientAgent(
        prompt_with_covariance(s, normal(random, *shape, d), d + 2, generator=random),
        ETA,
    )


def isotropic(random, target, kept, n=8):
    """A gradient agent with S = lambda I whose turn keeps `kept` of its error."""
    d = target.shape[-1]
    s = (1 - kept) / ETA * torch.eye(d, dtype=torch.float64)
    return GradientAgent(prompt_with_covariance(s, target, n, generator=random), ETA)


def noisy(prompt: Prompt, noise: torch.Tensor) -> NoisyPrompt:
    return NoisyPrompt(prompt.inputs, prompt.labels + noise)


def one_label_at_a_time(pair, noises):
    """E ||w_inf - w*||^2 without a formula.

    What the agents settle on is affine in the labels, so its mean square is that of the
    true labels plus what each label moves, alone and by one standard deviation.
    """
    start = torch.zeros_like(pair[0].target)
    quiet = settle(pair, start)[0]
    total = (quiet - pair[0].target).square().sum()
    for moved in (0, 1):
        perturbed, own = list(pair), pair[moved].prompt
        each = noises[moved] * torch.eye(own.examples, dtype=torch.float64)
        perturbed[moved] = GradientAgent(noisy(own, each), pair[moved].step_size)
        total += (settle(perturbed, start)[0] - quiet).square().sum()
    return total


@settings(max_examples=25)
@given(seed=SEEDS, d=DIMENSIONS, noise=NOISES)
def test_noisy_labels_are_labels_of_the_estimate_up_to_a_constant(seed, d, noise):
    random = torch.Generator().manual_seed(seed)
    prompt = drawn(random, d).prompt
    given_prompt = noisy(prompt, noise * normal(random, 3, prompt.examples))
    expected = torch.linalg.lstsq(
        prompt.inputs.expand(3, -1, -1), given_prompt.labels.unsqueeze(-1)
    ).solution.squeeze(-1)
    torch.testing.assert_close(given_prompt.target, expected)
    v = normal(random, 5, 1, d)
    residual = v @ prompt.inputs.mT - given_prompt.labels
    loss = residual.square().sum(-1) / (2 * prompt.examples)
    off = loss - given_prompt.loss(v)
    torch.testing.assert_close(off, off[:1].expand_as(off))
    assert (off >= -1e-12).all()


def test_a_layer_reads_the_noisy_labels_themselves():
    random = torch.Generator().manual_seed(0)
    prompt = drawn(random, 3).prompt
    given_prompt = noisy(prompt, normal(random, prompt.examples))
    tokens = torch.cat([prompt.inputs, given_prompt.labels.unsqueeze(-1)], dim=-1)
    torch.testing.assert_close(given_prompt.gram, tokens.mT @ tokens / prompt.examples)
    agent = LSAAgent(gradient_descent_weights(3, ETA), given_prompt)
    v = normal(random, 3)
    torch.testing.assert_close(agent(v), GradientAgent(given_prompt, ETA)(v))


def test_error_alone_is_the_scatter_of_least_squares():
    random = torch.Generator().manual_seed(1)
    prompt = drawn(random, 3).prompt
    noise = 0.7 * normal(random, 100_000, prompt.examples)
    missed = (noisy(prompt, noise).target - prompt.target).square().sum(-1)
    expected = error_alone(prompt, 0.7)
    assert abs(missed.mean() - expected) < 4 * missed.std() / math.sqrt(100_000)
    torch.testing.assert_close(error_alone(prompt, 1.4), 4 * expected)


def test_expected_error_is_the_mean_of_simulated_conversations():
    random = torch.Generator().manual_seed(2)
    pair = drawn(random, 3), drawn(random, 3, product=0.6)
    noises, draws = (0.8, 0.3), 100_000
    perturbed = [
        noisy(agent.prompt, noise * normal(random, draws, agent.prompt.examples))
        for agent, noise in zip(pair, noises, strict=True)
    ]
    end = equilibrium(*(GradientAgent(prompt, ETA) for prompt in perturbed))
    for this, other, w in ((0, 1, end.w), (1, 0, end.u)):
        missed = (w - pair[this].target).square().sum(-1)
        expected = expected_error(pair[this], pair[other], noises[this], noises[other])
        assert abs(missed.mean() - expected) < 4 * missed.std() / math.sqrt(draws)


@settings(max_examples=25)
@given(
    seed=SEEDS,
    d=DIMENSIONS,
    products=st.tuples(st.floats(0.3, 1.7), st.floats(0.3, 1.7)),
    noises=st.tuples(NOISES, NOISES),
)
def test_expected_error_is_what_the_labels_move_one_by_one(seed, d, products, noises):
    random = torch.Generator().manual_seed(seed)
    pair = [drawn(random, d, product) for product in products]
    torch.testing.assert_close(
        expected_error(*pair, *noises),
        one_label_at_a_time(pair, noises),
        rtol=1e-9,
        atol=1e-12,
    )


def test_expected_error_batches_over_agents_and_noises():
    random = torch.Generator().manual_seed(3)
    pair = drawn(random, 3, shape=(4,)), drawn(random, 3)
    noises = torch.linspace(0, 1, 5, dtype=torch.float64).unsqueeze(-1)
    together = expected_error(*pair, noises, 0.5)
    assert together.shape == (5, 4)
    one = expected_error(pair[0][2:3], pair[1], noises[3], 0.5)
    torch.testing.assert_close(together[3, 2:3], one)
    quiet = expected_error(*pair, 0, 0)
    torch.testing.assert_close(quiet, equilibrium(*pair).error_w.square().sum(-1))


@settings(max_examples=25)
@given(seed=SEEDS, d=DIMENSIONS, kept=KEPT, noise=NOISES, gap=st.floats(0, 5))
def test_equal_isotropic_partners_help_exactly_below_the_critical_gap(
    seed, d, kept, noise, gap
):
    random = torch.Generator().manual_seed(seed)
    w_star = normal(random, d)
    direction = normal(random, d)
    pair = [
        isotropic(random, target, kept)
        for target in (w_star, w_star + gap * direction / direction.norm())
    ]
    alone = error_alone(pair[0].prompt, noise)
    talked = expected_error(*pair, noise, noise)
    torch.testing.assert_close(
        talked, (kept**2 * gap**2 + (1 + kept**2) * alone) / (1 + kept) ** 2
    )
    limit = critical_gap(pair[0], noise)
    torch.testing.assert_close(kept * limit**2, 2 * alone)
    if abs(gap - limit) > 1e-6:
        assert (talked < alone) == (gap < limit)


def test_the_critical_gap_is_where_simulated_gain_changes_sign():
    random = torch.Generator().manual_seed(4)
    kept, noise = 0.6, 0.5
    w_star, direction = target_pair(3, math.pi / 2, generator=random)
    agent = isotropic(random, w_star, kept)

    def gain(gap):
        other = isotropic(random, w_star + gap * direction, kept)
        return error_alone(agent.prompt, noise) - one_label_at_a_time(
            [agent, other], (noise, noise)
        )

    limit = critical_gap(agent, noise).item()
    assert gain(limit - 1e-3) > 0 > gain(limit + 1e-3)


@settings(max_examples=25)
@given(seed=SEEDS, noise=NOISES, gap=st.floats(0, 5))
def test_the_best_step_is_best_and_always_helps(seed, noise, gap):
    random = torch.Generator().manual_seed(seed)
    w_star, direction = target_pair(2, math.pi / 2, generator=random)
    s = torch.eye(2, dtype=torch.float64) / ETA
    X = prompt_with_covariance(s, w_star, 6, generator=random).inputs
    u_star = w_star + gap * direction

    def talked(kept):  # a prompt in smaller units takes smaller steps
        scale = (1 - torch.as_tensor(kept, dtype=torch.float64)).sqrt()[..., None, None]
        pair = [GradientAgent(Prompt(scale * X, t), ETA) for t in (w_star, u_star)]
        sigma = noise * scale[..., 0, 0]
        return expected_error(*pair, sigma, sigma)

    alone = error_alone(Prompt(X, w_star), noise)
    best = (alone / (alone + gap**2)).item()
    least = alone * (alone + gap**2) / (2 * alone + gap**2)
    torch.testing.assert_close(talked(min(best, 1 - 1e-9)), least, rtol=1e-6, atol=0)
    assert least < alone
    grid = torch.linspace(0.005, 0.995, 199, dtype=torch.float64)
    assert (talked(grid) >= least * (1 - 1e-12)).all()


@settings(max_examples=25)
@given(seed=SEEDS, kept=st.tuples(KEPT, KEPT), noises=st.tuples(NOISES, NOISES))
def test_unequal_isotropic_partners_help_by_their_weight(seed, kept, noises):
    random = torch.Generator().manual_seed(seed)
    w_star, direction = target_pair(3, math.pi / 2, generator=random)
    for gap in (0.0, 0.3, 1.0, 3.0):
        pair = [
            isotropic(random, target, a)
            for target, a in zip((w_star, w_star + gap * direction), kept, strict=True)
        ]
        own, other = (
            error_alone(agent.prompt, noise)
            for agent, noise in zip(pair, noises, strict=True)
        )
        k = kept[0] * (1 - kept[1]) / (1 - kept[0] * kept[1])
        error = expected_error(*pair, *noises)
        torch.testing.assert_close(error, (1 - k) ** 2 * own + k**2 * (other + gap**2))
        margin = 2 * own - k * (gap**2 + own + other)
        if abs(margin) > 1e-9:
            assert (error < own) == (margin > 0)


@settings(max_examples=25)
@given(seed=SEEDS, d=DIMENSIONS, noises=st.tuples(NOISES, NOISES))
def test_pooled_estimate_is_least_squares_on_both_prompts(seed, d, noises):
    random = torch.Generator().manual_seed(seed)
    prompts = [
        noisy(p, noise * normal(random, p.examples))
        for p, noise in zip(
            (drawn(random, d).prompt, drawn(random, d).prompt), noises, strict=True
        )
    ]
    stacked = [
        torch.cat(
            [
                value / noise
                for value, noise in zip(
                    (getattr(p, name) for p in prompts), noises, strict=True
                )
            ]
        )
        for name in ("inputs", "labels")
    ]
    expected = torch.linalg.lstsq(stacked[0], stacked[1].unsqueeze(-1)).solution
    torch.testing.assert_close(pooled_estimate(*prompts, *noises), expected[:, 0])


@settings(max_examples=20)
@given(seed=SEEDS, d=DIMENSIONS, noises=st.tuples(NOISES, NOISES))
def test_steps_in_proportion_to_precision_end_at_the_pooled_estimate(seed, d, noises):
    random = torch.Generator().manual_seed(seed)
    target = normal(random, d)
    prompts = [
        noisy(Prompt(p.inputs, target), noise * normal(random, p.examples))
        for p, noise in zip(
            (drawn(random, d).prompt, drawn(random, d).prompt), noises, strict=True
        )
    ]
    pooled = pooled_estimate(*prompts, *noises)
    weights = [p.examples / s**2 for p, s in zip(prompts, noises, strict=True)]
    distances = []
    for step in (1e-4, 1e-5):
        share = step / max(weights)
        limit = equilibrium(
            *(
                GradientAgent(p, share * w)
                for p, w in zip(prompts, weights, strict=True)
            )
        )
        distances.append(torch.stack([(v - pooled).norm() for v in (limit.w, limit.u)]))
    assert (distances[0] < 1e-2).all()
    torch.testing.assert_close(distances[0], 10 * distances[1], rtol=2e-2, atol=1e-9)


@settings(max_examples=25)
@given(seed=SEEDS, d=st.integers(2, 5), noises=st.tuples(NOISES, NOISES))
def test_no_linear_unbiased_estimate_beats_the_pooled_one(seed, d, noises):
    random = torch.Generator().manual_seed(seed)
    prompts = [drawn(random, d).prompt for _ in range(2)]
    inverses = [
        p.examples / s**2 * p.covariance for p, s in zip(prompts, noises, strict=True)
    ]
    least = torch.linalg.inv(sum(inverses)).trace()
    own, other = map(torch.linalg.inv, inverses)
    K = least * normal(random, 50, d, d)
    rest = torch.eye(d, dtype=torch.float64) - K
    spread = (rest @ own * rest + K @ other * K).sum((-2, -1))
    assert (spread >= least * (1 - 1e-12)).all()
    best = torch.linalg.solve(sum(inverses), inverses[1])
    rest = torch.eye(d, dtype=torch.float64) - best
    torch.testing.assert_close((rest @ own * rest + best @ other * best).sum(), least)


AGENT = drawn(torch.Generator().manual_seed(5), 3)
TWO = drawn(torch.Generator().manual_seed(5), 3, shape=(2,))
ROUND = isotropic(
    torch.Generator().manual_seed(6), torch.zeros(3, dtype=torch.float64), 0.5
)
BLIND = GradientAgent(
    prompt_with_covariance(
        torch.diag(torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)),
        torch.zeros(3),
        5,
        generator=torch.Generator().manual_seed(7),
    ),
    ETA,
)


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: expected_error(BLIND, AGENT, 1, 1),
            "agent_w was blind to a direction; it must be of a positive definite",
        ),
        (lambda: expected_error(AGENT, BLIND, 1, 1), "agent_u was blind"),
        (
            lambda: expected_error(AGENT, AGENT, -1, 1),
            "noise_w was -1; it must be at least 0",
        ),
        (lambda: expected_error(AGENT, AGENT, 1, math.nan), "noise_u was not finite"),
        (
            lambda: expected_error(AGENT, GradientAgent(AGENT.prompt, 3.0), 1, 1),
            "agents was a pair with spectral radius",
        ),
        (
            lambda: expected_error(AGENT, AGENT, torch.ones(2), torch.ones(3)),
            r"agents and noise_w and noise_u was of .* \(\), \(2,\), \(3,\)",
        ),
        (
            lambda: error_alone(
                drawn(torch.Generator(), 3, shape=(2,)).prompt, [1] * 3
            ),
            r"prompt and noise was of leading shapes \(2,\), \(3,\)",
        ),
        (lambda: error_alone(BLIND.prompt, 1), "prompt was blind"),
        (lambda: critical_gap(AGENT, 1), "agent was one whose geometry is uneven by"),
        (
            lambda: critical_gap(GradientAgent(ROUND.prompt, 2 * ETA), 1),
            "agent was one that keeps .* of its error; it must be one that keeps a",
        ),
        (
            lambda: critical_gap(GradientAgent(ROUND.prompt, 5 * ETA), 1),
            "agent was one that keeps -1.5 to -1.5",
        ),
        (lambda: critical_gap(ROUND, -1), "noise was -1; it must be at least 0"),
        (
            lambda: pooled_estimate(AGENT.prompt, AGENT.prompt, 1, 0),
            "noise_u was 0; it must be greater than 0",
        ),
        (
            lambda: pooled_estimate(BLIND.prompt, BLIND.prompt, 1, 1),
            "prompts was a pair whose kernels meet",
        ),
        (
            lambda: NoisyPrompt(BLIND.prompt.inputs, torch.zeros(5)),
            "inputs was blind to a direction",
        ),
        (
            lambda: NoisyPrompt(AGENT.prompt.inputs, torch.zeros(4)),
            r"labels was of shape \(4,\); it must be of shape \(..., 5\)",
        ),
        (
            lambda: NoisyPrompt(AGENT.prompt.inputs.expand(2, 5, 3), torch.zeros(3, 5)),
            r"inputs and labels was of leading shapes \(2,\), \(3,\)",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
