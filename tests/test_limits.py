"""Closed forms of the turn protocols against the simulated exchange."""

import dataclasses
import math
from itertools import product as words

import pytest
import scipy.linalg
import sympy
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.linalg import vector_norm

from agent_dynamics.adversary import attack_prompt, query_attack_direction
from agent_dynamics.agents import GradientAgent, Repeated
from agent_dynamics.equilibrium import equilibrium
from agent_dynamics.interaction import Protocol, interact, settle
from agent_dynamics.limits import (
    graph_equilibrium,
    random_order,
    redrawn_plateau,
    ring_equilibrium,
    simultaneous_equilibrium,
    stationary_covariance,
)
from agent_dynamics.lsa import LSAAgent, gradient_descent_weights
from agent_dynamics.prompts import Prompt, prompt_with_covariance, random_covariance

SEEDS = st.integers(0, 2**32 - 1)
DIMENSIONS = st.integers(2, 6)
STEPS = st.integers(1, 5)
PRODUCTS = st.floats(0.2, 1.0)  # eta lambda_max
ETA = 0.4


def normal(random: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=random, dtype=torch.float64)


def apply(matrix: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def draw(random, d, product=0.8, condition=10.0, shape=(3,)):
    """A gradient agent of step ETA with largest ETA lambda = product."""
    s = random_covariance(
        d, condition, largest=product / ETA, shape=shape, generator=random
    )
    return GradientAgent(
        prompt_with_covariance(s, normal(random, *shape, d), d + 1, generator=random),
        ETA,
    )


def listening(random, count):
    """A row-stochastic matrix in which about half of the agents go unheard."""
    weights = torch.rand(count, count, generator=random, dtype=torch.float64)
    weights = weights * (weights > 0.5) + torch.eye(count, dtype=torch.float64)
    return weights / weights.sum(-1, keepdim=True)


def shares(random, count):
    weights = 0.2 + torch.rand(count, generator=random, dtype=torch.float64)
    return weights / weights.sum()


class Affine:
    """An agent that is nothing but its map."""

    def __init__(self, matrix, offset):
        self.matrix, self.target = matrix, offset

    def __call__(self, message):
        return apply(self.matrix, message) + self.target

    def affine(self):
        return self.matrix, self.target


def close(value, expected, tolerance=1e-10):
    torch.testing.assert_close(
        value, expected, rtol=0, atol=tolerance * expected.abs().max().item()
    )


@settings(max_examples=30)
@given(seed=SEEDS, d=DIMENSIONS, product=PRODUCTS, steps=st.tuples(STEPS, STEPS))
def test_inner_steps_put_powers_in_place_of_A_and_B(seed, d, product, steps):
    random = torch.Generator().manual_seed(seed)
    w, u = draw(random, d, product), draw(random, d)
    layer = gradient_descent_weights(d, ETA)
    identity = torch.eye(d, dtype=torch.float64)
    A, B = (
        torch.linalg.matrix_power(identity - ETA * agent.prompt.covariance, k)
        for agent, k in zip((w, u), steps, strict=True)
    )
    gap = u.target - w.target
    error_w = apply(torch.linalg.inv(identity - A @ B) @ A @ (identity - B), gap)
    error_u = apply(-torch.linalg.inv(identity - B @ A) @ B @ (identity - A), gap)
    protocol = Protocol(steps)
    for pair in ([w, u], [LSAAgent(layer, w.prompt), LSAAgent(layer, u.prompt)]):
        limit = equilibrium(*protocol.players(pair))
        close(limit.error_w, error_w)
        close(limit.error_u, error_u)
    close(
        interact([w, u], normal(random, d), 400, protocol).messages[..., -2, :]
        - w.target,
        error_w,
        1e-5,
    )
    close(settle(protocol.players([w, u]), normal(random, d))[0] - w.target, error_w)


@pytest.mark.unchecked
@settings(max_examples=30)
@given(seed=SEEDS, d=DIMENSIONS, product=PRODUCTS, steps=st.tuples(STEPS, STEPS))
def test_rarer_exchange_trades_own_error_for_agreement(seed, d, product, steps):
    random = torch.Generator().manual_seed(seed)
    pair = draw(random, d, product), draw(random, d)
    gap = pair[1].target - pair[0].target
    size = vector_norm(gap, dim=-1)
    norms = [
        (1 - ETA * torch.linalg.eigvalsh(agent.prompt.covariance)[..., 0]) ** k
        for agent, k in zip(pair, steps, strict=True)
    ]
    limit = equilibrium(*Protocol(steps).players(pair))
    errors = vector_norm(limit.error_w, dim=-1), vector_norm(limit.error_u, dim=-1)
    apart = vector_norm(limit.w - limit.u, dim=-1)
    assert (sum(errors) + apart >= size * (1 - 1e-12)).all()
    for norm, error in zip(norms, errors, strict=True):
        assert (error <= norm / (1 - norms[0] * norms[1]) * size * (1 + 1e-9)).all()
    rare = equilibrium(*Protocol(1200).players(pair))
    close(rare.w - rare.u, -gap, 1e-8)
    alike = GradientAgent(
        prompt_with_covariance(
            torch.eye(d, dtype=torch.float64), pair[0].target, d + 1, generator=random
        ),
        ETA,
    )
    other = GradientAgent(
        prompt_with_covariance(
            torch.eye(d, dtype=torch.float64), pair[1].target, d + 1, generator=random
        ),
        ETA,
    )
    tight = equilibrium(*Protocol(steps[0]).players([alike, other]))
    a = (1 - ETA) ** steps[0]
    close(vector_norm(tight.error_w, dim=-1), a / (1 + a) * size)
    close(vector_norm(tight.w - tight.u, dim=-1), (1 - a) / (1 + a) * size)


@settings(max_examples=30)
@given(
    seed=SEEDS,
    d=DIMENSIONS,
    products=st.tuples(PRODUCTS, PRODUCTS),
    steps=st.tuples(STEPS, STEPS),
)
def test_the_least_price_is_paid_where_the_gap_is_an_eigenvector_of_both(
    seed, d, products, steps
):
    random = torch.Generator().manual_seed(seed)
    targets = normal(random, d), normal(random, d)
    gap = targets[1] - targets[0]
    size = vector_norm(gap)
    along = torch.outer(gap, gap) / size**2
    off = torch.eye(d, dtype=torch.float64) - along
    pair = []
    for product, target in zip(products, targets, strict=True):
        other = random_covariance(d, 5.0, largest=0.9 / ETA, generator=random)
        s = product / ETA * along + off @ other @ off
        pair.append(
            GradientAgent(
                prompt_with_covariance((s + s.mT) / 2, target, d, generator=random), ETA
            )
        )
    limit = equilibrium(*Protocol(steps).players(pair))
    sizes = [
        vector_norm(part) for part in (limit.error_w, limit.error_u, limit.w - limit.u)
    ]
    close(sum(sizes), size)
    c, e = ((1 - x) ** k for x, k in zip(products, steps, strict=True))
    shares = torch.tensor([c - c * e, e - c * e], dtype=torch.float64) / (1 - c * e)
    torch.testing.assert_close(
        torch.stack(sizes[:2]) / size, shares, rtol=0, atol=1e-12
    )


@settings(max_examples=30)
@given(seed=SEEDS, d=DIMENSIONS, steps=st.tuples(STEPS, st.integers(2, 5)))
def test_blindness_and_the_redesigned_attack_survive_inner_steps_the_old_does_not(
    seed, d, steps
):
    random = torch.Generator().manual_seed(seed)
    w, u = draw(random, d), draw(random, d)
    gap = u.target - w.target
    off = torch.eye(d, dtype=torch.float64) - (
        gap.unsqueeze(-1) * gap.unsqueeze(-2) / gap.square().sum(-1)[..., None, None]
    )
    blind = GradientAgent(Prompt(u.prompt.inputs @ off, u.target), ETA)
    limit = equilibrium(*Protocol(steps).players([w, blind]))
    close(limit.w, w.target)
    close(limit.error_u, -gap)

    def winner(direction):
        prompt = attack_prompt(
            direction, ETA, w.target, d, elsewhere=0.2 / ETA, generator=random
        )
        return equilibrium(*Protocol(steps).players([GradientAgent(prompt, ETA), u]))

    several = Repeated(u, steps[1])
    aimed = winner(query_attack_direction(several, w.target))
    close(aimed.w, w.target)
    close(aimed.error_u, apply(several.affine()[0], -gap))
    q = apply(u.prompt.covariance, gap)
    q = q / vector_norm(q, dim=-1, keepdim=True)
    missed = apply(u.prompt.covariance, q)
    off_axis = vector_norm(
        missed - (missed * q).sum(-1, keepdim=True) * q, dim=-1
    ) / vector_norm(missed, dim=-1)
    lost = vector_norm(winner(q).error_w, dim=-1) / vector_norm(gap, dim=-1)
    assert (lost[off_axis > 0.01] > 1e-7).all()
    # An eigenvector of the victim's geometry is the exception.
    u.prompt = prompt_with_covariance(
        torch.eye(d, dtype=torch.float64), u.target, d, generator=random
    )
    close(winner(gap).w, w.target)


@settings(max_examples=50)
@given(
    seed=SEEDS,
    products=st.tuples(*[st.lists(st.floats(0.1, 2.3), min_size=3, max_size=3)] * 2),
    steps=st.tuples(STEPS, STEPS),
)
def test_commuting_agents_are_stable_where_every_direction_is_damped_over_a_round(
    seed, products, steps
):
    random = torch.Generator().manual_seed(seed)
    frame = torch.linalg.qr(normal(random, 3, 3)).Q
    products = torch.tensor(products, dtype=torch.float64)
    prompts = [
        prompt_with_covariance(
            (frame * x) @ frame.mT, normal(random, 3), 3, generator=random
        )
        for x in products
    ]
    factor = (
        ((1 - products[0]).abs() ** steps[0] * (1 - products[1]).abs() ** steps[1])
        .max()
        .item()
    )
    players = Protocol(steps).players(
        [GradientAgent(prompt, 1.0) for prompt in prompts]
    )
    assume(abs(factor - 1) > 1e-6)
    if factor > 1:
        with pytest.raises(ValueError, match="spectral radius"):
            ring_equilibrium(players)
    else:
        assert ring_equilibrium(players).rate.item() == pytest.approx(factor, abs=1e-9)


@settings(max_examples=30)
@given(seed=SEEDS, d=DIMENSIONS, count=st.integers(1, 5), k=st.integers(1, 3))
def test_a_ring_settles_at_the_fixed_point_of_the_composition(seed, d, count, k):
    random = torch.Generator().manual_seed(seed)
    agents = Protocol(k).players([draw(random, d) for _ in range(count)])
    limits = ring_equilibrium(agents)
    last = torch.stack(settle(agents, normal(random, d)), dim=-2)
    close(limits.messages, last)
    assert torch.equal(
        limits.errors,
        limits.messages - torch.stack([agent.target for agent in agents], dim=-2),
    )
    turn = torch.eye(d, dtype=torch.float64)
    for agent in agents:
        turn = agent.affine()[0] @ turn
    close(limits.rate, torch.linalg.eigvals(turn).abs().amax(-1))
    if count == 2:
        pair = equilibrium(*agents)
        close(limits.messages, torch.stack([pair.w, pair.u], dim=-2))
        close(limits.rate, pair.rate)


@pytest.mark.unchecked
@settings(max_examples=30)
@given(seed=SEEDS, d=DIMENSIONS, count=st.integers(1, 4), k=st.integers(1, 3))
def test_simultaneous_exchange_settles_at_the_minimiser_of_the_sum(seed, d, count, k):
    random = torch.Generator().manual_seed(seed)
    agents = [draw(random, d) for _ in range(count)]
    protocol = Protocol(k, simultaneous=True)
    limits = simultaneous_equilibrium(protocol.players(agents))
    run = interact(agents, normal(random, d), 1500, protocol)
    close(
        limits.messages,
        torch.stack([run.by_agent(i)[..., -1, :] for i in range(count)], dim=-2),
        1e-8,
    )
    shared = limits.messages.mean(-2)
    pulls = [
        torch.eye(d, dtype=torch.float64) - agent.affine()[0]
        for agent in protocol.players(agents)
    ]
    minimiser = torch.linalg.solve(
        sum(pulls),
        sum(
            apply(pull, agent.target) for pull, agent in zip(pulls, agents, strict=True)
        ),
    )
    close(shared, minimiser)
    if k == 1:
        assert (
            sum(agent.prompt.gradient(shared) for agent in agents).abs().max() < 1e-11
        )


@settings(max_examples=30)
@given(seed=SEEDS, d=DIMENSIONS, count=st.integers(2, 5))
def test_a_ring_misses_the_minimiser_at_first_order_by_what_its_order_says(
    seed, d, count
):
    random = torch.Generator().manual_seed(seed)
    prompts = [draw(random, d).prompt for _ in range(count)]
    s = torch.stack([prompt.covariance for prompt in prompts])
    t = torch.stack([prompt.target for prompt in prompts])
    minimiser = torch.linalg.solve(s.sum(0), apply(s, t).sum(0).unsqueeze(-1))[..., 0]
    pulls = apply(s, minimiser - t)
    later = sum(apply(s[i], pulls[:i].sum(0)) for i in range(1, count))
    first_order = torch.linalg.solve(s.sum(0), later.unsqueeze(-1))[..., 0]
    left = []
    for eta in (2e-3, 1e-3):
        ring = ring_equilibrium([GradientAgent(prompt, eta) for prompt in prompts])
        left.append(ring.messages[..., -1, :] - minimiser - eta * first_order)
    # What is left is of second order: a quarter at half the step.
    close(left[0], 4 * left[1], 0.05)
    assert vector_norm(left[1]) < 0.05 * 1e-3 * vector_norm(first_order)


@pytest.mark.unchecked
@settings(max_examples=30)
@given(seed=SEEDS, d=DIMENSIONS, product=PRODUCTS)
def test_moving_targets_add_a_lag_to_the_bias(seed, d, product):
    random = torch.Generator().manual_seed(seed)
    pair, step = [draw(random, d, product, 3.0), draw(random, d)], normal(random, 3, d)
    gap = pair[1].target - pair[0].target

    def agents(turn):
        return [
            GradientAgent(Prompt(a.prompt.inputs, a.target + turn * step), ETA)
            for a in pair
        ]

    rounds = 150
    run = interact(agents, normal(random, d), rounds)
    errors = [
        run.by_agent(i)[..., -1, :] - a.target - (rounds - 1) * step
        for i, a in enumerate(pair)
    ]
    A, B = (a.affine()[0] for a in pair)
    identity = torch.eye(d, dtype=torch.float64)
    pull = apply(A @ (identity - B), gap) - apply(A, step)
    error_w = torch.linalg.solve(identity - A @ B, pull.unsqueeze(-1)).squeeze(-1)
    close(errors[0], error_w)
    close(errors[1], apply(B, error_w - gap))


@pytest.mark.unchecked
@settings(max_examples=30)
@given(seed=SEEDS, d=DIMENSIONS, count=st.integers(1, 6), product=st.floats(0.3, 1.9))
def test_a_graph_settles_at_the_fixed_point_of_its_round_whoever_hears_whom(
    seed, d, count, product
):
    random = torch.Generator().manual_seed(seed)
    agents = [draw(random, d, product, 3.0, shape=(2,)) for _ in range(count)]
    weights = listening(random, count)
    limits = graph_equilibrium(agents, weights)
    maps = torch.stack([agent.affine()[0] for agent in agents], dim=1)
    targets = torch.stack([agent.target for agent in agents], dim=1)
    assert limits.messages.shape == limits.errors.shape == (2, count, d)
    for element in range(2):
        stubborn = torch.block_diag(*maps[element])
        turn = stubborn @ torch.kron(weights, torch.eye(d, dtype=torch.float64))
        identity = torch.eye(count * d, dtype=torch.float64)
        expected = torch.linalg.solve(
            identity - turn, (identity - stubborn) @ targets[element].flatten()
        )
        close(limits.messages[element].flatten(), expected)
        close(limits.rate[element], torch.linalg.eigvals(turn).abs().amax())
    close(limits.errors, limits.messages - targets)
    messages = normal(random, 2, count, d)
    for _ in range(300):
        heard = weights @ messages
        messages = torch.stack(
            [agent(heard[:, i]) for i, agent in enumerate(agents)], dim=1
        )
    reached = torch.linalg.matrix_norm(maps, 2).max().item() ** 300
    close(messages, limits.messages, 1e-10 + 10 * reached)


@settings(max_examples=30)
@given(seed=SEEDS, d=DIMENSIONS, count=st.integers(1, 5))
def test_pair_ring_simultaneous_exchange_and_solitude_are_graphs(seed, d, count):
    random = torch.Generator().manual_seed(seed)
    agents = [draw(random, d) for _ in range(count)]
    alone = torch.eye(count, dtype=torch.float64)
    everybody = torch.full((count, count), 1 / count, dtype=torch.float64)
    ring = ring_equilibrium(agents)
    for weights, messages in (
        (alone.roll(1, 0), ring.messages),
        (everybody, simultaneous_equilibrium(agents).messages),
        (alone, torch.stack([agent.target for agent in agents], dim=-2)),
    ):
        close(graph_equilibrium(agents, weights).messages, messages)
    # The ring replies to each message at once, the graph after a round of all.
    close(graph_equilibrium(agents, alone.roll(1, 0)).rate ** count, ring.rate)
    if count == 2:
        pair = equilibrium(*agents)
        close(
            graph_equilibrium(agents, alone.flip(0)).messages,
            torch.stack([pair.w, pair.u], dim=-2),
        )


@pytest.mark.unchecked
@settings(max_examples=20)
@given(seed=SEEDS, d=DIMENSIONS, count=st.integers(2, 5))
def test_agents_that_speak_in_any_order_reach_the_graphs_limit(seed, d, count):
    random = torch.Generator().manual_seed(seed)
    agents = [draw(random, d, shape=(), condition=3.0) for _ in range(count)]
    weights = listening(random, count)
    limit = graph_equilibrium(agents, weights).messages
    messages = normal(random, count, d)
    furthest = vector_norm(messages - limit, dim=-1).max()
    for speaker in torch.randint(count, (150 * count,), generator=random):
        messages[speaker] = agents[speaker](weights[speaker] @ messages)
        distance = vector_norm(messages - limit, dim=-1).max()
        assert distance <= furthest * (1 + 1e-12) + 1e-13
        furthest = distance
    close(messages, limit)


@settings(max_examples=30)
@given(seed=SEEDS, d=DIMENSIONS, count=st.integers(2, 6), product=st.floats(0.2, 1.9))
def test_agents_of_one_geometry_lose_of_each_mode_what_its_eigenvalue_says(
    seed, d, count, product
):
    random = torch.Generator().manual_seed(seed)
    # Reversible, so that its eigenvalues are real, and not symmetric.
    mutual = torch.rand(count, count, generator=random, dtype=torch.float64)
    mutual = mutual + mutual.mT
    degree = mutual.sum(-1)
    values, vectors = torch.linalg.eigh(mutual / (degree * degree.unsqueeze(-1)).sqrt())
    modes = vectors / degree.sqrt().unsqueeze(-1)
    s = random_covariance(d, 5.0, largest=product / ETA, generator=random)
    agents = [
        GradientAgent(
            prompt_with_covariance(s, normal(random, d), d, generator=random), ETA
        )
        for _ in range(count)
    ]
    limits = graph_equilibrium(agents, mutual / degree.unsqueeze(-1))
    eigenvalues, directions = torch.linalg.eigh(s)
    errors, wanted = (
        torch.linalg.solve(modes, x) @ directions
        for x in (limits.errors, limits.messages - limits.errors)
    )
    a = 1 - ETA * eigenvalues
    lost = a * (1 - values.unsqueeze(-1)) / (1 - a * values.unsqueeze(-1))
    close(errors, -lost * wanted)
    close(limits.rate, a.abs().max())


@settings(max_examples=20)
@given(seed=SEEDS, d=st.integers(1, 3), count=st.integers(1, 2))
def test_random_affine_rounds_have_the_mean_and_covariance_of_the_fixed_point(
    seed, d, count
):
    random = torch.Generator().manual_seed(seed)
    maps = [
        Affine(0.25 * torch.linalg.qr(normal(random, d, d)).Q, normal(random, d))
        for _ in range(count)
    ]
    p = shares(random, count)
    mean, covariance = random_order(maps, p)
    # Every sequence of twelve rounds, each with its probability.
    length = 12
    chosen = torch.tensor(list(words(range(count), repeat=length)))
    chance = p[chosen].prod(-1)
    messages = normal(random, d).expand(len(chosen), d)
    for turn in range(length):
        replies = torch.stack([each(messages) for each in maps])
        messages = replies[chosen[:, turn], torch.arange(len(chosen))]
    average = chance @ messages
    close(average, mean, 1e-6)
    away = messages - average
    spread = away.mT @ (chance.unsqueeze(-1) * away)
    torch.testing.assert_close(spread, covariance, rtol=1e-6, atol=1e-6)


@settings(max_examples=30)
@given(seed=SEEDS, d=DIMENSIONS, count=st.integers(1, 5), product=st.floats(0.3, 1.9))
def test_a_random_order_is_unbiased_and_its_covariance_solves_the_kronecker_system(
    seed, d, count, product
):
    random = torch.Generator().manual_seed(seed)
    agents = [draw(random, d, product, shape=(2,)) for _ in range(count)]
    p = shares(random, count)
    mean, covariance = random_order(agents, p)
    pulls = sum(
        q * agent.prompt.gradient(mean) for q, agent in zip(p, agents, strict=True)
    )
    assert pulls.abs().max() < 1e-11
    for element in range(2):
        maps = [agent.affine()[0][element] for agent in agents]
        square = sum(q * torch.kron(A, A) for q, A in zip(p, maps, strict=True))
        steps = [ETA * agent.prompt.gradient(mean)[element] for agent in agents]
        added = sum(
            q * torch.kron(step, step) for q, step in zip(p, steps, strict=True)
        )
        identity = torch.eye(d * d, dtype=torch.float64)
        expected = torch.linalg.solve(identity - square, added).reshape(d, d)
        torch.testing.assert_close(covariance[element], expected, rtol=1e-9, atol=1e-12)
    close(covariance, covariance.mT)
    assert torch.linalg.eigvalsh(covariance).min() > -1e-10


def test_a_long_exchange_in_random_order_has_the_mean_and_the_covariance():
    random = torch.Generator().manual_seed(4)
    d, count, replicas = 3, 4, 40_000
    agents = [draw(random, d, 1.2, 4.0, shape=()) for _ in range(count)]
    p = shares(random, count)
    inputs = torch.stack([agent.prompt.inputs for agent in agents])
    targets = torch.stack([agent.target for agent in agents])

    def speaker(turn):
        who = torch.multinomial(p, replicas, replacement=True, generator=random)
        return [GradientAgent(Prompt(inputs[who], targets[who]), ETA)]

    messages = interact(speaker, normal(random, d), 80).messages[:, -1]
    mean, covariance = random_order(agents, p)
    error = (covariance.diagonal() / replicas).sqrt()
    assert ((messages.mean(0) - mean).abs() < 4.5 * error).all()
    away = messages - mean
    products = away.unsqueeze(-1) * away.unsqueeze(-2)
    score = (products.mean(0) - covariance) / products.std(0) * math.sqrt(replicas)
    assert score.abs().max() < 4.5
    # The test can tell a step apart that is ten per cent longer.
    longer = [GradientAgent(agent.prompt, 1.1 * ETA) for agent in agents]
    other = random_order(longer, p)[1]
    score = (products.mean(0) - other) / products.std(0) * math.sqrt(replicas)
    assert score.abs().max() > 8


def test_random_order_of_one_direction_in_symbols():
    a, b, p, c = sympy.symbols("a b p c")
    m = sympy.symbols("m")
    maps = [(p, a, 0), (1 - p, b, 1 - b)]  # targets 0 and 1
    mean = sympy.solve(sum(q * (x * m + y - m) for q, x, y in maps), m)[0]
    spread = sympy.solve(
        sum(q * (x**2 * c + (x * mean + y - mean) ** 2) for q, x, y in maps) - c, c
    )[0]
    half = {a: sympy.Rational(1, 2), b: sympy.Rational(1, 2), p: sympy.Rational(1, 2)}
    # Both go half the way: uniform on [0, 1].
    assert (mean.subs(half), spread.subs(half)) == (sympy.S.Half, sympy.Rational(1, 12))
    for values in (half, {a: -0.3, b: 0.7, p: 0.2}):
        factors = [float(values[x]) for x in (a, b)]
        agents = [
            GradientAgent(Prompt(torch.ones(1, 1), torch.tensor([t])), 1 - x)
            for x, t in zip(factors, (0.0, 1.0), strict=True)
        ]
        chances = torch.tensor([float(values[p]), 1 - float(values[p])])
        measured = random_order(agents, chances)
        assert measured[0].item() == pytest.approx(float(mean.subs(values)), rel=1e-5)
        assert measured[1].item() == pytest.approx(float(spread.subs(values)), rel=1e-5)


@settings(max_examples=30)
@given(seed=SEEDS, d=DIMENSIONS, rank=st.integers(1, 3))
def test_stable_steps_without_a_shared_blind_direction_stay_stable(seed, d, rank):
    random = torch.Generator().manual_seed(seed)
    count = -(-d // rank)
    agents = []
    for _ in range(count):
        inputs = normal(random, rank, d)
        largest = torch.linalg.eigvalsh(inputs.mT @ inputs / rank)[-1]
        agents.append(GradientAgent(Prompt(inputs, normal(random, d)), 1.9 / largest))
    assume(
        torch.linalg.matrix_rank(
            torch.cat([agent.prompt.inputs for agent in agents]), rtol=1e-2
        )
        == d
    )
    assert (ring_equilibrium(agents).rate < 1).all()
    assert random_order(agents, shares(random, count))[1].isfinite().all()
    # Where all are blind to one direction, the part of the start in it stays.
    blind = [
        GradientAgent(
            Prompt(agent.prompt.inputs * torch.arange(d).sign(), agent.target),
            agent.step_size,
        )
        for agent in agents
    ]
    start = normal(random, d)
    run = interact(blind, start, 20, Protocol(2))
    assert torch.equal(run.messages[:, 0], start[0].expand(len(run.messages)))
    for closed_form in (
        ring_equilibrium,
        simultaneous_equilibrium,
        lambda agents: random_order(agents, shares(random, count)),
        lambda agents: graph_equilibrium(agents, listening(random, count)),
    ):
        with pytest.raises(ValueError, match="with spectral radius 1; it must be"):
            closed_form(blind)


@settings(max_examples=30)
@given(
    seed=SEEDS,
    d=DIMENSIONS,
    count=st.integers(1, 4),
    k=st.integers(1, 3),
    noise=st.floats(1e-3, 10),
)
def test_stationary_covariance_solves_the_lyapunov_equation(seed, d, count, k, noise):
    random = torch.Generator().manual_seed(seed)
    agents = Protocol(k).players([draw(random, d, shape=(2,)) for _ in range(count)])
    covariances = stationary_covariance(agents, noise)
    assert covariances.shape == (2, count, d, d)
    maps = [agent.affine()[0] for agent in agents]
    for element in range(2):
        turn, added = (
            torch.eye(d, dtype=torch.float64),
            torch.zeros(d, d, dtype=torch.float64),
        )
        for A in maps:
            turn = A[element] @ turn
            added = A[element] @ added @ A[element].mT + noise**2 * torch.eye(
                d, dtype=torch.float64
            )
        expected = torch.from_numpy(
            scipy.linalg.solve_discrete_lyapunov(turn.numpy(), added.numpy())
        )
        close(covariances[element, -1], expected)
    for i in range(count):  # index -1 closes the ring
        step = maps[i] @ covariances[:, i - 1] @ maps[i].mT + noise**2 * torch.eye(
            d, dtype=torch.float64
        )
        close(covariances[:, i], step)


def test_stationary_variance_of_one_direction_in_symbols():
    a, b, sigma, c = sympy.symbols("a b sigma c")
    solution = sympy.solve(sympy.Eq(c, b**2 * (a**2 * c + sigma**2) + sigma**2), c)[0]
    values = {a: sympy.Rational(3, 5), b: sympy.Rational(1, 5), sigma: 2}
    pair = [
        GradientAgent(
            Prompt(torch.tensor([[x]], dtype=torch.float64).sqrt(), torch.zeros(1)), 1.0
        )
        for x in (0.4, 0.8)
    ]
    measured = stationary_covariance(pair, 2.0)
    assert measured[1].item() == pytest.approx(float(solution.subs(values)), rel=1e-12)
    assert measured[0].item() == pytest.approx(
        float((a**2 * solution + sigma**2).subs(values)), rel=1e-12
    )


def sample_covariance_z(run, limits, predicted):
    """The largest distance of replicas' covariance from the predicted, in standard
    errors.
    """
    replicas = run.messages.shape[-3]
    scores = []
    for i in range(len(run.targets)):
        deviation = run.by_agent(i)[..., -1, :] - limits.messages[..., i, :].unsqueeze(
            -2
        )
        sample = deviation.mT @ deviation / replicas
        c = predicted[..., i, :, :]
        variance = c.diagonal(dim1=-2, dim2=-1)
        error = (
            (variance.unsqueeze(-1) * variance.unsqueeze(-2) + c.square()) / replicas
        ).sqrt()
        scores.append(((sample - c).abs() / error).max())
    return max(scores).item()


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("digits", [None, 1])
def test_noisy_messages_have_the_stationary_covariance_and_rounding_adds_a_twelfth(
    k, digits
):
    random = torch.Generator().manual_seed(20 + k)
    agents = [draw(random, 3, shape=(2, 1)) for _ in range(2)]
    protocol = Protocol(k, noise=0.1, digits=digits)
    run = interact(agents, normal(random, 20_000, 3), 60, protocol, generator=random)
    noise = math.sqrt(0.1**2 + (0.1**2 / 12 if digits else 0))
    players = protocol.players(agents)
    covariances = stationary_covariance(players, noise)
    limits = ring_equilibrium(players)
    limits.messages.squeeze_(1)
    assert sample_covariance_z(run, limits, covariances.squeeze(1)) < 5
    # The test can tell: without the twelfth, or with half the noise, the distance is
    # far larger.
    assert (
        sample_covariance_z(
            run, limits, stationary_covariance(players, 0.9 * noise).squeeze(1)
        )
        > 8
    )


@pytest.mark.unchecked
@settings(max_examples=20)
@given(seed=SEEDS, d=DIMENSIONS, digits=st.integers(1, 6))
def test_rounded_messages_stay_within_the_bound(seed, d, digits):
    random = torch.Generator().manual_seed(seed)
    agents = [draw(random, d), draw(random, d)]
    run = interact(agents, normal(random, 20, 1, d), 600, Protocol(digits=digits))
    limits = ring_equilibrium(agents)
    norms = [torch.linalg.matrix_norm(agent.affine()[0], 2) for agent in agents]
    slip = math.sqrt(d) * 10.0**-digits / 2
    for i in range(2):
        distance = vector_norm(
            run.by_agent(i)[..., -1, :] - limits.messages[..., i, :], dim=-1
        )
        assert (
            distance <= (1 + norms[i]) * slip / (1 - norms[0] * norms[1]) + 1e-12
        ).all()


@pytest.mark.parametrize(("examples", "step"), [(2, 0.4), (5, 0.8), (50, 1.2)])
def test_redrawn_prompts_leave_the_predicted_mean_square_error(examples, step):
    random = torch.Generator().manual_seed(examples)
    d, replicas = 4, 4000
    targets = normal(random, d), normal(random, d)

    def agents(turn):
        return [
            GradientAgent(Prompt(normal(random, replicas, examples, d), target), step)
            for target in targets
        ]

    run = interact(agents, torch.zeros(d, dtype=torch.float64), 25)
    squares = run.errors()[:, -1].square() / (targets[1] - targets[0]).square().sum()
    predicted = redrawn_plateau(step, examples, d).item()
    for agent in range(2):
        standard_error = squares[:, agent].std().item() / math.sqrt(replicas)
        assert abs(squares[:, agent].mean().item() - predicted) < 4 * standard_error
        assert standard_error < 0.1 * predicted


def test_redrawn_plateau_tends_to_the_fixed_one_with_many_examples():
    x = torch.tensor([0.1, 0.5, 1.5], dtype=torch.float64)
    torch.testing.assert_close(
        redrawn_plateau(x, 10**12, 5),
        ((1 - x) / (2 - x)).square(),
        rtol=1e-9,
        atol=1e-10,
    )


@pytest.mark.parametrize(
    "closed_form",
    [
        ring_equilibrium,
        simultaneous_equilibrium,
        lambda agents: stationary_covariance(agents, 1.0),
        lambda agents: graph_equilibrium(agents, torch.eye(len(agents))),
        lambda agents: random_order(agents, torch.ones(len(agents)) / len(agents)),
    ],
)
def test_bad_agents_are_named(closed_form):
    random = torch.Generator().manual_seed(0)
    blind = GradientAgent(Prompt(torch.tensor([[1.0, 0.0]]), torch.zeros(2)), 0.5)
    for agents, message in [
        ([], "agents was empty; it must be at least one agent"),
        ([draw(random, 2), draw(random, 3)], r"agents was of dimensions \[2, 3\]"),
        (
            [
                GradientAgent(Prompt(torch.eye(2), normal(random, n, 2)), 0.5)
                for n in (2, 3)
            ],
            r"agent 0 and agent 1 was of leading shapes \(2,\), \(3,\)",
        ),
        ([draw(random, 2, shape=(2,)), draw(random, 2)], "agent 0 and agent 1 was"),
        (
            [GradientAgent(Prompt(torch.eye(2), torch.zeros(2)), 0.5), draw(random, 2)],
            "agents was of torch.float32 and torch.float64; it must be of one dtype",
        ),
        ([draw(random, 2, product=5.0)] * 2, "a .* with spectral radius .* below 1"),
        ([blind, blind], "a .* with spectral radius 1; .* below 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            closed_form(agents)


def test_one_geometry_serves_a_batch_of_targets():
    random = torch.Generator().manual_seed(0)
    inputs = normal(random, 8, 3)
    many, one = (
        GradientAgent(Prompt(inputs, normal(random, *shape, 3)), 0.1)
        for shape in ((5,), ())
    )
    for closed_form, protocol in (
        (ring_equilibrium, Protocol()),
        (simultaneous_equilibrium, Protocol(simultaneous=True)),
    ):
        limits = closed_form([many, one])
        assert random_order([many, one], torch.tensor([0.5, 0.5]))[1].shape == (5, 3, 3)
        assert graph_equilibrium([many, one], torch.eye(2)).errors.shape == (5, 2, 3)
        run = interact([many, one], torch.zeros(3), 500, protocol)
        close(limits.messages, run.messages[:, -2:])
        assert limits.rate.shape == (5,) and limits.errors.shape == (5, 2, 3)
    assert stationary_covariance([many, one], 1.0).shape == (2, 3, 3)


def test_a_limit_is_kept_as_it_was_made_and_equals_itself_alone():
    agents = [draw(torch.Generator().manual_seed(0), 2)]
    one, other = (ring_equilibrium(agents) for _ in range(2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.rate = other.rate
    assert one == one and one != other and len({one, other, one}) == 2


def test_bad_numbers_are_named():
    random = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="noise was 0; it must be greater than 0"):
        stationary_covariance([draw(random, 2)], 0)
    with pytest.raises(
        ValueError, match="d was 0; it must be an integer of at least 1"
    ):
        redrawn_plateau(0.5, 10, 0)
    with pytest.raises(
        ValueError, match=r"step was 1.6; it must be below 2 / \(.* / examples\) = 1.33"
    ):
        redrawn_plateau(1.6, 10, 4)
    # Where the mean square growth of a step is just one.
    with pytest.raises(ValueError, match=r"step was 1; it must be below 2 / .* = 1$"):
        redrawn_plateau(1.0, 4, 3)
    with pytest.raises(ValueError, match="step was 1.2"):
        redrawn_plateau(torch.tensor([0.5, 1.2]), 4, 3)
    assert redrawn_plateau(0.9, 4, 3).isfinite()
    with pytest.raises(ValueError, match="examples was 0"):
        redrawn_plateau(0.5, 0, 4)
    with pytest.raises(ValueError, match="step was 0; it must be greater than 0"):
        redrawn_plateau(0.0, 10, 4)


@pytest.mark.unchecked
def test_bad_shares_are_named():
    agents = [draw(torch.Generator().manual_seed(i), 2) for i in range(2)]
    for weights, message in [
        (torch.eye(3), r"weights was of shape \(3, 3\); it must be of shape \(2, 2\)"),
        (torch.ones(2) / 2, r"weights was of shape \(2,\)"),
        ([[1.5, -0.5], [0, 1]], "weights was -0.5; it must be nowhere negative"),
        ([[0.5, 0.5], [0.5, 0.4]], "weights was with a row of sum off by 0.1"),
        ([[0.5, 0.5], [math.nan, 1]], "weights was not finite"),
        (torch.ones(2, 2) / 2 + 1e-5, "weights was with a row of sum off by 2e-05"),
    ]:
        with pytest.raises(ValueError, match=message):
            graph_equilibrium(agents, weights)
    for probabilities, message in [
        ([1.0], r"probabilities was of shape \(1,\); it must be of shape \(2,\)"),
        ([1.5, -0.5], "probabilities was -0.5; it must be nowhere negative"),
        ([0.5, 0.6], "probabilities was with a whole of sum off by 0.1; it must be of"),
        ([math.inf, 0.5], "probabilities was not finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            random_order(agents, probabilities)


def test_shares_in_single_precision_serve_as_well():
    agents = [draw(torch.Generator().manual_seed(i), 2) for i in range(3)]
    third = torch.full((3, 3), 1 / 3)
    exactly = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    close(
        graph_equilibrium(agents, third).messages,
        graph_equilibrium(agents, exactly).messages,
        1e-6,
    )
    # Who never speaks does not matter.
    mean, covariance = random_order(agents, torch.tensor([1.0, 0.0, 0.0]))
    close(mean, agents[0].target)
    assert covariance.abs().max() < 1e-20
