"""Agents that choose their step: replies and prices against a search over settled
exchanges.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_dynamics.agents import GradientAgent
from agent_dynamics.choice import best_reply, cooperative_step, nash_step
from agent_dynamics.equilibrium import equilibrium
from agent_dynamics.prompts import Prompt, prompt_with_covariance, random_covariance

PRICES = st.floats(0.01, 50)
KEPT = st.floats(-0.95, 0.95)
SEEDS = st.integers(0, 2**32 - 1)


def costs(mu, a, b, gap=1.0):
    """What W and U pay at the equilibrium of one direction, from the agents; a and b
    are numbers or tensors.
    """
    one = torch.ones(1, 1, dtype=torch.float64)
    w, u = (
        GradientAgent(Prompt(one, torch.tensor([t], dtype=torch.float64)), 1 - kept)
        for t, kept in ((0.0, torch.as_tensor(a)), (gap, torch.as_tensor(b)))
    )
    limit = equilibrium(w, u)
    disagreement = (limit.u - limit.w).square().sum(-1)
    return [
        error.square().sum(-1) + mu * disagreement
        for error in (limit.error_w, limit.error_u)
    ]


GRID = torch.linspace(-0.999, 0.999, 1999, dtype=torch.float64)


@settings(max_examples=30)
@given(mu=PRICES, b=KEPT, gap=st.floats(0.2, 5))
def test_best_reply_is_what_a_search_finds_whatever_the_gap(mu, b, gap):
    reply = best_reply(mu, b)
    tried, _ = costs(mu, GRID, b, gap)
    assert (GRID[tried.argmin()] - reply).abs() <= 0.001
    least, _ = costs(mu, reply, b, gap)
    assert (tried >= least * (1 - 1e-12)).all()


@settings(max_examples=30)
@given(b=KEPT)
def test_for_its_own_error_alone_an_agent_goes_all_the_way_whatever_the_other_does(b):
    assert best_reply(0, b) == 0
    tried, _ = costs(0, GRID, b)
    assert GRID[tried.argmin()].abs() < 1e-12
    assert tried.min() < 1e-20


def test_two_that_go_all_the_way_repeat_two_messages_for_ever():
    random = torch.Generator().manual_seed(0)
    targets = torch.randn(2, 3, generator=random, dtype=torch.float64)
    pair = [
        GradientAgent(
            prompt_with_covariance(
                torch.eye(3, dtype=torch.float64), t, 4, generator=random
            ),
            1.0,
        )
        for t in targets
    ]
    message = torch.randn(3, generator=random, dtype=torch.float64)
    for _ in range(5):
        for agent, target in zip(pair, targets, strict=True):
            message = agent(message)
            torch.testing.assert_close(message, target)


@settings(max_examples=30)
@given(mu=PRICES)
def test_replies_to_replies_end_at_the_nash_step_from_both_sides(mu):
    a = nash_step(mu)
    torch.testing.assert_close(best_reply(mu, a), a)
    torch.testing.assert_close(a, mu * (1 - a) ** 2)
    closed = (1 + 2 * mu - math.sqrt(1 + 4 * mu)) / (2 * mu)
    assert a.item() == pytest.approx(closed, rel=1e-9)
    mine = torch.tensor([-0.9, 0.9, 0.0], dtype=torch.float64)
    other = torch.tensor([0.9, 0.9, -0.9], dtype=torch.float64)
    for _ in range(300):  # halfway to the reply: full replies may overshoot
        mine = (mine + best_reply(mu, other)) / 2
        other = (other + best_reply(mu, mine)) / 2
    torch.testing.assert_close(mine, a.expand(3))
    torch.testing.assert_close(other, a.expand(3))


@settings(max_examples=30)
@given(mu=PRICES)
def test_cooperative_step_is_what_a_search_over_both_finds(mu):
    a = cooperative_step(mu)
    least = sum(costs(mu, a, a))
    assert least.item() == pytest.approx(2 * mu / (1 + 4 * mu))
    both = GRID[::13]
    tried = sum(costs(mu, both.unsqueeze(-1), both))
    assert (tried >= least * (1 - 1e-12)).all()


@settings(max_examples=30)
@given(mu=PRICES)
def test_the_price_of_anarchy_is_one_plus_the_nash_step(mu):
    a, together = nash_step(mu), cooperative_step(mu)
    price = sum(costs(mu, a, a)) / sum(costs(mu, together, together))
    torch.testing.assert_close(price, 1 + a)
    assert 1 < price < 2


def test_the_price_of_anarchy_comes_close_to_two_and_the_steps_to_their_ends():
    mu = torch.tensor([1e-9, 1.0, 1e9], dtype=torch.float64)
    a = nash_step(mu)
    assert a[0] == pytest.approx(1e-9, rel=1e-6)
    assert a[1] == pytest.approx((3 - math.sqrt(5)) / 2)
    assert 1 - 1e-4 < a[2] < 1
    assert nash_step(0) == cooperative_step(0) == 0
    assert cooperative_step(0.5) == 0.5


@settings(max_examples=40)
@given(
    seed=SEEDS, d=st.integers(1, 5), products=st.tuples(*[st.floats(0.05, 0.98)] * 2)
)
def test_turns_are_best_replies_in_messages_and_cost_at_most_nine_eighths(
    seed, d, products
):
    random = torch.Generator().manual_seed(seed)
    identity = torch.eye(d, dtype=torch.float64)
    pair, M = [], []
    for product in products:
        s = random_covariance(
            d, 20.0 if d > 1 else 1.0, largest=product, generator=random
        )
        target = torch.randn(d, generator=random, dtype=torch.float64)
        pair.append(
            GradientAgent(prompt_with_covariance(s, target, d, generator=random), 1.0)
        )
        M.append(torch.linalg.solve(identity - s, s))
    v, w = torch.randn(2, d, generator=random, dtype=torch.float64)

    def cost(i, own, other):
        off = own - pair[i].target
        return (off @ M[i] @ off + (own - other).square().sum()).item()

    reply = pair[0](v)
    assert cost(0, reply, v) <= cost(0, reply + 1e-3 * w, v)
    assert cost(0, reply, v) <= cost(0, w, v)
    limit = equilibrium(*pair)
    paid = cost(0, limit.w, limit.u) + cost(1, limit.u, limit.w)
    # The least sum: both conditions w - w* = -2 M^{-1} (w - u) and so for u, together.
    both = torch.block_diag(*M) + 2 * torch.kron(
        torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64), identity
    )
    pull = torch.cat([m @ agent.target for m, agent in zip(M, pair, strict=True)])
    best = torch.linalg.solve(both, pull)
    least = cost(0, best[:d], best[d:]) + cost(1, best[d:], best[:d])
    assert 1 - 1e-9 <= paid / least <= 9 / 8 + 1e-9


def test_nine_eighths_is_reached_where_both_keep_a_third():
    mine = GradientAgent(
        Prompt(torch.ones(1, 1, dtype=torch.float64), torch.zeros(1)), 2 / 3
    )
    other = GradientAgent(
        Prompt(torch.ones(1, 1, dtype=torch.float64), torch.ones(1)), 2 / 3
    )
    limit = equilibrium(mine, other)
    w, u = limit.w.item(), limit.u.item()
    paid = 2 * w**2 + 2 * (1 - u) ** 2 + 2 * (u - w) ** 2  # M = 2
    grid = torch.linspace(0, 1, 1001, dtype=torch.float64)
    x, y = grid[:, None], grid[None]
    least = (2 * x**2 + 2 * (1 - y) ** 2 + 2 * (y - x) ** 2).min().item()
    assert paid / least == pytest.approx(9 / 8, abs=1e-5)


def test_prices_and_steps_batch():
    mu = torch.tensor([[0.5], [2.0]], dtype=torch.float64)
    b = torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64)
    replies = best_reply(mu, b)
    assert replies.shape == (2, 3)
    assert replies[1, 2] == best_reply(2.0, 0.5)
    assert nash_step(mu).shape == cooperative_step(mu).shape == (2, 1)


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nash_step(-1), "mu was -1; it must be at least 0"),
        (lambda: cooperative_step(torch.tensor([1.0, -2.0])), "mu was -2"),
        (lambda: best_reply(-0.5, 0), "mu was -0.5; it must be at least 0"),
        (lambda: nash_step(math.inf), "mu was not finite"),
        (lambda: best_reply(1, 1), "other was up to 1 in size; it must be below 1"),
        (lambda: best_reply(1, [0.2, -1.5]), "other was up to 1.5 in size"),
        (
            lambda: best_reply(torch.ones(2), torch.zeros(3)),
            r"mu and other was of leading shapes \(2,\), \(3,\)",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
