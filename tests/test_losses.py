"""Objectives beyond quadratics: derivatives, minimisers, and what their agents'
quadratic model predicts.
"""

import math

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_dynamics import objective as objective_module
from agent_dynamics._line_search import shortened
from agent_dynamics.agents import GradientAgent
from agent_dynamics.equilibrium import equilibrium
from agent_dynamics.helper import (
    DampedNewtonHelper,
    LineSearchedNewtonHelper,
    NewtonHelper,
)
from agent_dynamics.interaction import interact, settle
from agent_dynamics.losses import (
    HuberLoss,
    LogCoshLoss,
    LogisticLoss,
    ObjectiveAgent,
    segment_hessian,
)

LOSSES = [LogisticLoss, HuberLoss, LogCoshLoss]
ETA = 0.4

seeds = st.integers(0, 2**31)


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def scores(inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (inputs @ target.unsqueeze(-1)).squeeze(-1)


def objective_at(
    kind, inputs: torch.Tensor, target: torch.Tensor, seed: int, **options
):
    """An objective with its minimiser at `target`, noise in the labels where the loss
    is one of residuals.
    """
    if kind is LogisticLoss:
        return kind(inputs, scores(inputs, target).sigmoid())
    noise = normal(*inputs.shape[:-1], seed=seed)
    base = kind(inputs, noise, **options).minimiser
    return kind(inputs, noise + scores(inputs, target - base), **options)


def any_objective(kind, seed: int, n: int = 12, d: int = 3):
    labels = normal(2, n, seed=seed + 1)
    return kind(
        normal(2, n, d, seed=seed), labels.sigmoid() if kind is LogisticLoss else labels
    )


@pytest.mark.parametrize("kind", LOSSES)
def test_gradient_and_hessian_are_those_of_the_loss(kind):
    objective, v = any_objective(kind, seed=0), normal(5, 2, 3, seed=2)
    v.requires_grad_()
    (gradient,) = torch.autograd.grad(objective.loss(v).sum(), v)
    torch.testing.assert_close(objective.gradient(v), gradient, rtol=1e-12, atol=1e-14)
    entries = objective.gradient(v).unbind(-1)
    rows = [
        torch.autograd.grad(entry.sum(), v, retain_graph=True)[0] for entry in entries
    ]
    torch.testing.assert_close(
        objective.hessian(v), torch.stack(rows, dim=-2), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize(
    ("kind", "formula"),
    [
        (LogisticLoss, lambda m, y: sympy.log(1 + sympy.exp(m)) - y * m),
        (LogCoshLoss, lambda m, y: sympy.log(sympy.cosh(m - y))),
        (
            HuberLoss,
            lambda m, y: sympy.Piecewise(
                ((m - y) ** 2 / 2, abs(m - y) <= 1),
                (abs(m - y) - sympy.Rational(1, 2), True),
            ),
        ),
    ],
)
def test_values_and_derivatives_are_those_of_the_formula(kind, formula):
    m, y = sympy.symbols("m y", real=True)
    for label, score in [(0.25, -3.0), (0.75, 0.5), (0.5, 40.0)]:
        one = kind(
            torch.ones(1, 1, dtype=torch.float64),
            torch.tensor([label], dtype=torch.float64),
        )
        v = torch.tensor([score], dtype=torch.float64)
        for order, value in enumerate(
            (one.loss(v), one.gradient(v)[0], one.hessian(v)[0, 0])
        ):
            exact = sympy.diff(formula(m, y), m, order).subs(
                {m: sympy.Rational(score), y: sympy.Rational(label)}
            )
            assert value.item() == pytest.approx(
                float(sympy.re(exact.doit()).evalf(50)), rel=1e-12, abs=1e-30
            )


@given(seed=seeds, kind=st.sampled_from(LOSSES))
def test_objectives_are_convex(seed, kind):
    objective = any_objective(kind, seed)
    v, w = 3 * normal(2, 3, seed=seed + 2), 3 * normal(2, 3, seed=seed + 3)
    assert (torch.linalg.eigvalsh(objective.hessian(v)) >= -1e-14).all()
    assert (
        objective.loss(w)
        >= objective.loss(v) + (objective.gradient(v) * (w - v)).sum(-1) - 1e-12
    ).all()


@given(seed=seeds, kind=st.sampled_from(LOSSES), d=st.integers(1, 5))
def test_minimiser_is_where_the_gradient_vanishes(seed, kind, d):
    inputs, target = normal(3, 4 * d + 8, d, seed=seed), normal(3, d, seed=seed + 1)
    objective = objective_at(kind, inputs, target, seed + 2)
    assert objective.gradient(objective.minimiser).norm(dim=-1).amax() < 1e-13
    torch.testing.assert_close(objective.minimiser, target, rtol=0, atol=1e-10)
    elsewhere = target + normal(50, 3, d, seed=seed + 3)
    assert (objective.loss(elsewhere) > objective.loss(target)).all()


@given(seed=seeds, kind=st.sampled_from(LOSSES), power=st.floats(-6, 6))
def test_minimiser_is_found_whatever_the_unit_of_the_examples(seed, kind, power):
    unit = 10**power
    inputs, target = normal(20, 2, seed=seed), normal(2, seed=seed + 1)
    y = scores(inputs, target)
    found = kind(unit * inputs, y.sigmoid() if kind is LogisticLoss else y).minimiser
    torch.testing.assert_close(unit * found, target, rtol=0, atol=1e-10)


@given(
    seed=seeds,
    kind=st.sampled_from([HuberLoss, LogCoshLoss]),
    spread=st.floats(0, 3),
    delta=st.floats(1e-2, 1),
)
def test_minimiser_is_found_where_some_examples_are_much_larger_than_others(
    seed, kind, spread, delta
):
    sizes = (spread * normal(20, 1, seed=seed)).exp()
    inputs, labels = (
        sizes * normal(20, 3, seed=seed + 1),
        sizes[:, 0] * normal(20, seed=seed + 2),
    )
    objective = (
        kind(inputs, labels, delta=delta * sizes.max().item())
        if kind is HuberLoss
        else kind(inputs, labels)
    )
    try:
        gradient = objective.gradient(objective.minimiser)
    except ValueError as error:
        # A square for so few residuals that it is flat in some direction.
        if kind is HuberLoss and "flat" in str(error):
            return
        raise
    assert gradient.norm() < 1e-12 * inputs.norm() * (1 + labels.norm())


@pytest.mark.parametrize("seed", [133, 7])
def test_minimiser_of_a_huber_loss_that_is_almost_an_absolute_value(seed):
    objective = HuberLoss(
        normal(20, 3, seed=seed), normal(20, seed=seed + 1), delta=1e-3
    )
    assert objective.gradient(objective.minimiser).norm() < 1e-14


@pytest.mark.parametrize("kind", [LogisticLoss, LogCoshLoss])
@pytest.mark.parametrize("narrow", [1e-3, 1e-2, 0.1, 1.0])
def test_nearly_collinear_examples_take_the_minimiser_few_more_steps(
    monkeypatch, kind, narrow
):
    monkeypatch.setattr(objective_module, "NEWTON_STEPS", 20)
    for seed in range(5):
        inputs = normal(20, 3, seed=seed)
        inputs[:, 2] = inputs[:, 1] + narrow * inputs[:, 2]
        noise = normal(20, seed=seed + 9)
        labels = scores(inputs, normal(3, seed=seed + 50)) + noise
        objective = kind(inputs, labels.sigmoid() if kind is LogisticLoss else labels)
        found = objective.minimiser
        assert objective.gradient(found).norm() < 1e-13 * (1 + found.norm())


@given(
    seed=seeds,
    kind=st.sampled_from([HuberLoss, LogCoshLoss]),
    far=st.floats(0, 7),
    noise=st.floats(-2, 3),
)
def test_a_minimiser_is_found_however_far_it_lies_and_however_loud_its_labels(
    seed, kind, far, noise
):
    inputs = normal(20, 3, seed=seed)
    target, errors = 10**far * normal(3, seed=seed + 1), 10**noise * normal(20, seed=1)
    found = kind(inputs, scores(inputs, target) + errors).minimiser
    near = kind(inputs, errors).minimiser  # the same seen from the target
    torch.testing.assert_close(
        found - target, near, rtol=1e-9, atol=1e-9 * (10**noise + 10 ** (far - 4))
    )


@given(seed=seeds, kind=st.sampled_from(LOSSES), far=st.floats(-1, 3))
def test_the_bounding_parabola_touches_the_loss_and_lies_above_it(seed, kind, far):
    objective = any_objective(kind, seed)
    v, w = 10**far * normal(2, 3, seed=seed + 2), 10**far * normal(9, 2, 3, seed=3)
    step = w - v
    bound = objective.loss(v) + (objective.gradient(v) * step).sum(-1)
    bound += (
        scores(step.unsqueeze(-2), scores(objective.bounding_hessian(v), step))[..., 0]
        / 2
    )
    assert (objective.loss(w) <= bound + 1e-12 * (1 + bound)).all()


def test_a_minimiser_that_is_not_reached_is_an_error(monkeypatch):
    monkeypatch.setattr(objective_module, "NEWTON_STEPS", 2)
    with pytest.raises(RuntimeError, match="no minimiser after 2 Newton steps"):
        _ = any_objective(LogCoshLoss, seed=0).minimiser


@pytest.mark.parametrize("kind", LOSSES)
def test_agent_takes_gradient_steps_and_agrees_with_its_local_prompt_to_first_order(
    kind,
):
    objective = any_objective(kind, seed=5, n=30)
    agent = ObjectiveAgent(objective, ETA)
    v = normal(2, 3, seed=6)
    torch.testing.assert_close(
        agent(v), v - ETA * objective.gradient(v), rtol=1e-14, atol=0
    )
    local = agent.linearised()
    assert isinstance(local, GradientAgent)
    torch.testing.assert_close(
        local.prompt.covariance, objective.hessian(agent.target), rtol=1e-12, atol=1e-15
    )
    near = agent.target + 1e-6 * v
    torch.testing.assert_close(agent(near), local(near), rtol=0, atol=1e-11)


def test_each_agent_of_a_batch_takes_a_step_of_its_own_size():
    steps, v = torch.tensor([0.1, 0.7], dtype=torch.float64), normal(3, seed=2)
    objective = any_objective(LogCoshLoss, seed=0)
    together = ObjectiveAgent(objective, steps)(v)
    for i in range(2):
        own = LogCoshLoss(objective.inputs[i], objective.labels[i])
        torch.testing.assert_close(
            together[i], v - steps[i] * own.gradient(v), rtol=1e-13, atol=1e-14
        )


def deviation(kind, inputs, target, direction, gap: float, seed: int) -> torch.Tensor:
    """Distance of both limits of an exchange to the equilibrium of the local models,
    relative to the gap.
    """
    w = ObjectiveAgent(objective_at(kind, inputs[0], target, seed), ETA)
    u = ObjectiveAgent(
        objective_at(kind, inputs[1], target + gap * direction, seed + 1), ETA
    )
    local = equilibrium(w.linearised(), u.linearised())
    limits = settle([w, u], target)
    return (
        torch.stack(
            [(limits[0] - local.w).norm(dim=-1), (limits[1] - local.u).norm(dim=-1)]
        )
        / gap
    )


@settings(max_examples=10)
@given(seed=seeds, d=st.integers(2, 4))
@pytest.mark.parametrize("kind", [LogisticLoss, LogCoshLoss])
def test_local_theory_is_right_to_first_order_in_the_gap(kind, seed, d):
    inputs, target = normal(2, 8, 6 * d, d, seed=seed), normal(8, d, seed=seed + 1) / 2
    direction = torch.nn.functional.normalize(normal(8, d, seed=seed + 2), dim=-1)
    wide, narrow = (
        deviation(kind, inputs, target, direction, gap, seed + 3)
        for gap in (2**-7, 2**-8)
    )
    # Halving the gap quarters the distance, so it halves its share in the gap. Medians,
    # since the second-order term of a pair can happen to vanish.
    assert 1.9 < (wide / narrow).median() < 2.1
    assert (wide < 2**-3).all()


@settings(max_examples=20)
@given(seed=seeds, d=st.integers(2, 4))
def test_local_theory_is_exact_for_huber_agents_until_a_residual_crosses_delta(seed, d):
    inputs, target = normal(2, 6 * d, d, seed=seed), normal(d, seed=seed + 1)
    direction = torch.nn.functional.normalize(normal(d, seed=seed + 2), dim=-1)
    slack = []
    for i in range(2):
        objective = objective_at(HuberLoss, inputs[i], target, seed + 3 + i)
        margin = (
            (scores(inputs[i], target) - objective.labels).abs() - objective.delta
        ).abs()
        slack.append((margin / inputs[i].norm(dim=-1)).min().item())
    # Both limits of the local models lie within a few gaps of both targets.
    assert deviation(
        HuberLoss, inputs, target, direction, min(slack) / 20, seed + 3
    ).amax() < 1e-9 / min(slack)


def quadrature(objective, start, end, pieces=400):
    """The Hessian's average by Gauss-Legendre, 8 nodes on each of many pieces."""
    nodes, weights = (torch.tensor(x) for x in np.polynomial.legendre.leggauss(8))
    places = ((torch.arange(pieces)[:, None] + (nodes + 1) / 2) / pieces).flatten()
    along = torch.stack([start + s * (end - start) for s in places])
    return (
        weights.repeat(pieces)[:, None, None, None]
        / (2 * pieces)
        * objective.hessian(along)
    ).sum(0)


@settings(max_examples=25)
@given(
    seed=seeds,
    kind=st.sampled_from([LogisticLoss, LogCoshLoss]),
    far=st.floats(-9, 1.5),
)
def test_the_hessian_along_a_segment_is_the_integral(seed, kind, far):
    objective = any_objective(kind, seed)
    start = normal(2, 3, seed=seed + 2)
    end = start + 10**far * normal(2, 3, seed=seed + 3)
    torch.testing.assert_close(
        segment_hessian(objective, start, end),
        quadrature(objective, start, end),
        rtol=0,
        atol=1e-12,
    )


@given(seed=seeds, kind=st.sampled_from(LOSSES), far=st.floats(-3, 6))
def test_the_hessian_along_a_segment_carries_its_end_to_the_gradients_difference(
    seed, kind, far
):
    objective = any_objective(kind, seed)
    start = normal(4, 2, 3, seed=seed + 2)
    end = start + 10**far * normal(2, 3, seed=seed + 3)
    mean = segment_hessian(objective, start, end)
    torch.testing.assert_close(
        scores(mean, end - start),
        objective.gradient(end) - objective.gradient(start),
        rtol=0,
        atol=1e-12 * (1 + 1e-2 * 10**far),
    )
    torch.testing.assert_close(mean, segment_hessian(objective, end, start))
    assert (torch.linalg.eigvalsh(mean) > -1e-14).all()


@given(seed=seeds, kind=st.sampled_from(LOSSES))
def test_the_hessian_along_a_point_is_that_at_it(seed, kind):
    objective, v = any_objective(kind, seed), normal(2, 3, seed=seed + 2)
    torch.testing.assert_close(
        segment_hessian(objective, v, v), objective.hessian(v), rtol=0, atol=1e-15
    )


def test_the_hessian_of_a_huber_loss_counts_the_share_of_the_way_within_delta():
    one = HuberLoss(torch.ones(1, 1).double(), torch.zeros(1), delta=2.0)
    ends = torch.tensor([[3.0], [-6.0], [2.0]]).double()
    mean = segment_hessian(one, -ends, torch.tensor([1.0]).double())
    expected = torch.tensor([3 / 4, 1 / 5, 1], dtype=torch.float64)
    torch.testing.assert_close(mean.flatten(), expected, rtol=1e-15, atol=0)


def pair_apart(kind, seed: int, gap: float, d: int = 3):
    """Two agents whose targets are `gap` apart, with their step sizes."""
    inputs, middle = normal(2, 4, 6 * d, d, seed=seed), normal(4, d, seed=seed + 1) / 2
    away = torch.nn.functional.normalize(normal(4, d, seed=seed + 2), dim=-1)
    places = middle, middle + gap * away
    objectives = [
        objective_at(kind, x, place, seed + 3 + i)
        for i, (x, place) in enumerate(zip(inputs, places, strict=True))
    ]
    largest = [torch.linalg.matrix_norm(x, 2).square() / x.shape[-2] for x in inputs]
    steps = [1.9 / largest[0], 0.5 / largest[1]]
    return [ObjectiveAgent(o, step) for o, step in zip(objectives, steps, strict=True)]


@settings(max_examples=15, deadline=None)
@given(seed=seeds, kind=st.sampled_from(LOSSES), gap=st.floats(0.01, 4))
def test_the_plateau_formula_is_exact_with_hessians_along_segments(seed, kind, gap):
    agents = pair_apart(kind, seed, gap)
    w, u = settle(agents, torch.zeros(3).double())
    targets = [agent.target for agent in agents]
    A, B = (
        torch.eye(3).double()
        - agent.step_size[..., None, None]
        * segment_hessian(agent.objective, target, heard)
        for agent, target, heard in zip(agents, targets, (u, w), strict=True)
    )
    identity, delta = torch.eye(3).double(), targets[1] - targets[0]
    for M, N, error, sign in ((A, B, w - targets[0], 1), (B, A, u - targets[1], -1)):
        push = sign * scores(M @ (identity - N), delta)
        torch.testing.assert_close(
            error, torch.linalg.solve(identity - M @ N, push), rtol=0, atol=1e-10
        )


@settings(max_examples=15, deadline=None)
@given(
    seed=seeds,
    kind=st.sampled_from([LogisticLoss, LogCoshLoss]),
    gap=st.floats(0, 4),
    far=st.floats(0, 12),
)
def test_smooth_agents_have_one_fixed_point_that_every_start_reaches(
    seed, kind, gap, far
):
    agents = pair_apart(kind, seed, gap)
    limit = settle(agents, torch.zeros(3).double())
    starts = far * torch.nn.functional.normalize(normal(6, 1, 3, seed=9), dim=-1)
    again = settle(agents, starts.expand(6, 4, 3))
    for one, other in zip(limit, again, strict=True):
        torch.testing.assert_close(other, one.expand_as(other), rtol=0, atol=1e-9)


def fall(profile):
    """A loss of one number that `profile` tells, as a function of messages (..., 1)."""
    return lambda v: torch.stack(
        [torch.as_tensor(profile(x), dtype=v.dtype) for x in v.flatten().tolist()]
    ).reshape(v.shape[:-1])


ONE = torch.ones(1, dtype=torch.float64)


@pytest.mark.parametrize(
    ("share", "start", "slope", "profile"),
    [
        # A ten-thousandth of the fall that the slope promises is asked for.
        (1, 0.0, -1.0, lambda x: -1.1e-4 * x),
        (0.5, 0.0, -1.0, lambda x: {0: 0.0, 1: -0.9e-4, 0.5: -0.6e-4}[x]),
        (0.25, 0.0, -1.0, lambda x: {0: 0.0, 1: -0.9e-4, 0.5: -0.4e-4, 0.25: -1.0}[x]),
        (0.5, 0.0, -3.0, lambda x: {0: 0.0, 1: -2e-4, 0.5: -2e-4}[x]),
        # No number is no fall.
        (0.125, 0.0, -1.0, lambda x: math.nan if x > 0.2 else -x),
        (0.5, 0.0, -1.0, lambda x: math.inf if x > 0.6 else -x),
        # A rise within rounding is none, whatever the size of the loss.
        (1, 2.0, 0.0, lambda x: 1e6 * (1 + 2**-52 * (x > 2))),
        (1, 2.0, 0.0, lambda x: -1e6 * (1 - 2**-52 * (x > 2))),
        (0.25, 2.0, 0.0, lambda x: 1e6 * (1 + 1e-14 * (x > 2.3))),
        (0.25, 2.0, 0.0, lambda x: -1e-6 * (1 - 1e-14 * (x > 2.3))),
        # After sixty halvings what is left of the step is taken.
        (2.0**-60, 0.0, -1.0, lambda x: float(x > 0)),
    ],
)
def test_a_step_is_halved_until_the_loss_falls_as_armijo_asks(
    share, start, slope, profile
):
    step = shortened(fall(profile), start * ONE, slope * ONE, ONE)
    assert step.tolist() == [share]


def test_each_step_of_a_batch_is_halved_for_itself():
    edges = torch.tensor([[0.1, 0.3], [0.7, 2.0]], dtype=torch.float64)
    step = shortened(
        lambda v: torch.where(v[..., 0] <= edges, -v[..., 0], 1.0),
        torch.zeros(2, 2, 1, dtype=torch.float64),
        -ONE,
        ONE,
    )
    assert step[..., 0].tolist() == [[0.0625, 0.25], [0.5, 1]]


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_an_objective_is_flat_by_its_curvature_relative_to_that_of_the_squares(size):
    target = torch.tensor([0.5, -0.3], dtype=torch.float64) / size
    for narrow, flat in ((3e-5, False), (3e-6, True)):
        inputs = size * torch.diag(torch.tensor([1, narrow], dtype=torch.float64))
        objective = HuberLoss(inputs, inputs @ target)
        if flat:
            with pytest.raises(ValueError, match=r"flat \(relative curvature 9e-12\)"):
                _ = objective.minimiser
        else:
            close = size * (objective.minimiser - target).abs()
            assert (close <= torch.tensor([1e-9, 1e-4])).all()


def test_the_square_of_a_huber_loss_reaches_to_delta_and_no_further():
    inputs, labels = ONE.unsqueeze(-1), 0 * ONE
    for delta in (0.5, 2.0):
        objective = HuberLoss(inputs, labels, delta=delta)
        for score, curvature in ((delta, 1), (-delta, 1), (1.01 * delta, 0)):
            assert objective.hessian(score * ONE).item() == curvature
        assert objective.loss(3 * delta * ONE).item() == 2.5 * delta**2
        assert objective.gradient(-3 * delta * ONE).item() == -delta


def test_one_set_of_examples_serves_a_batch_of_labels_and_each_has_its_minimiser():
    inputs, labels = normal(9, 2, seed=0), normal(4, 9, seed=1)
    together = LogCoshLoss(inputs, labels).minimiser
    assert together.shape == (4, 2)
    assert torch.equal(LogCoshLoss(inputs, 0 * labels).minimiser, 0 * together)
    for found, own in zip(together, labels, strict=True):
        torch.testing.assert_close(
            found, LogCoshLoss(inputs, own).minimiser, rtol=0, atol=1e-12
        )


def log_cosh_line(eta: float):
    """A main agent and a helper on one log-cosh example, and the start from which they
    cycle.
    """
    main = ObjectiveAgent(
        LogCoshLoss(torch.ones(1, 1).double(), torch.zeros(1).double()), eta
    )
    helper = NewtonHelper(
        torch.ones(1, 1).double(),
        lambda prompt: GradientAgent(prompt, 0.5),
        main.objective.gradient,
        main.objective.hessian,
    )
    low, high = 0.5, 5.0
    for _ in range(100):
        middle = (low + high) / 2
        reply = middle - eta * math.tanh(middle)
        low, high = (
            (middle, high)
            if math.sinh(2 * reply) / 2 - reply < middle
            else (low, middle)
        )
    return main, helper, low


@given(
    eta=st.floats(0.05, 1.0),
    share=st.floats(0.05, 0.98),
    sign=st.sampled_from([-1.0, 1.0]),
)
def test_newton_on_log_cosh_converges_within_its_edge_and_grows_beyond(
    eta, share, sign
):
    main, helper, edge = log_cosh_line(eta)
    inside = interact(
        [main, helper], torch.tensor([sign * share * edge]), turns=60
    ).by_agent(1)
    assert inside[-1].abs() < 1e-12
    outside = interact(
        [main, helper], torch.tensor([sign * edge * 1.02]), turns=1
    ).by_agent(1)
    assert outside[-1].abs() > 1.02 * edge
    assert outside[-1].sign() == -sign


def overshoot(eta: float, r: torch.Tensor) -> torch.Tensor:
    """The damping with which a start at r is sent to -r."""
    x = r - eta * r.tanh()
    return x.tanh() / (x + r) - x.cosh() ** -2


def damped_line(eta: float, damping: float):
    main = ObjectiveAgent(LogCoshLoss(ONE[:, None], torch.zeros(1)), eta)
    helper = DampedNewtonHelper(
        ONE[:, None],
        lambda prompt: GradientAgent(prompt, 0.4),
        main.objective.gradient,
        main.objective.hessian,
        damping=damping,
    )
    return [main, helper]


@pytest.mark.unchecked
@settings(max_examples=5, deadline=None)
@given(eta=st.floats(0.05, 1.0), share=st.floats(0.3, 0.98))
def test_damped_newton_on_log_cosh_loses_no_start_above_the_safe_damping_alone(
    eta, share
):
    r = torch.linspace(0.01, 40, 100_000).double()
    values = overshoot(eta, r)
    safe = values.max().item()
    starts = torch.linspace(-30, 30, 400).double()[:, None]
    end = interact(damped_line(eta, 1.1 * safe), starts, turns=400).messages[:, -1]
    assert (end.abs() < 1e-9).all()
    # Below it, messages between two distances grow, and those at either alternate.
    band = r[values > share * safe]
    for start in (band[0], band[-1]):
        assert overshoot(eta, start).item() == pytest.approx(share * safe, abs=1e-3)
    inside = band[:: len(band) // 20][1:-1, None]
    heard = interact(damped_line(eta, share * safe), inside, turns=200).by_agent(1)
    assert (heard[:, 0].abs() > inside).all()
    assert (heard[:, -1].abs() > band[0] - 1e-2).all()


@pytest.mark.parametrize(
    ("eta", "expected"), [(1e-12, 0.1739), (0.4, 0.1569), (1.0, 0.1379)]
)
def test_safe_damping_found_by_playing(eta, expected):
    """By bisection over dampings, with starts on a grid."""
    starts, low, high = torch.linspace(0.05, 20, 3000).double()[:, None], 0.05, 0.4
    for _ in range(16):
        middle = (low + high) / 2
        heard = interact(damped_line(eta, middle), starts, turns=1).by_agent(1)
        grows = (heard[:, 0].abs() >= starts).any()
        low, high = (middle, high) if grows else (low, middle)
    assert low == pytest.approx(expected, abs=6e-5)


@settings(max_examples=25)
@given(
    seed=seeds,
    kind=st.sampled_from([LogisticLoss, LogCoshLoss]),
    radius=st.floats(1, 8),
)
def test_line_searched_newton_never_raises_the_loss_and_arrives(seed, kind, radius):
    inputs, target = normal(4, 20, 3, seed=seed), normal(4, 3, seed=seed + 1)
    objective = objective_at(kind, inputs, target, seed + 2)
    helper = LineSearchedNewtonHelper(
        torch.eye(3).double(),
        lambda prompt: GradientAgent(prompt, 0.5),
        objective.gradient,
        objective.hessian,
        loss=objective.loss,
    )
    direction = torch.nn.functional.normalize(normal(4, 3, seed=seed + 3), dim=-1)
    start = target + radius * direction
    exchange = interact([ObjectiveAgent(objective, ETA), helper], start, turns=80)
    losses = objective.loss(exchange.messages.movedim(-2, 0))
    received, sent = losses[1::2], losses[2::2]
    assert (sent <= received + 1e-14 * (1 + received)).all()
    torch.testing.assert_close(
        exchange.by_agent(0)[..., -1, :], target, rtol=0, atol=1e-9
    )


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: LogCoshLoss(torch.ones(3), torch.ones(3)),
            r"inputs was of shape \(3,\)",
        ),
        (
            lambda: LogCoshLoss(torch.ones(3, 2), torch.ones(2)),
            r"labels was of shape \(2,\); it must be of shape \(..., 3\)",
        ),
        (
            lambda: LogCoshLoss(torch.full((3, 2), math.nan), torch.ones(3)),
            "inputs was not finite",
        ),
        (
            lambda: LogCoshLoss(torch.ones(4, 3, 2), torch.ones(5, 3)),
            r"inputs and labels was of leading shapes",
        ),
        (
            lambda: LogisticLoss(torch.ones(2, 1), torch.tensor([0.5, 2.0])),
            "labels was from 0.5 to 2; it must be between 0 and 1",
        ),
        (
            lambda: LogisticLoss(torch.ones(2, 1), torch.tensor([-0.1, 1.0])),
            "labels was from -0.1 to 1; it must be between 0 and 1",
        ),
        (
            lambda: LogCoshLoss(torch.ones(3, 0), torch.ones(3)),
            r"inputs was of shape \(3, 0\); .* n and d at least 1",
        ),
        (
            lambda: LogCoshLoss(torch.ones(0, 3), torch.ones(0)),
            r"inputs was of shape \(0, 3\)",
        ),
        (
            lambda: HuberLoss(torch.ones(2, 1), torch.ones(2), delta=0.0),
            "delta was 0.0; it must be greater than 0",
        ),
        (
            lambda: ObjectiveAgent(LogCoshLoss(torch.ones(2, 1), torch.ones(2)), -1.0),
            "step_size was -1; it must be greater than 0",
        ),
        (
            lambda: ObjectiveAgent(
                any_objective(LogCoshLoss, seed=0), torch.tensor([0.1, 0.2, 0.3])
            ),
            "objective and step_size was of leading shapes",
        ),
        (
            lambda: LogCoshLoss(torch.ones(2, 1), torch.ones(2)).loss(torch.ones(3)),
            r"v was of shape \(3,\)",
        ),
        (
            lambda: segment_hessian(
                LogCoshLoss(torch.ones(2, 1), torch.ones(2)), torch.ones(2), ONE
            ),
            r"start was of shape \(2,\); it must be of shape \(..., 1\)",
        ),
        (
            lambda: segment_hessian(
                LogCoshLoss(torch.ones(2, 1), torch.ones(2)), ONE, torch.ones(3, 2)
            ),
            r"end was of shape \(3, 2\); it must be of shape \(..., 1\)",
        ),
        # A plane separates these labels: the loss falls for ever along v.
        (
            lambda: (
                LogisticLoss(
                    torch.tensor([[-1.0], [1.0]]).double(), torch.tensor([0.0, 1.0])
                ).minimiser
            ),
            "flat",
        ),
        (
            lambda: LogCoshLoss(torch.ones(4, 2).double(), torch.ones(4)).minimiser,
            "inputs and labels was an objective that is flat",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
