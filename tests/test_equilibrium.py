"""The biased equilibrium: closed forms against the simulated exchange."""

import dataclasses
import math

import pytest
import sympy
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.linalg import vector_norm

from agent_dynamics.agents import GradientAgent
from agent_dynamics.equilibrium import equilibrium, limit_bound, small_step_limit
from agent_dynamics.interaction import interact, settle
from agent_dynamics.linear import KERNEL_TOLERANCE, rounding
from agent_dynamics.lsa import LSAAgent, gradient_descent_weights
from agent_dynamics.prompts import Prompt, prompt_with_covariance, random_covariance

SEEDS = st.integers(0, 2**32 - 1)
DIMENSIONS = st.integers(1, 8)
CONDITIONS = st.floats(1, 100)
STABLE = st.floats(0.1, 1.9)  # eta lambda_max
LARGEST = 2.0  # lambda_max of every prompt drawn here


def normal(random: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=random, dtype=torch.float64)


def apply(matrix: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def random_agent(
    random,
    d,
    condition=10.0,
    eta_lambda=1.0,
    *,
    rank=None,
    frame=None,
    steps=1,
    shape=(3,),
):
    """A gradient agent of random geometry and target, blind to what `frame`'s columns
    do not span.
    """
    inner = d if frame is None else frame.shape[-1]
    s = random_covariance(
        inner,
        1.0 if 1 in (rank, inner) else condition,
        rank=rank,
        largest=LARGEST,
        shape=shape,
        generator=random,
    )
    s = s if frame is None else frame @ s @ frame.mT
    prompt = prompt_with_covariance(
        s, normal(random, *shape, d), d + 1, generator=random
    )
    return GradientAgent(prompt, eta_lambda / LARGEST, steps)


@dataclasses.dataclass
class Affine:
    """The agent v -> A v + b."""

    A: torch.Tensor
    b: torch.Tensor
    target: torch.Tensor

    def __call__(self, message):
        return apply(self.A, message) + self.b

    def affine(self):
        return self.A, self.b


def off_by(random, agent, size):
    """An affine agent whose map differs from `agent`'s by a random error of Frobenius
    norm `size`.
    """
    A, b = agent.affine()
    error = normal(random, *A.shape[:-1], A.shape[-1] + 1)
    error *= (torch.as_tensor(size) / torch.linalg.matrix_norm(error))[..., None, None]
    return Affine(A + error[..., :-1], b + error[..., -1], agent.target)


def assert_relative(value, expected, tolerance):
    assert (
        vector_norm(value - expected, dim=-1)
        <= tolerance * vector_norm(expected, dim=-1)
    ).all()


@settings(max_examples=30)
@given(
    seed=SEEDS,
    d=DIMENSIONS,
    condition=CONDITIONS,
    eta_w=STABLE,
    eta_u=STABLE,
    steps=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_closed_form_is_where_the_exchange_settles(
    seed, d, condition, eta_w, eta_u, steps
):
    random = torch.Generator().manual_seed(seed)
    agent_w = random_agent(random, d, condition, eta_w, steps=steps[0])
    agent_u = random_agent(random, d, condition, eta_u, steps=steps[1])
    limit = equilibrium(agent_w, agent_u)
    w, u = settle([agent_w, agent_u], normal(random, d))
    assert_relative(limit.w, w, 1e-10)
    assert_relative(limit.u, u, 1e-10)
    assert torch.equal(limit.shared_kernel, torch.zeros(3, dtype=torch.int64))


@settings(max_examples=30)
@given(seed=SEEDS, d=DIMENSIONS, condition=CONDITIONS, eta_w=STABLE, eta_u=STABLE)
def test_errors_are_those_of_the_equilibrium_theorem(seed, d, condition, eta_w, eta_u):
    random = torch.Generator().manual_seed(seed)
    agent_w, agent_u = (
        random_agent(random, d, condition, eta_w),
        random_agent(random, d, condition, eta_u),
    )
    limit = equilibrium(agent_w, agent_u)
    identity = torch.eye(d, dtype=torch.float64)
    A = identity - agent_w.step_size * agent_w.prompt.covariance
    B = identity - agent_u.step_size * agent_u.prompt.covariance
    gap = agent_u.target - agent_w.target
    error_w = apply(torch.linalg.inv(identity - A @ B) @ A @ (identity - B), gap)
    error_u = apply(-torch.linalg.inv(identity - B @ A) @ B @ (identity - A), gap)
    scale = vector_norm(gap, dim=-1).max()
    torch.testing.assert_close(limit.error_w, error_w, rtol=0, atol=1e-11 * scale)
    torch.testing.assert_close(limit.error_u, error_u, rtol=0, atol=1e-11 * scale)
    torch.testing.assert_close(
        limit.rate, torch.linalg.eigvals(A @ B).abs().amax(-1), rtol=1e-7, atol=1e-7
    )
    assert torch.equal(limit.error_w, limit.w - agent_w.target)
    assert torch.equal(limit.error_u, limit.u - agent_u.target)


@settings(max_examples=30)
@given(
    seed=SEEDS,
    d=st.integers(1, 6),
    shared=st.integers(0, 2),
    ranks=st.tuples(*[st.integers(0, 6)] * 2),
    eta_w=st.floats(0.1, 1.0),
    eta_u=st.floats(0.1, 1.0),
)
def test_shared_kernel_keeps_its_part_of_the_start_and_the_formula_holds_off_it(
    seed, d, shared, ranks, eta_w, eta_u
):
    random = torch.Generator().manual_seed(seed)
    size = d + shared
    rank_w, rank_u = (min(rank, d) for rank in ranks)
    frame = torch.linalg.qr(normal(random, 3, size, size)).Q[..., :d]
    agent_w = random_agent(random, size, 10.0, eta_w, rank=rank_w, frame=frame)
    agent_u = random_agent(random, size, 10.0, eta_u, rank=rank_u, frame=frame)
    start = normal(random, size)
    limit = equilibrium(agent_w, agent_u, start)
    # Random subspaces of the frame's d dimensions meet in as few dimensions as they
    # can.
    nullity = shared + max(0, d - rank_w - rank_u)
    assert limit.shared_kernel.tolist() == [nullity] * 3

    (A, _), (B, _) = agent_w.affine(), agent_u.affine()
    identity = torch.eye(size, dtype=torch.float64)
    radius = torch.linalg.eigvals(A @ B).abs().amax(-1)
    # Rho(AB) = 1 exactly when the kernels meet.
    assert ((radius > 1 - 1e-9) == (nullity > 0)).all()
    assert (limit.rate < 1 - 1e-9).all()

    kernel = torch.linalg.eigh(
        agent_w.prompt.covariance + agent_u.prompt.covariance
    ).eigenvectors[..., :nullity]
    projector = kernel @ kernel.mT
    torch.testing.assert_close(
        apply(projector, limit.w), apply(projector, start), rtol=0, atol=1e-9
    )
    gap = agent_u.target - agent_w.target
    off_kernel = apply(
        torch.linalg.inv(identity - A @ B + projector) @ A @ (identity - B), gap
    )
    torch.testing.assert_close(
        apply(identity - projector, limit.error_w), off_kernel, rtol=1e-7, atol=1e-9
    )

    assume((limit.rate < 0.999).all())
    w, u = settle([agent_w, agent_u], start)
    assert_relative(limit.w, w, 1e-10)
    assert_relative(limit.u, u, 1e-10)


@pytest.mark.parametrize("eta_lambda", [1e-2, 1e-4, 1e-6])
def test_shared_kernel_is_found_however_small_the_steps(eta_lambda):
    random = torch.Generator().manual_seed(0)
    frame = torch.linalg.qr(normal(random, 3, 5, 5)).Q[..., :4]
    agents = [random_agent(random, 5, 10.0, eta_lambda, frame=frame) for _ in range(2)]
    start = normal(random, 5)
    limit = equilibrium(*agents, start)
    assert limit.shared_kernel.tolist() == [1] * 3
    kernel = torch.linalg.eigh(agents[0].prompt.covariance).eigenvectors[..., 0]
    # I - A knows its kernel's direction up to eps / (eta lambda_min), 2e-9 at the
    # smallest steps.
    torch.testing.assert_close(
        (kernel * limit.w).sum(-1), (kernel * start).sum(-1), rtol=0, atol=1e-8
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("eta_lambda", [1e-3, 1.0])
def test_the_shared_kernel_is_that_of_the_singular_values_which_clear_pairs_do_not_need(
    monkeypatch,
    dtype,
    eta_lambda,
):
    random, seen = torch.Generator().manual_seed(2), []
    smallest = torch.tensor([0.0, 1e-14, 1e-10, 1e-6, 1e-3, 0.1], dtype=torch.float64)
    turned = torch.linalg.qr(normal(random, 4, 4)).Q
    spectra = torch.cat(
        [torch.tensor([1.0, 0.6, 0.3]).expand(6, 3), smallest.unsqueeze(-1)], dim=-1
    )
    s = (turned @ torch.diag_embed(spectra) @ turned.T).to(dtype)
    A, B = (
        torch.eye(4, dtype=dtype) - eta_lambda * s,
        torch.eye(4, dtype=dtype) - eta_lambda / 2 * s,
    )
    agents = [
        Affine(M, torch.zeros(6, 4, dtype=dtype), torch.zeros(4, dtype=dtype))
        for M in (A, B)
    ]
    singular = torch.linalg.svdvals(
        torch.cat([torch.eye(4, dtype=dtype) - M for M in (A, B)], dim=-2)
    )
    zero = singular <= (KERNEL_TOLERANCE * singular[..., :1]).clamp_min(rounding(A))
    svd = torch.linalg.svd
    monkeypatch.setattr(
        torch.linalg, "svd", lambda M, **how: seen.append(len(M)) or svd(M, **how)
    )
    assert equilibrium(*agents).shared_kernel.tolist() == zero.sum(-1).tolist()
    assert zero.any(-1).sum() <= seen[0] < len(smallest)


@pytest.mark.parametrize("batch", [(), (1,), (1000,), (2, 1)])
@pytest.mark.parametrize(("moved", "nullity"), [(4e-15, 1), (1e-13, 0)])
def test_what_counts_as_rounding_does_not_depend_on_the_size_of_the_batch(
    batch, moved, nullity
):
    moves = torch.tensor([1e-3, 1e-3, 1e-3, moved], dtype=torch.float64)
    A = torch.eye(4, dtype=torch.float64) - torch.diag(moves).expand(*batch, 4, 4)
    still = torch.zeros(4, dtype=torch.float64)
    kernel = equilibrium(*[Affine(A, still.expand(*batch, 4), still)] * 2).shared_kernel
    assert kernel.shape == batch and (kernel == nullity).all()


def test_pairs_of_one_batch_with_and_without_a_shared_kernel_are_what_they_are_alone():
    random = torch.Generator().manual_seed(1)
    turned = torch.linalg.qr(normal(random, 5, 5)).Q
    spectra = torch.tensor(
        [[1.0, 0.6, 0.3, 0.1, last] for last in (0.0, 0.1, 1e-8, 0.0)],
        dtype=torch.float64,
    )
    s = turned @ torch.diag_embed(spectra) @ turned.T
    agents = [
        GradientAgent(
            prompt_with_covariance(s, normal(random, 4, 5), 6, generator=random), 0.9
        )
        for _ in range(2)
    ]
    start = normal(random, 4, 5)
    limit = equilibrium(*agents, start)
    assert limit.shared_kernel.tolist() == [1, 0, 0, 1]
    for i in range(4):
        alone = equilibrium(*(agent[i : i + 1] for agent in agents), start[i])
        # Rounding over 1e-8.
        torch.testing.assert_close(limit.w[i], alone.w[0], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(limit.rate[i], alone.rate[0], rtol=1e-12, atol=0)


@settings(max_examples=50)
@given(
    seed=SEEDS,
    d=DIMENSIONS,
    condition=CONDITIONS,
    eta_w=st.floats(0.01, 1.0),
    eta_u=st.floats(0.01, 1.0),
)
def test_spectrum_of_the_composed_map_is_real_and_between_0_and_1(
    seed, d, condition, eta_w, eta_u
):
    random = torch.Generator().manual_seed(seed)
    (A, _), (B, _) = (
        random_agent(random, d, condition, eta).affine() for eta in (eta_w, eta_u)
    )
    eigenvalues = torch.linalg.eigvals(A @ B)
    assert eigenvalues.imag.abs().max() <= 1e-7
    values, vectors = torch.linalg.eigh(A)
    root = vectors * values.clamp_min(0).sqrt().unsqueeze(-2) @ vectors.mT
    similar = torch.linalg.eigvalsh(root @ B @ root)
    torch.testing.assert_close(
        eigenvalues.real.sort().values, similar, rtol=0, atol=1e-7
    )
    assert similar.min() >= -1e-12 and similar.max() < 1


@settings(max_examples=50)
@given(
    seed=SEEDS,
    d=st.integers(2, 8),
    shared=st.integers(0, 3),
    eta_w=st.floats(0.1, 1.0),
    eta_u=st.floats(0.1, 1.0),
)
def test_rho_is_one_iff_the_kernels_meet(seed, d, shared, eta_w, eta_u):
    random = torch.Generator().manual_seed(seed)
    frame = torch.linalg.qr(normal(random, d, d)).Q[:, : max(d - shared, 1)]
    # Inside the frame each agent has over half of the directions, so there the kernels
    # meet in zero only.
    rank = frame.shape[-1] // 2 + 1
    agents = [
        random_agent(random, d, 3.0, eta, rank=rank, frame=frame)
        for eta in (eta_w, eta_u)
    ]
    (A, _), (B, _) = (agent.affine() for agent in agents)
    radius = torch.linalg.eigvals(A @ B).abs().amax(-1)
    off_one = (radius - 1).abs()
    meets = frame.shape[-1] < d
    assert (equilibrium(*agents).shared_kernel == d - frame.shape[-1]).all()
    assert (off_one <= 1e-12).all() if meets else (radius < 1).all()


@settings(max_examples=50)
@given(
    seed=SEEDS,
    d=st.integers(2, 8),
    condition=CONDITIONS,
    eta_w=st.floats(0.05, 1.0),
    eta_u=st.floats(0.05, 1.0),
)
def test_aligned_errors_stay_below_the_bound(seed, d, condition, eta_w, eta_u):
    random = torch.Generator().manual_seed(seed)
    agent_w = random_agent(random, d, condition, eta_w)
    other = random_agent(random, d, condition, eta_u)
    agent_u = GradientAgent(
        Prompt(other.prompt.inputs, agent_w.target), other.step_size
    )
    start = normal(random, d)
    errors = interact([agent_w, agent_u], start, turns=60).errors()[..., 0]
    rate = equilibrium(agent_w, agent_u).rate
    bound = vector_norm(start - agent_w.target, dim=-1, keepdim=True) * rate.unsqueeze(
        -1
    ) ** torch.arange(60)
    assert (errors <= bound * (1 + 1e-9) + 1e-12).all()


def test_rate_is_the_slope_of_the_simulated_error():
    random = torch.Generator().manual_seed(0)
    agents = [random_agent(random, 3, 20.0, 0.5, shape=(300,)) for _ in range(2)]
    limit = equilibrium(*agents)
    (A, _), (B, _) = (agent.affine() for agent in agents)
    spectrum = torch.linalg.eigvals(A @ B).abs().sort(descending=True).values
    # Pairs whose slowest mode is alone by turn 60 and far above rounding at turn 100.
    clear = (spectrum[:, 1] / spectrum[:, 0] < 0.8) & (spectrum[:, 0] > 0.9)
    assert clear.sum() > 20
    gap = interact(agents, normal(random, 3), turns=100).by_agent(
        0
    ) - limit.w.unsqueeze(-2)
    distance = vector_norm(gap, dim=-1)
    slope = (distance[:, 99] / distance[:, 59]) ** (1 / 40)
    torch.testing.assert_close(slope[clear], limit.rate[clear], rtol=1e-5, atol=0)


@settings(max_examples=20)
@given(
    seed=SEEDS,
    d=st.integers(2, 8),
    condition=CONDITIONS,
    eta_w=STABLE,
    eta_u=STABLE,
    blind=st.booleans(),
)
def test_aligned_agents_both_reach_their_target_even_from_prompts_that_are_blind_alone(
    seed, d, condition, eta_w, eta_u, blind
):
    random = torch.Generator().manual_seed(seed)
    rank = d // 2 + 1 if blind else d
    agent_w = random_agent(random, d, condition, eta_w, rank=rank)
    other = random_agent(random, d, condition, eta_u, rank=rank)
    agent_u = GradientAgent(
        Prompt(other.prompt.inputs, agent_w.target), other.step_size
    )
    limit = equilibrium(agent_w, agent_u)
    scale = vector_norm(agent_w.target, dim=-1)
    # Rounding, amplified by the inverse of I - AB.
    well_posed = 1e-13 / (1 - limit.rate)
    assert (vector_norm(limit.error_w, dim=-1) <= scale * well_posed).all()
    assert (vector_norm(limit.error_u, dim=-1) <= scale * well_posed).all()


@settings(max_examples=20)
@given(seed=SEEDS, d=DIMENSIONS, condition=st.floats(1, 10))
def test_small_steps_meet_at_the_joint_minimiser_at_first_order_in_the_step(
    seed, d, condition
):
    random = torch.Generator().manual_seed(seed)
    prompts = [random_agent(random, d, condition).prompt for _ in range(2)]
    (s_w, s_u), (w, u) = (p.covariance for p in prompts), (p.target for p in prompts)
    meeting = small_step_limit(*prompts)
    gap, inverse = u - w, torch.linalg.inv(s_w + s_u)
    torch.testing.assert_close(
        meeting - w, apply(inverse @ s_u, gap), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(
        meeting - u, -apply(inverse @ s_w, gap), rtol=0, atol=1e-12
    )
    gradient = prompts[0].gradient(meeting) + prompts[1].gradient(meeting)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)

    def distances(eta):
        limit = equilibrium(*(GradientAgent(prompt, eta) for prompt in prompts))
        return torch.stack(
            [vector_norm(end - meeting, dim=-1) for end in (limit.w, limit.u)]
        )

    ratio = distances(1e-4) / distances(5e-5)
    torch.testing.assert_close(ratio, torch.full_like(ratio, 2), rtol=0.005, atol=0)


@settings(max_examples=30)
@given(seed=SEEDS, d=DIMENSIONS, condition=st.floats(1, 10), eta=st.floats(0.05, 1.9))
def test_distance_to_the_joint_minimiser_is_the_step_times_the_stated_vector(
    seed, d, condition, eta
):
    random = torch.Generator().manual_seed(seed)
    agent_w, agent_u = agents = [
        random_agent(random, d, condition, eta) for _ in range(2)
    ]
    prompts = [agent.prompt for agent in agents]
    meeting, limit, gap = (
        small_step_limit(*prompts),
        equilibrium(*agents),
        agent_u.target - agent_w.target,
    )

    def distance(own, other, gap):
        p, r, step = own.prompt.covariance, other.prompt.covariance, own.step_size
        return -step * apply(
            torch.linalg.inv(p + r - step * p @ r)
            @ p
            @ r
            @ torch.linalg.inv(p + r)
            @ p,
            gap,
        )

    torch.testing.assert_close(
        limit.w - meeting, distance(agent_w, agent_u, gap), rtol=1e-9, atol=1e-12
    )
    torch.testing.assert_close(
        limit.u - meeting, distance(agent_u, agent_w, -gap), rtol=1e-9, atol=1e-12
    )


@settings(max_examples=50)
@given(
    seed=SEEDS,
    d=DIMENSIONS,
    condition=CONDITIONS,
    eta_w=STABLE,
    eta_u=STABLE,
    share=st.floats(0, 1),
    reach=st.floats(1e-4, 0.99),
)
def test_learned_limits_stay_within_the_bound(
    seed, d, condition, eta_w, eta_u, share, reach
):
    random = torch.Generator().manual_seed(seed)
    agents = [random_agent(random, d, condition, eta) for eta in (eta_w, eta_u)]
    exact, ((A, _), (B, _)) = equilibrium(*agents), (agent.affine() for agent in agents)
    one = torch.eye(d, dtype=torch.float64)
    kappa = torch.linalg.matrix_norm(torch.linalg.inv(one - A @ B), 2)
    learned_w, learned_u = (
        off_by(random, agent, part * reach / kappa)
        for agent, part in zip(agents, (share, 1 - share), strict=True)
    )
    bound = limit_bound(*agents, learned_w, learned_u)
    w = torch.linalg.solve(
        one - learned_w.A @ learned_u.A, learned_w(learned_u.b).unsqueeze(-1)
    ).squeeze(-1)
    assert (vector_norm(w - exact.w, dim=-1) <= bound * (1 + 1e-9)).all()
    assert (vector_norm(learned_u(w) - exact.u, dim=-1) <= bound * (1 + 1e-9)).all()


def test_bound_on_learned_limits_is_attained_by_small_errors():
    random = torch.Generator().manual_seed(0)
    agents = [random_agent(random, 1, eta_lambda=0.5) for _ in range(2)]
    exact, (A, b) = equilibrium(*agents), agents[0].affine()
    # W's worst, along (u, 1).
    error = 1e-8 * torch.cat([exact.u, torch.ones_like(exact.u)], dim=-1)
    learned_w = Affine(A + error[..., :1, None], b + error[..., 1:], agents[0].target)
    moved = vector_norm(equilibrium(learned_w, agents[1]).w - exact.w, dim=-1)
    torch.testing.assert_close(
        moved, limit_bound(*agents, learned_w, agents[1]), rtol=1e-5, atol=0
    )


def test_commuting_geometries_decouple_into_eigendirections():
    random = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(normal(random, 4, 4)).Q
    a, b = (
        torch.linspace(*ends, 4, dtype=torch.float64)
        for ends in ((0.1, 0.9), (0.95, -0.5))
    )
    geometries = [basis * (1 - kept) @ basis.mT for kept in (a, b)]
    agent_w, agent_u = (
        GradientAgent(
            prompt_with_covariance(s, normal(random, 4), 6, generator=random), 1.0
        )
        for s in geometries
    )
    limit, gap = equilibrium(agent_w, agent_u), agent_u.target - agent_w.target
    expected_w, expected_u = a * (1 - b) / (1 - a * b), -b * (1 - a) / (1 - a * b)
    torch.testing.assert_close(
        limit.error_w @ basis, expected_w * (gap @ basis), rtol=1e-12, atol=1e-13
    )
    torch.testing.assert_close(
        limit.error_u @ basis, expected_u * (gap @ basis), rtol=1e-12, atol=1e-13
    )
    torch.testing.assert_close(limit.rate, (a * b).abs().max(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("d", [1, 2])
def test_formulas_of_the_equilibrium_theorem_are_symbolically_the_fixed_point(d):
    def symmetric(name):
        entries = sympy.symbols(f"{name}:{d * (d + 1) // 2}")
        return sympy.Matrix(d, d, lambda i, j: entries[i + j])

    A, B, one = symmetric("a"), symmetric("b"), sympy.eye(d)
    w, u = (sympy.Matrix(sympy.symbols(f"{name}:{d}")) for name in "wu")
    gap = u - w
    # Multiplied by the determinant, which I - AB and I - BA share, all entries are
    # polynomials.
    determinant = (one - A * B).det()
    error_w = (one - A * B).adjugate() * A * (one - B) * gap
    error_u = -(one - B * A).adjugate() * B * (one - A) * gap
    assert (error_w - A * (error_u + determinant * gap)).expand() == sympy.zeros(d, 1)
    assert (error_u - B * (error_w - determinant * gap)).expand() == sympy.zeros(d, 1)


def resistances(*agents: GradientAgent) -> list[torch.Tensor]:
    """(eta S)^{-1} of each agent."""
    return [
        torch.linalg.inv(a.step_size[..., None, None] * a.prompt.covariance)
        for a in agents
    ]


@given(seed=SEEDS, d=DIMENSIONS, condition=CONDITIONS, eta_w=STABLE, eta_u=STABLE)
def test_the_gap_falls_over_three_resistances_in_series(
    seed, d, condition, eta_w, eta_u
):
    random = torch.Generator().manual_seed(seed)
    agents = [random_agent(random, d, condition, eta) for eta in (eta_w, eta_u)]
    w, u = settle(agents, normal(random, d))
    g, identity = u - w, torch.eye(d, dtype=torch.float64)
    r_w, r_u = resistances(*agents)
    gap = agents[1].target - agents[0].target
    slack = 1e-9 * vector_norm(gap, dim=-1, keepdim=True)
    for value, expected in (
        (apply(r_w + r_u - identity, g), gap),
        (apply(r_w - identity, g), w - agents[0].target),
        (-apply(r_u - identity, g), u - agents[1].target),
    ):
        assert ((value - expected).abs() <= slack).all()


@given(
    seed=SEEDS,
    d=DIMENSIONS,
    condition=CONDITIONS,
    eta_w=st.floats(0.01, 1),
    eta_u=st.floats(0.01, 1),
)
def test_the_disagreement_is_no_longer_than_the_gap_and_leans_its_way(
    seed, d, condition, eta_w, eta_u
):
    random = torch.Generator().manual_seed(seed)
    agents = [random_agent(random, d, condition, eta) for eta in (eta_w, eta_u)]
    limit = equilibrium(*agents)
    g, gap = limit.u - limit.w, agents[1].target - agents[0].target
    assert (vector_norm(g, dim=-1) <= vector_norm(gap, dim=-1) * (1 + 1e-9)).all()
    squares = g.square().sum(-1)
    assert ((g * gap).sum(-1) >= squares * (1 - 1e-9)).all()


def test_with_longer_steps_the_disagreement_can_be_longer_than_the_gap():
    one = torch.ones(1, 1, dtype=torch.float64)
    agents = [GradientAgent(Prompt(one, t * one[0]), 1.5) for t in (0, 1)]
    limit = equilibrium(*agents)
    assert (limit.u - limit.w).item() == pytest.approx(3)


@given(
    seed=SEEDS,
    d=DIMENSIONS,
    condition=st.floats(1, 20),
    eta_w=st.floats(0.05, 0.95),
    eta_u=st.floats(0.05, 0.95),
)
def test_each_turn_is_the_block_minimum_of_one_potential(
    seed, d, condition, eta_w, eta_u
):
    random = torch.Generator().manual_seed(seed)
    agents = [random_agent(random, d, condition, eta) for eta in (eta_w, eta_u)]
    stiffness = [
        torch.linalg.inv(r - torch.eye(d, dtype=torch.float64))
        for r in resistances(*agents)
    ]

    def potential(w, u):
        bends = [
            (apply(m, v - a.target) * (v - a.target)).sum(-1) / 2
            for m, v, a in zip(stiffness, (w, u), agents, strict=True)
        ]
        return sum(bends) + (w - u).square().sum(-1) / 2

    w = u = 3 * normal(random, 3, d)
    before = potential(w, u)
    for _ in range(3):
        for i, agent in enumerate(agents):
            pair = [w, u]
            pair[i] = agent(pair[1 - i]).requires_grad_()
            (slope,) = torch.autograd.grad(potential(*pair).sum(), pair[i])
            assert slope.abs().max() < 1e-8
            w, u = (v.detach() for v in pair)
            after = potential(w, u)
            assert (after <= before + 1e-9 * (1 + before)).all()
            before = after
    limit = equilibrium(*agents)
    gap, g = agents[1].target - agents[0].target, limit.u - limit.w
    torch.testing.assert_close(
        potential(limit.w, limit.u), (g * gap).sum(-1) / 2, rtol=1e-8, atol=1e-10
    )


def test_the_smallest_example_is_done_in_the_head():
    """Targets 0 and 1, both half way: 0, 1/2; 1/4, 5/8; 5/16, 21/32; to 1/3, 2/3."""
    one = torch.ones(1, 1, dtype=torch.float64)
    agents = [GradientAgent(Prompt(one, t * one[0]), 0.5) for t in (0, 1)]
    messages = interact(agents, torch.zeros(1), 3).messages[1:, 0]
    assert messages.tolist() == [0, 1 / 2, 1 / 4, 5 / 8, 5 / 16, 21 / 32]
    limit = equilibrium(*agents)
    assert limit.w.item() == pytest.approx(1 / 3)
    assert limit.u.item() == pytest.approx(2 / 3)
    assert limit.rate.item() == pytest.approx(1 / 4)


def test_one_geometry_serves_a_batch_of_targets_steps_and_starts():
    random = torch.Generator().manual_seed(0)
    d = 3
    agents = []
    for step_size in (0.3, torch.tensor([[0.2], [0.4]], dtype=torch.float64)):
        s = random_covariance(d, 5.0, generator=random)
        prompt = prompt_with_covariance(s, normal(random, d, d), 5, generator=random)
        agents.append(GradientAgent(Prompt(prompt.inputs[0], prompt.target), step_size))
    for pair in (agents, [agents[0], agents[0]], agents[::-1]):
        start = normal(random, 2, d, d)
        limit = equilibrium(*pair, start)
        w, u = settle(pair, start)
        assert_relative(limit.w, w, 1e-10)
        assert_relative(limit.u, u, 1e-10)
    prompts = [agent.prompt for agent in agents]
    singles = [
        small_step_limit(*(Prompt(p.inputs, p.target[i]) for p in prompts))
        for i in range(d)
    ]
    torch.testing.assert_close(
        small_step_limit(*prompts), torch.stack(singles), rtol=1e-12, atol=1e-13
    )


def test_a_batch_of_targets_has_as_many_rates_and_an_empty_batch_none():
    random = torch.Generator().manual_seed(0)
    inputs = normal(random, 8, 3)
    for batch in ((5,), (2, 5), (0,)):
        pair = [
            GradientAgent(Prompt(inputs, normal(random, *batch, 3)), 0.1)
            for _ in range(2)
        ]
        limit = equilibrium(*pair)
        assert (
            limit.w.shape == (*batch, 3)
            and limit.rate.shape == limit.shared_kernel.shape == batch
        )
        assert (
            limit.rate
            == equilibrium(
                *(GradientAgent(Prompt(inputs, torch.zeros(3)), 0.1),) * 2
            ).rate
        ).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_small_step_limit_is_made_of_rounding(dtype):
    for seed in range(20):
        random = torch.Generator().manual_seed(seed)
        with pytest.raises(ValueError, match="prompts was a pair whose kernels meet"):
            small_step_limit(
                *(
                    Prompt(normal(random, 2, 6).to(dtype), normal(random, 6).to(dtype))
                    for _ in range(2)
                )
            )


def test_lsa_agents_of_the_construction_settle_where_gradient_agents_do():
    random = torch.Generator().manual_seed(0)
    agents = [random_agent(random, 4, eta_lambda=0.8) for _ in range(2)]
    layer = gradient_descent_weights(4, 0.8 / LARGEST)
    exact, layers = (
        equilibrium(*agents),
        equilibrium(*(LSAAgent(layer, agent.prompt) for agent in agents)),
    )
    assert_relative(layers.w, exact.w, 1e-12)
    assert_relative(layers.u, exact.u, 1e-12)


def test_an_equilibrium_is_kept_as_it_was_made_and_equals_itself_alone():
    pair = [random_agent(torch.Generator().manual_seed(0), 3) for _ in range(2)]
    one, other = (equilibrium(*pair) for _ in range(2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.w = other.w
    assert one == one and one != other and len({one, other, one}) == 2


def test_bad_pairs_are_named():
    random = torch.Generator().manual_seed(0)
    agent = random_agent(random, 3)
    unstable = random_agent(random, 3, eta_lambda=50.0)
    with pytest.raises(
        ValueError, match="agents was a pair with spectral radius .* below 1 off"
    ):
        equilibrium(agent, unstable)
    with pytest.raises(
        ValueError,
        match="agent_u was of dimension 2; it must be of agent_w's dimension 3",
    ):
        equilibrium(agent, random_agent(random, 2))
    with pytest.raises(
        ValueError,
        match="agent_u was of dimension 4; it must be of agent_w's dimension 3",
    ):
        equilibrium(agent, random_agent(random, 4))
    single = GradientAgent(Prompt(torch.eye(3), torch.zeros(3)), 0.5)
    with pytest.raises(
        ValueError, match="agent_u was of torch.float32; .* agent_w's torch.float64"
    ):
        equilibrium(agent, single)
    with pytest.raises(
        ValueError, match=r"agent_w and agent_u was of leading shapes \(3,\), \(2,\)"
    ):
        equilibrium(
            *(
                GradientAgent(Prompt(torch.eye(3), torch.zeros(n, 3)), 0.5)
                for n in (3, 2)
            )
        )
    with pytest.raises(ValueError, match="agent_w and agent_u was of leading shapes"):
        equilibrium(agent, random_agent(random, 3, shape=(2,)))
    with pytest.raises(
        ValueError, match=r"start was of shape \(2,\); it must be of shape \(..., 3\)"
    ):
        equilibrium(agent, agent, torch.zeros(2))
    with pytest.raises(ValueError, match="agents and start was of leading shapes"):
        equilibrium(agent, agent, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="start was not finite"):
        equilibrium(agent, agent, torch.full((3,), math.nan))
    with pytest.raises(
        ValueError, match="learned_w and learned_u was off by .*; it must be so close"
    ):
        limit_bound(agent, agent, off_by(random, agent, 10.0), agent)
    with pytest.raises(
        ValueError,
        match="prompt_u was of dimension 2; it must be of prompt_w's dimension 3",
    ):
        small_step_limit(agent.prompt, random_agent(random, 2).prompt)
    with pytest.raises(ValueError, match="prompt_u was of dimension 4"):
        small_step_limit(agent.prompt, random_agent(random, 4).prompt)
    with pytest.raises(
        ValueError, match=r"prompt_w and prompt_u was of leading shapes \(3,\), \(2,\)"
    ):
        small_step_limit(agent.prompt, random_agent(random, 3, shape=(2,)).prompt)
    nothing = Prompt(torch.zeros(1, 3), torch.zeros(3))
    with pytest.raises(ValueError, match="prompts was a pair whose kernels meet"):
        small_step_limit(nothing, nothing)
    with pytest.raises(ValueError, match="prompts was a pair whose kernels meet"):
        small_step_limit(*(random_agent(random, 3, rank=1).prompt for _ in range(2)))


def test_errors_that_reach_as_far_as_the_bound_are_refused():
    # Both agents forget everything, so kappa is 1 and W's error is all there is.
    still = torch.zeros(1, dtype=torch.float64)
    exact = Affine(torch.zeros(1, 1, dtype=torch.float64), still, still)
    for error, fits in ((0.75, True), (1.0, False), (1.5, False)):
        for pair in ((0, error), (error, 0), (error / 2, error / 2)):
            learned = [Affine(exact.A + part, still, still) for part in pair]
            if fits:
                assert limit_bound(exact, exact, *learned).item() == pytest.approx(
                    error / (1 - error), rel=1e-12
                )
            else:
                with pytest.raises(
                    ValueError,
                    match=f"off by up to {error:.3g} times the bound's reach",
                ):
                    limit_bound(exact, exact, *learned)


def test_expanding_maps_widen_the_bound_on_learned_limits_by_their_norm():
    still = torch.zeros(2, dtype=torch.float64)
    wide = Affine(torch.tensor([[0.0, 4.0], [0.0, 0.0]]).double(), still, still)
    null = Affine(torch.zeros(2, 2, dtype=torch.float64), still, still)
    # I - A B = I, so kappa is the larger norm, and W and U both end at zero.
    for pair in ((wide, null), (null, wide)):
        learned = [off_by(torch.Generator().manual_seed(0), one, 2**-7) for one in pair]
        assert limit_bound(*pair, *learned).item() == pytest.approx(1 / 15, rel=1e-12)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e5])
def test_a_drift_in_the_shared_kernel_is_judged_by_the_size_of_the_offset(size):
    half = torch.diag(torch.tensor([1.0, 0.5], dtype=torch.float64))
    still = torch.zeros(2, dtype=torch.float64)
    for share, fits in ((0.5e-6, True), (2e-6, False)):
        offset = torch.tensor([share * max(size, 1), size], dtype=torch.float64)
        pair = Affine(half, offset, still), Affine(half, still, still)
        if fits:
            limit = equilibrium(*pair)
            assert limit.w.tolist() == pytest.approx([0, size / 0.75], rel=1e-12)
        else:
            with pytest.raises(ValueError, match="drifts by .* in its shared kernel"):
                equilibrium(*pair)


def test_a_leak_from_the_shared_kernel_is_left_alone_up_to_a_millionth():
    half = torch.diag(torch.tensor([1.0, 0.5], dtype=torch.float64))
    still = torch.zeros(2, dtype=torch.float64)
    quiet = Affine(half, still, still)
    for leak, fits in ((5e-7, True), (-5e-7, True), (2e-6, False), (-2e-6, False)):
        moved = half.clone()
        moved[0, 1] = leak
        feeding = Affine(moved, still, still)
        for pair in ((feeding, quiet), (quiet, feeding)):
            if fits:
                assert equilibrium(*pair).shared_kernel == 1
            else:
                with pytest.raises(
                    ValueError, match="feeds its shared kernel by 2e-06"
                ):
                    equilibrium(*pair)


def test_a_pair_that_only_turns_a_message_round_does_not_converge():
    still = torch.zeros(1, dtype=torch.float64)
    turning, echo = (
        Affine(torch.full((1, 1), sign, dtype=torch.float64), still, still)
        for sign in (-1.0, 1.0)
    )
    for pair in ((turning, echo), (echo, turning)):
        with pytest.raises(ValueError, match="a pair with spectral radius 1; it must"):
            equilibrium(*pair)


def test_affine_maps_that_move_the_shared_kernel_are_refused():
    half = torch.diag(torch.tensor([1.0, 0.5], dtype=torch.float64))
    still = torch.zeros(2, dtype=torch.float64)
    feeding = torch.tensor([[1.0, 0.3], [0.0, 0.5]], dtype=torch.float64)
    with pytest.raises(
        ValueError, match="agents was a pair that feeds its shared kernel by 0.3"
    ):
        equilibrium(Affine(feeding, still, still), Affine(half, still, still))
    drifting = torch.tensor([1.0, 0.0], dtype=torch.float64)
    with pytest.raises(
        ValueError,
        match="agents was a pair that drifts by 1 a round in its shared kernel",
    ):
        equilibrium(Affine(half, drifting, still), Affine(half, still, still))


@settings(max_examples=30)
@given(seed=SEEDS, d=DIMENSIONS, condition=st.floats(1, 10), eta=st.floats(0.1, 0.9))
def test_distance_to_the_equilibrium_shrinks_by_rho_in_the_long_run(
    seed, d, condition, eta
):
    random = torch.Generator().manual_seed(seed)
    agents = [random_agent(random, d, condition, eta) for _ in range(2)]
    limit, ((A, _), (B, _)) = equilibrium(*agents), (agent.affine() for agent in agents)
    values, vectors = torch.linalg.eig(A @ B)
    slowest = vectors.real.gather(
        -1, values.real.argmax(-1)[..., None, None].expand(*vectors.shape[:-1], 1)
    )[..., 0]
    values, vectors = torch.linalg.eigh(A)
    # In A^{-1/2} e the round is symmetric.
    unroot = vectors * values.rsqrt().unsqueeze(-2) @ vectors.mT

    def factors(start):
        away = interact(agents, start, 8).by_agent(0) - limit.w.unsqueeze(-2)
        distance = vector_norm(away @ unroot, dim=-1)
        return distance[..., 1:] / distance[..., :-1]

    # Along the slowest eigenvector the factor is rho at once; any other start climbs
    # towards it.
    rho = limit.rate.unsqueeze(-1)
    assume((rho > 0.1).all())  # eight rounds of less leave rounding only
    torch.testing.assert_close(
        factors(limit.u + apply(B, slowest)), rho.expand(3, 7), rtol=1e-6, atol=0
    )
    climbing = factors(normal(random, d))
    assert (climbing <= rho * (1 + 1e-6)).all()
    assert (climbing.diff(dim=-1) >= -1e-6).all()
