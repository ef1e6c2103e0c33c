"""The angle: plateaus against simulation, and the theorem on where they may decrease,
with its sharpness.
"""

import math

import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent_dynamics.agents import GradientAgent
from agent_dynamics.angle import (
    expected_plateau,
    monotone_angle_limit,
    plateau_matrix,
    plateau_vs_angle,
    worst_orientation,
)
from agent_dynamics.interaction import settle
from agent_dynamics.prompts import (
    Prompt,
    prompt_with_covariance,
    random_covariance,
    target_pair,
)


def pair(
    d: int, conditions: tuple[float, float], seed: int
) -> tuple[GradientAgent, GradientAgent]:
    random = torch.Generator().manual_seed(seed)
    return tuple(
        GradientAgent(
            prompt_with_covariance(
                random_covariance(d, kappa, generator=random),
                torch.zeros(d),
                d,
                generator=random,
            ),
            0.5,
        )
        for kappa in conditions
    )


def isotropic(d: int, step_size: float) -> GradientAgent:
    return GradientAgent(
        Prompt(math.sqrt(d) * torch.eye(d, dtype=torch.float64), torch.zeros(d)),
        step_size,
    )


def orientations(d: int, number: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return target_pair(
        d, math.pi / 2, generator=torch.Generator().manual_seed(seed), shape=(number,)
    )


conditions = st.tuples(st.floats(1.5, 20), st.floats(1.5, 20))


def test_plateau_vs_angle_is_the_squared_error_that_a_simulated_exchange_keeps():
    agent_w, agent_u = pair(4, (5, 12), seed=0)
    first, second = (v[0] for v in orientations(4, 1, seed=1))
    angles = torch.linspace(0, math.pi, 7, dtype=torch.float64)
    u = angles.cos()[:, None] * first + angles.sin()[:, None] * second
    w = first.expand_as(u)
    last_w, last_u = settle(
        [
            GradientAgent(Prompt(agent.prompt.inputs, target), 0.5)
            for agent, target in ((agent_w, w), (agent_u, u))
        ],
        torch.zeros(4),
    )
    plateaus = plateau_vs_angle(agent_w, agent_u, first, second, angles)
    gap = u - w
    for plateau, error, G in (
        (plateaus[0], last_w - w, plateau_matrix(agent_w, agent_u)),
        (plateaus[1], last_u - u, plateau_matrix(agent_u, agent_w)),
    ):
        torch.testing.assert_close(
            plateau, error.square().sum(-1), rtol=1e-10, atol=1e-14
        )
        torch.testing.assert_close(
            plateau, ((gap @ G) * gap).sum(-1), rtol=1e-10, atol=1e-14
        )


def test_pairs_and_orientations_are_batches():
    agents = [pair(3, (2, 6), seed) for seed in range(2)]
    batched = tuple(
        GradientAgent(
            Prompt(
                torch.stack([p[i].prompt.inputs for p in agents])[:, None],
                torch.zeros(3),
            ),
            0.5,
        )
        for i in range(2)
    )
    first, second = orientations(3, 5, seed=3)
    angles = torch.tensor([0.3, 1.0, 2.0, 3.0], dtype=torch.float64)
    together = plateau_vs_angle(*batched, first, second, angles)
    for i in range(2):
        for both, single in zip(
            together, plateau_vs_angle(*agents[i], first, second, angles), strict=True
        ):
            assert both.shape == (2, 5, 4)
            torch.testing.assert_close(both[i], single, rtol=1e-12, atol=1e-15)


@given(seed=st.integers(0, 2**31), d=st.integers(2, 5), conditions=conditions)
def test_no_orientation_decreases_before_the_limit(seed, d, conditions):
    agents = pair(d, conditions, seed)
    G = plateau_matrix(*agents)
    limit = monotone_angle_limit(torch.linalg.cond(G))
    # Haar-random orientations, and random ones in the plane of the extreme
    # eigenvectors, which come close.
    first, second = orientations(d, 50, seed)
    flat_first, flat_second = orientations(2, 50, seed)
    extremes = torch.linalg.eigh(G).eigenvectors[:, [0, -1]]
    first = torch.cat([first, flat_first @ extremes.mT])
    second = torch.cat([second, flat_second @ extremes.mT])
    plateau, _ = plateau_vs_angle(
        *agents, first, second, limit * torch.linspace(0, 1, 101, dtype=torch.float64)
    )
    assert (plateau.diff(dim=-1) >= -1e-13 * plateau.amax(-1, keepdim=True)).all()


@given(seed=st.integers(0, 2**31), d=st.integers(2, 5), conditions=conditions)
def test_limit_is_sharp_the_worst_orientation_turns_there(seed, d, conditions):
    agents = pair(d, conditions, seed)
    G = plateau_matrix(*agents)
    limit = monotone_angle_limit(torch.linalg.cond(G))
    first, second = worst_orientation(G)
    sine, cosine = (limit / 2).sin(), (limit / 2).cos()
    e1, e2 = cosine * second - sine * first, -cosine * first - sine * second
    slope = (cosine * e1 @ G @ e1 + sine * e1 @ G @ e2) / (e1 @ G @ e1)
    assert slope.abs() <= 1e-9
    nearby = limit + 1e-2 * (math.pi - limit).minimum(limit) * torch.arange(
        -2, 3, dtype=torch.float64
    )
    (plateau, _) = plateau_vs_angle(*agents, first, second, nearby)
    assert plateau[0] < plateau[1] < plateau[2] > plateau[3] > plateau[4]


def test_slope_vanishes_first_at_the_limit_symbolically():
    theta, kappa, t = sympy.symbols("theta kappa t", positive=True)
    a, b, c = sympy.symbols("a b c")
    sine, cosine = sympy.sin(theta / 2), sympy.cos(theta / 2)
    # In the plane of the targets: Delta, its direction e1 and e2 orthogonal to it, for
    # any symmetric G.
    G = sympy.Matrix([[a, b], [b, c]])
    gap = sympy.Matrix([sympy.cos(theta) - 1, sympy.sin(theta)])
    e1, e2 = sympy.Matrix([-sine, cosine]), sympy.Matrix([-cosine, -sine])
    slope = 4 * sine * (cosine * (e1.T * G * e1)[0] + sine * (e1.T * G * e2)[0])
    assert sympy.simplify(sympy.diff((gap.T * G * gap)[0], theta) - slope) == 0
    # e1 at tan = t from v_min in the plane of v_min, v_max with eigenvalues 1, kappa.
    ratio = (kappa - 1) * t / (1 + kappa * t**2)
    assert sympy.solve(sympy.diff(ratio, t), t) == [1 / sympy.sqrt(kappa)]
    largest = sympy.simplify(ratio.subs(t, 1 / sympy.sqrt(kappa)))
    assert sympy.simplify(largest - (kappa - 1) / (2 * sympy.sqrt(kappa))) == 0
    # tan(theta_max / 2) = 1 / largest, with theta_max = 4 arctan(1 / sqrt(kappa)).
    assert (
        sympy.simplify(
            sympy.expand_trig(sympy.tan(2 * sympy.atan(1 / sympy.sqrt(kappa))))
            - 1 / largest
        )
        == 0
    )


def test_limit_has_the_values_of_its_formula():
    kappa = torch.tensor([1, 1.5, 4, 25, 100], dtype=torch.float64)
    limit = monotone_angle_limit(kappa)
    torch.testing.assert_close(
        limit,
        torch.tensor([math.pi, 2.7389, 1.8546, 0.7896, 0.3987], dtype=torch.float64),
        rtol=0,
        atol=5e-5,
    )
    torch.testing.assert_close(
        limit[1:],
        2 * torch.atan(2 * kappa.sqrt() / (kappa - 1))[1:],
        rtol=1e-14,
        atol=0,
    )
    assert limit[0] == monotone_angle_limit(1) == math.pi


def test_mean_over_random_orientations_is_the_expected_plateau():
    agents = pair(4, (10, 3), seed=0)
    angles = torch.linspace(0.2, math.pi, 6, dtype=torch.float64)
    number = 20_000
    samples, _ = plateau_vs_angle(*agents, *orientations(4, number, seed=1), angles)
    expected = expected_plateau(plateau_matrix(*agents), angles)
    assert expected.shape == (6,)
    assert (
        (samples.mean(0) - expected).abs() <= 4 * samples.std(0) / math.sqrt(number)
    ).all()


def test_isotropic_geometry_is_monotone_for_every_orientation():
    agents = isotropic(3, 0.3), isotropic(3, 0.8)
    G = plateau_matrix(*agents)
    factor = 0.7 * 0.8 / (1 - 0.7 * 0.2)
    torch.testing.assert_close(
        G, factor**2 * torch.eye(3, dtype=torch.float64), rtol=1e-13, atol=1e-15
    )
    angles = torch.linspace(0, math.pi, 50, dtype=torch.float64)
    plateau, _ = plateau_vs_angle(*agents, *orientations(3, 20, seed=0), angles)
    torch.testing.assert_close(
        plateau, expected_plateau(G, angles).expand_as(plateau), rtol=1e-12, atol=1e-15
    )
    assert (plateau.diff(dim=-1) > 0).all()


def test_a_batch_of_agents_shares_two_directions():
    random = torch.Generator().manual_seed(3)
    geometries = random_covariance(3, 5.0, generator=random, shape=(2, 4))
    first, second = torch.eye(3, dtype=torch.float64)[:2]
    angles = torch.tensor([0.3, 2.0], dtype=torch.float64)

    def agents(part):
        return [
            GradientAgent(prompt_with_covariance(s, first, 6, generator=random), 1.0)
            for s in geometries[(slice(None), *part)]
        ]

    together = plateau_vs_angle(*agents(()), first, second, angles)
    for i in range(4):
        alone = plateau_vs_angle(*agents((i,)), first, second, angles)
        for batch, one in zip(together, alone, strict=True):
            torch.testing.assert_close(batch[i], one, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("which", ["first", "second", "angle"])
def test_directions_may_be_off_by_their_rounding_and_no_more(which):
    d = 20
    agents, (first, second) = (isotropic(d, 0.3), isotropic(d, 0.8)), torch.eye(d)[:2]
    first, second = first.double(), second.double()
    for share, fits in ((50, True), (200, False)):
        off = share * d * torch.finfo(torch.float64).eps
        given = {
            "first": ((1 + off / 2) * first, second),
            "second": (first, (1 + off / 2) * second),
            "angle": (first, second - off * first),
        }[which]
        if fits:
            plateau, _ = plateau_vs_angle(*agents, *given, torch.ones(1))
            exact, _ = plateau_vs_angle(*agents, first, second, torch.ones(1))
            torch.testing.assert_close(plateau, exact, rtol=1e-11, atol=0)
        else:
            with pytest.raises(
                ValueError, match="first and second was off by 8.8.e-13"
            ):
                plateau_vs_angle(*agents, *given, torch.ones(1))


@pytest.mark.parametrize("size", [1e-8, 1.0, 1e8])
def test_what_counts_as_singular_or_isotropic_is_relative_to_the_largest_eigenvalue(
    size,
):
    d = 10
    rounding = d * torch.finfo(torch.float64).eps

    def G(lowest):
        return size * torch.diag(torch.linspace(lowest, 1, d, dtype=torch.float64))

    for lowest in (200 * rounding, 0.5, 1 - 200 * rounding):
        first, second = worst_orientation(G(lowest))
        phi = math.atan(math.sqrt(lowest))
        for direction, low, high in (
            (first, math.sin(3 * phi), math.cos(3 * phi)),
            (second, math.cos(3 * phi), math.sin(3 * phi)),
        ):
            ends = direction[[0, -1]].abs().tolist()
            assert ends == pytest.approx([abs(low), abs(high)], rel=0, abs=1e-9)
            assert direction.norm().item() == pytest.approx(1, rel=1e-12)
    for lowest, message in (
        (0.0, "G was singular"),
        (50 * rounding, "G was singular"),
        (1 - 50 * rounding, "G was proportional to the identity"),
    ):
        with pytest.raises(ValueError, match=message):
            worst_orientation(G(lowest))
    with pytest.raises(ValueError, match="G was singular, with the eigenvalue 0"):
        worst_orientation(0 * G(0.5))
    with pytest.raises(ValueError, match="G was singular"):
        worst_orientation(torch.stack([G(0.5), G(0.0)]))


def test_plateaus_leave_out_what_both_agents_are_blind_to():
    agents = [
        GradientAgent(
            Prompt(math.sqrt(2) * torch.eye(3)[:2].double(), torch.zeros(3)), eta
        )
        for eta in (0.3, 0.8)
    ]
    G = plateau_matrix(*agents)
    factor = (0.7 * 0.8 / (1 - 0.7 * 0.2)) ** 2
    expected = factor * torch.diag(torch.tensor([1.0, 1, 0], dtype=torch.float64))
    torch.testing.assert_close(G, expected, rtol=1e-12, atol=1e-14)
    # Orthogonal targets, one of them unseen: the gap keeps its seen part, of norm 1.
    angles = torch.tensor([math.pi / 2, math.pi], dtype=torch.float64)
    plateau, _ = plateau_vs_angle(*agents, *torch.eye(3).double()[[0, 2]], angles)
    torch.testing.assert_close(
        plateau, torch.tensor([factor, 4 * factor]).double(), rtol=1e-6, atol=0
    )


E1, E2 = torch.eye(2, dtype=torch.float64)


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: monotone_angle_limit(0.5),
            "condition_number was 0.5; it must be at least 1",
        ),
        (lambda: monotone_angle_limit(math.inf), "condition_number was not finite"),
        (
            lambda: worst_orientation(torch.eye(2)),
            "G was proportional to the identity; it must be anisotropic",
        ),
        (lambda: worst_orientation(torch.eye(1)), "G was proportional to the identity"),
        (
            lambda: worst_orientation(torch.diag(torch.tensor([0.0, 1.0]))),
            "G was singular, .* positive definite",
        ),
        (
            lambda: expected_plateau(torch.tensor([[1.0, 1], [0, 1]]), [0.1]),
            "G was asymmetric",
        ),
        (
            lambda: expected_plateau(torch.eye(2), [-0.1]),
            "angles was -0.1 to -0.1; it must be between 0 and pi",
        ),
        (
            lambda: plateau_vs_angle(isotropic(2, 0.5), isotropic(2, 0.5), E1, E2, 0.1),
            r"angles was of shape \(\)",
        ),
        (
            lambda: plateau_vs_angle(
                isotropic(2, 0.5), isotropic(2, 0.5), E1, E1, [0.1]
            ),
            "must be orthonormal",
        ),
        (
            lambda: plateau_vs_angle(
                isotropic(2, 0.5), isotropic(2, 0.5), 2 * E1, E2, [0.1]
            ),
            "must be orthonormal",
        ),
        (
            lambda: plateau_vs_angle(
                isotropic(3, 0.5), isotropic(3, 0.5), E1, E2, [0.1]
            ),
            r"first was of shape \(2,\)",
        ),
        (
            lambda: plateau_matrix(isotropic(2, 2.5), isotropic(2, 1.9)),
            "spectral radius below 1",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
