"""Where an exchange of two affine agents settles, and how fast: closed forms.

With agent maps v -> A v + a for W and v -> B v + b for U, the alternation w <- A u + a, u <- B w + b has
the limit w = (I - A B)^{-1} (A b + a). For gradient agents, A = I - eta_W S_W and B = I - eta_U S_U, this is
the biased equilibrium of theory section 4:

    e_W = (I - A B)^{-1} A (I - B) Delta,   e_U = -(I - B A)^{-1} B (I - A) Delta,   Delta = u* - w*.

The plateau as a function of the angle (theory section 5): targets w* = first and
u* = cos(theta) first + sin(theta) second have a gap of norm 2 sin(theta/2). The bias is linear in it,
e_W = M Delta, so the plateau is ||e_W||^2 = Delta' G Delta with G = M'M. For targets of norm r it is r^2 times
that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import matrix_norm, vector_norm

from . import _checks
from ._linear import apply
from .agents import AffineAgent
from .prompts import Prompt

KERNEL_TOLERANCE = 1e-12  # singular values of [I - A; I - B] below this, relative, or rounding count as zero
LEFT_ALONE = 1e-6  # what turns may move in the shared kernel: above a trained layer's error, and rounding in float32


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """The limit of an alternation of two agents.

    Attributes:
        w, u: the limits of W's and of U's messages, shape (..., d).
        error_w, error_u: w - w* and u - u*, shape (..., d).
        rate: spectral radius of A B off the shared kernel, the factor by which a turn of both shrinks the
            distance to the equilibrium in the long run, shape (...).
        shared_kernel: dimension of ker(I - A) with ker(I - B), where neither agent moves a message,
            shape (...). Where it is positive rho(A B) = 1 and the start's part in it stays for ever.
    """

    w: Tensor
    u: Tensor
    error_w: Tensor
    error_u: Tensor
    rate: Tensor
    shared_kernel: Tensor


def equilibrium(agent_w: AffineAgent, agent_u: AffineAgent, start: Tensor | None = None) -> Equilibrium:
    """The biased equilibrium of two affine agents, exact where their prompts share a kernel too.

    Args:
        agent_w: the agent that replies to the start.
        agent_u: the agent that replies to it.
        start: the first message u_0, shape (..., d); only its part in the shared kernel matters. Zero when
            not given.

    Raises:
        ValueError: agents of different dimensions or of batches that do not broadcast; a start that does
            not fit them; an alternation that does not converge: rho(A B) >= 1 off the shared kernel, or
            turns that move the part in it, as no gradient agent's do.
    """
    A, B, a, b = _affine_parts(agent_w, agent_u)
    d = A.shape[-1]
    start = A.new_zeros(d) if start is None else _checks.real_tensor("start", start, like=A)
    _checks.last_dimension("start", start, d)
    _checks.broadcast_shapes(agents=A.shape[:-2], start=start.shape[:-1])

    kept, nullity, rate = _round(A, B)
    identity = torch.eye(d, dtype=A.dtype, device=A.device)
    offset = apply(A, b) + a
    drift = apply(kept, offset).abs().amax(-1)
    if (drift > LEFT_ALONE * offset.abs().amax(-1).clamp_min(1)).any():
        raise _checks.bad("agents", f"a pair that drifts by {drift.max().item():.2g} a round in its shared kernel",
                          "a pair whose turns leave the part in their shared kernel alone")
    moving = _solve(identity - A @ B + kept, offset - apply(kept, offset))
    w = moving + apply(kept, start)
    u = apply(B, w) + b
    error_w, error_u = w - agent_w.target, u - agent_u.target
    batch = w.shape[:-1]  # the targets' dimensions too, of which rate and kernel know nothing
    return Equilibrium(w, u, error_w, error_u, rate.expand(batch), nullity.expand(batch))


@dataclass(frozen=True, eq=False)
class Limits:
    """The limits of N agents' messages under a protocol.

    Attributes:
        messages: the limit of each agent's message, shape (..., N, d).
        errors: its difference to the agent's own target, shape (..., N, d).
        rate: spectral radius of one round, shape (...).
    """

    messages: Tensor
    errors: Tensor
    rate: Tensor


def ring_equilibrium(agents: Sequence[AffineAgent]) -> Limits:
    """Where N agents that reply in a ring settle: the fixed point of the composition of their maps.

    Args:
        agents: one or more, in the order in which they reply.

    Raises:
        ValueError: no agents, dimensions or batches that do not fit, a round that does not contract (a
            shared kernel included; for two agents `equilibrium` handles one).
    """
    maps = _maps(agents)
    turn, offset = maps[0]
    for A, a in maps[1:]:
        turn, offset = A @ turn, apply(A, offset) + a
    message, rate = _fixed_point(turn, offset)
    messages = []
    for A, a in maps:
        message = apply(A, message) + a
        messages.append(message)
    return _limits(agents, messages, rate)


def simultaneous_equilibrium(agents: Sequence[AffineAgent]) -> Limits:
    """Where agents that all reply to the mean of their last replies settle.

    The shared message is the fixed point of the mean of their maps, and the mean of `messages`. For gradient
    agents of one step it minimises the sum of the objectives, each times its step size.

    Raises:
        ValueError: as `ring_equilibrium`.
    """
    maps = _maps(agents)
    mean, offset = (sum(parts) / len(maps) for parts in zip(*maps, strict=True))
    message, rate = _fixed_point(mean, offset)
    return _limits(agents, [apply(A, message) + a for A, a in maps], rate)


def stationary_covariance(agents: Sequence[AffineAgent], noise: float) -> Tensor:
    """The covariance of each agent's messages in a ring where every message sent carries white noise.

    After a round with linear part M the last agent's covariance solves the discrete Lyapunov equation
    C = M C M' + Q, with Q what the noise of one round adds up to; each agent turns C into A C A' + noise^2 I.

    Args:
        agents: one or more, in the order in which they reply.
        noise: standard deviation of the noise on every entry, positive.

    Returns:
        Covariances of shape (..., N, d, d), the messages of agent i under i.

    Raises:
        ValueError: noise that is not positive; as `ring_equilibrium`.
    """
    maps = _maps(agents)
    identity = torch.eye(maps[0][0].shape[-1], dtype=maps[0][0].dtype, device=maps[0][0].device)
    white = _checks.finite_number("noise", noise, above=0) ** 2 * identity
    turn, added = identity, torch.zeros_like(identity)
    for A, _ in maps:
        turn, added = A @ turn, A @ added @ A.mT + white
    _contraction(turn)
    covariance = _lyapunov(turn, added)
    covariances = []
    for A, _ in maps:
        covariance = A @ covariance @ A.mT + white
        covariances.append(covariance)
    return torch.stack(covariances, dim=-3)


def redrawn_plateau(step: float | Tensor, examples: int, d: int) -> Tensor:
    """The mean square error of two agents that redraw their prompts each turn, relative to the squared gap.

    Both draw `examples` Gaussian examples of covariance lambda I. With x = eta lambda, the mean of a step is
    a = 1 - x, its mean square growth is g = (1 - x)^2 + x^2 (d + 1) / examples, and the exchange has
    E ||e_W||^2 = E ||e_U||^2 = g (1 - a) / ((1 - g) (1 + a)) ||Delta||^2 in the long run.

    Args:
        step: eta lambda, any shape.
        examples: number of examples in each prompt.
        d: dimension.

    Returns:
        The shape of `step`, float64.

    Raises:
        ValueError: a step that is not positive, or one with g >= 1, where the mean square error diverges.
    """
    x = _checks.positive("step", step).to(torch.float64)
    growth = (1 - x) ** 2 + x**2 * (_checks.count("d", d) + 1) / _checks.count("examples", examples)
    if (growth >= 1).any():
        raise _checks.bad("step", f"{x.max().item():g}", f"below 2 / (1 + (d + 1) / examples) = "
                                                        f"{2 / (1 + (d + 1) / examples):g}")
    return growth * x / ((1 - growth) * (2 - x))


def small_step_limit(prompt_w: Prompt, prompt_u: Prompt) -> Tensor:
    """The common limit of both agents as equal step sizes go to zero (theory section 4).

    It minimises L_W + L_U: (S_W + S_U)^{-1} (S_W w* + S_U u*), shape (..., d).

    Raises:
        ValueError: prompts of different dimensions, or ones whose kernels meet, where the minimiser is not
            unique.
    """
    d = prompt_w.dimension
    if prompt_u.dimension != d:
        raise _checks.bad("prompt_u", f"of dimension {prompt_u.dimension}", f"of prompt_w's dimension {d}")
    s_w, s_u = prompt_w.covariance, prompt_u.covariance
    _checks.broadcast_shapes(prompt_w=prompt_w.gram.shape[:-2], prompt_u=prompt_u.gram.shape[:-2])
    eigenvalues = torch.linalg.eigvalsh(s_w + s_u)
    if (eigenvalues[..., 0] <= negligible(s_w) * eigenvalues[..., -1]).any():
        raise _checks.bad("prompts", "a pair whose kernels meet", "a pair with S_W + S_U positive definite")
    return _solve(s_w + s_u, apply(s_w, prompt_w.target) + apply(s_u, prompt_u.target))


def limit_bound(
    agent_w: AffineAgent, agent_u: AffineAgent, learned_w: AffineAgent, learned_u: AffineAgent
) -> Tensor:
    """How far the limits of two learned agents can be from those of the exact agents that they imitate.

    Let delta_W = ||[A' - A, a' - a]||_F be the error of W's learned map, delta_U that of U's, kappa the larger
    norm of (I - A B)^{-1} and (I - B A)^{-1}, and all norms of A and B at most 1 (kappa grows by them otherwise).
    Where kappa (delta_W + delta_U) < 1, both distances are at most

        kappa (delta_W sqrt(1 + ||u||^2) + delta_U sqrt(1 + ||w||^2)) / (1 - kappa (delta_W + delta_U)).

    Args:
        agent_w, agent_u: the exact pair, which has no shared kernel.
        learned_w, learned_u: the learned one, with the same leading shapes.

    Returns:
        The bound on both ||w' - w|| and ||u' - u||, shape (...).

    Raises:
        ValueError: learned errors too large for the bound, kappa (delta_W + delta_U) >= 1; as `equilibrium`.
    """
    limit = equilibrium(agent_w, agent_u)
    A, B, a, b = _affine_parts(agent_w, agent_u)
    learned_A, learned_B, learned_a, learned_b = _affine_parts(learned_w, learned_u)
    delta_w = torch.hypot(matrix_norm(learned_A - A), vector_norm(learned_a - a, dim=-1))
    delta_u = torch.hypot(matrix_norm(learned_B - B), vector_norm(learned_b - b, dim=-1))
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    largest_norm = torch.maximum(matrix_norm(A, 2), matrix_norm(B, 2)).clamp_min(1)
    kappa = largest_norm / torch.minimum(matrix_norm(identity - A @ B, -2), matrix_norm(identity - B @ A, -2))
    contraction = kappa * (delta_w + delta_u)
    if not (contraction < 1).all():
        raise _checks.bad("learned_w and learned_u", f"off by up to {contraction.max().item():.3g} times the bound's "
                          "reach", "so close to the exact agents that kappa (delta_W + delta_U) < 1")
    one = torch.ones_like(kappa)
    size_w, size_u = (torch.hypot(one, vector_norm(x, dim=-1)) for x in (limit.w, limit.u))
    return kappa * (delta_w * size_u + delta_u * size_w) / (1 - contraction)


def plateau_vs_angle(
    agent_w: AffineAgent, agent_u: AffineAgent, first: Tensor, second: Tensor, angles: Tensor
) -> tuple[Tensor, Tensor]:
    """Squared errors of both agents at equilibrium, for targets that open up in one plane.

    Of the agents only the linear parts A and B count: their own targets are replaced. Where both are blind
    to a direction, the gap's part in it is left out, as the start decides what stays there.

    Args:
        agent_w, agent_u: the pair, with leading shapes that broadcast.
        first, second: orthonormal directions, shape (..., d).
        angles: theta in radians, from 0 to pi, shape (m,).

    Returns:
        (||e_W||^2, ||e_U||^2) for targets of norm 1, each of shape (..., m).

    Raises:
        ValueError: directions that are not orthonormal, angles outside [0, pi] or not of shape (m,), shapes
            that do not match, a pair that does not converge.
    """
    m_w, m_u = _bias_matrix(agent_w, agent_u), _bias_matrix(agent_u, agent_w)
    d = m_w.shape[-1]
    first = _checks.last_dimension("first", _checks.real_tensor("first", first, like=m_w), d)
    second = _checks.last_dimension("second", _checks.real_tensor("second", second, like=m_w), d)
    _checks.broadcast_shapes(agents=m_w.shape[:-2], first=first.shape[:-1], second=second.shape[:-1])
    off = max(((a * b).sum(-1) - expected).abs().max().item()
              for a, b, expected in ((first, first, 1), (second, second, 1), (first, second, 0)))
    if off > 100 * d * torch.finfo(m_w.dtype).eps:
        raise _checks.bad("first and second", f"off by {off:.3g}", "orthonormal")
    half = _angles(angles, like=m_w).unsqueeze(-1) / 2
    # cos(theta) - 1 would lose the digits of small angles.
    gap = 2 * half.sin() * (half.cos() * second.unsqueeze(-2) - half.sin() * first.unsqueeze(-2))
    return (gap @ m_w.mT).square().sum(-1), (gap @ m_u.mT).square().sum(-1)


def plateau_matrix(agent_w: AffineAgent, agent_u: AffineAgent) -> Tensor:
    """G with ||e_W||^2 = Delta' G Delta, shape (..., d, d); plateau_matrix(agent_u, agent_w) is that of U.

    Raises:
        ValueError: a pair that does not converge, or whose shapes do not match.
    """
    m = _bias_matrix(agent_w, agent_u)
    return m.mT @ m


def expected_plateau(G: Tensor, angles: Tensor) -> Tensor:
    """E ||e_W||^2 = 4 sin^2(theta/2) tr(G) / d over random orientations of the two targets, of norm 1.

    Args:
        G: plateau matrices, shape (..., d, d).
        angles: theta in radians, from 0 to pi, shape (m,).

    Returns:
        Shape (..., m).

    Raises:
        ValueError: G not symmetric positive semi-definite, angles outside [0, pi] or not of shape (m,).
    """
    G = _checks.covariance("G", G)
    mean = G.diagonal(dim1=-2, dim2=-1).mean(-1)
    return 4 * (_angles(angles, like=G) / 2).sin().square() * mean.unsqueeze(-1)


def monotone_angle_limit(condition_number: float | Tensor) -> Tensor:
    """The largest angle up to which no orientation lets the plateau decrease.

    theta_max = 2 arctan(2 sqrt(kappa) / (kappa - 1)), which is 4 arctan(1 / sqrt(kappa)), so pi at kappa = 1.

    Args:
        condition_number: kappa of G, any shape.

    Returns:
        Radians, float64, in the shape of the argument.

    Raises:
        ValueError: a condition number below 1 or not finite.
    """
    kappa = _checks.real_tensor("condition_number", condition_number).to(torch.float64)
    if (kappa < 1).any():
        raise _checks.bad("condition_number", f"{kappa.min().item():g}", "at least 1")
    return 4 * kappa.rsqrt().atan()


def worst_orientation(G: Tensor) -> tuple[Tensor, Tensor]:
    """The pair of directions for which the plateau decreases right after theta_max = monotone_angle_limit(cond G).

    With e1 = Delta / ||Delta|| and e2 = 2 de1/dtheta, the plateau's slope has the sign of
    cos(theta/2) e1'Ge1 + sin(theta/2) e1'Ge2. Against e1'Ge1 the second term is the most negative where
    e1 = cos(phi) v_min + sin(phi) v_max, e2 = sin(phi) v_min - cos(phi) v_max and tan(phi) = 1 / sqrt(kappa), with
    v_min and v_max the extreme eigenvectors of G; the slope is then zero at theta_max = 4 phi. To have this e1
    at that angle, first = cos(3 phi) v_max - sin(3 phi) v_min and second = sin(3 phi) v_max + cos(3 phi) v_min.

    Args:
        G: plateau matrices, positive definite and not proportional to the identity, shape (..., d, d).

    Returns:
        (first, second), orthonormal, each of shape (..., d).

    Raises:
        ValueError: G not symmetric positive definite, or proportional to the identity, where the plateau
            never decreases (d = 1 among them).
    """
    G = _checks.covariance("G", G)
    eigenvalues, eigenvectors = torch.linalg.eigh(G)
    lowest, highest = eigenvalues[..., 0], eigenvalues[..., -1]
    slack = 100 * G.shape[-1] * torch.finfo(G.dtype).eps * highest
    if (lowest <= slack).any():
        raise _checks.bad("G", f"singular, with the eigenvalue {lowest.min().item():.3g}", "positive definite")
    if (highest - lowest <= slack).any():
        raise _checks.bad("G", "proportional to the identity", "anisotropic")
    triple = (3 * (lowest / highest).sqrt().atan()).unsqueeze(-1)
    v_min, v_max = eigenvectors[..., 0], eigenvectors[..., -1]
    return triple.cos() * v_max - triple.sin() * v_min, triple.sin() * v_max + triple.cos() * v_min


def _bias_matrix(agent_w: AffineAgent, agent_u: AffineAgent) -> Tensor:
    """M of e_W = M Delta, shape (..., d, d), off the shared kernel."""
    A, B, _, _ = _affine_parts(agent_w, agent_u)
    kept, _, _ = _round(A, B)
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    return torch.linalg.solve(identity - A @ B + kept, (identity - kept) @ A @ (identity - B))


def _angles(angles: object, *, like: Tensor) -> Tensor:
    theta = _checks.angles("angles", angles)
    if theta.ndim != 1:
        raise _checks.bad("angles", f"of shape {tuple(theta.shape)}", "of shape (m,)")
    return theta.to(like)


def rounding(matrix: Tensor) -> float:
    """What I - A carries of rounding, however small the step: A (..., d, d) has entries of size 1."""
    return 10 * matrix.shape[-1] * torch.finfo(matrix.dtype).eps


def negligible(matrix: Tensor) -> float:
    """What counts as zero beside the largest eigenvalue or singular value of matrices (..., d, d)."""
    return max(KERNEL_TOLERANCE, rounding(matrix))


def _solve(matrix: Tensor, vector: Tensor) -> Tensor:
    # Without the extra dimension torch could read a batch of vectors as one matrix.
    return torch.linalg.solve(matrix, vector.unsqueeze(-1)).squeeze(-1)


def _affine_parts(agent_w: AffineAgent, agent_u: AffineAgent) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(A, B, a, b) with A and B of one batch shape, or an error that names what does not fit."""
    (A, a), (B, b) = agent_w.affine(), agent_u.affine()
    if B.shape[-1] != A.shape[-1]:
        raise _checks.bad("agent_u", f"of dimension {B.shape[-1]}", f"of agent_w's dimension {A.shape[-1]}")
    if B.dtype != A.dtype:
        raise _checks.bad("agent_u", f"of {B.dtype}", f"of agent_w's {A.dtype}")
    _checks.broadcast_shapes(agent_w=a.shape[:-1], agent_u=b.shape[:-1])
    batch = _checks.broadcast_shapes(agent_w=A.shape[:-2], agent_u=B.shape[:-2])
    return A.expand(*batch, *A.shape[-2:]), B.expand(*batch, *B.shape[-2:]), a, b


def _maps(agents: Sequence[AffineAgent]) -> list[tuple[Tensor, Tensor]]:
    """The agents' (A, b) in one dimension and batch shape, or an error that names what does not fit."""
    if not agents:
        raise _checks.bad("agents", "empty", "at least one agent")
    maps = [agent.affine() for agent in agents]
    dimensions = {b.shape[-1] for _, b in maps}
    if len(dimensions) > 1:
        raise _checks.bad("agents", f"of dimensions {sorted(dimensions)}", "of one dimension")
    dtypes = {b.dtype for _, b in maps}
    if len(dtypes) > 1:
        raise _checks.bad("agents", f"of {' and '.join(sorted(map(str, dtypes)))}", "of one dtype")
    shape = _checks.broadcast_shapes(**{f"agent {i}": A.shape[:-2] for i, (A, _) in enumerate(maps)})
    batch = _checks.broadcast_shapes(**{f"agent {i}": b.shape[:-1] for i, (_, b) in enumerate(maps)})
    return [(A.expand(*shape, *A.shape[-2:]), b.expand(*batch, b.shape[-1])) for A, b in maps]


def _limits(agents: Sequence[AffineAgent], messages: list[Tensor], rate: Tensor) -> Limits:
    errors = [message - agent.target for message, agent in zip(messages, agents, strict=True)]
    return Limits(torch.stack(messages, dim=-2), torch.stack(errors, dim=-2), rate.expand(messages[0].shape[:-1]))


def _fixed_point(matrix: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    rate = _contraction(matrix)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return _solve(identity - matrix, offset), rate


def _contraction(matrix: Tensor) -> Tensor:
    rate = torch.linalg.eigvals(matrix).abs().amax(-1)
    # An eigenvalue 1, of a shared kernel, comes out of rounding on either side.
    if not (rate < 1 - negligible(matrix)).all():
        raise _checks.bad("agents", f"a round with spectral radius {rate.max().item():.6g}",
                          "a round with spectral radius below 1")
    return rate


def _lyapunov(matrix: Tensor, added: Tensor) -> Tensor:
    """C = M C M' + Q, the sum of M^k Q M'^k, by doubling the number of its terms; spectral radius of M below 1."""
    total, power = added, matrix
    while (matrix_norm(power) > torch.finfo(power.dtype).eps).any():
        total = total + power @ total @ power.mT
        power = power @ power
    return total


def _round(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the round A B: the projector on the shared kernel, its dimension, and the rate off it.

    Raises:
        ValueError: a round that does not converge off the shared kernel.
    """
    kept, nullity = _shared_kernel(A, B)
    leak = torch.maximum(*((kept @ M - kept).abs() for M in (A, B)))
    if (leak > LEFT_ALONE).any():
        raise _checks.bad("agents", f"a pair that feeds its shared kernel by {leak.max().item():.2g}",
                          "a pair whose turns leave the part in their shared kernel alone")
    # A and B are the identity on the shared kernel, so A B - kept is A B off it and zero on it.
    rate = torch.linalg.eigvals(A @ B - kept).abs().amax(-1)
    if not (rate < 1).all():
        raise _checks.bad("agents", f"a pair with spectral radius {rate.max().item():.6g}",
                          "a pair with spectral radius below 1 off the shared kernel (stable step sizes)")
    return kept, nullity, rate


def _shared_kernel(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Orthogonal projector on the intersection of ker(I - A) and ker(I - B), and its dimension."""
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    moves = torch.cat([identity - A, identity - B], dim=-2)
    # There is none where all squared singular values are clearly above rounding, and a Cholesky factor shows that
    # fast. The singular values themselves, which take long, decide the rest.
    gram = moves.mT @ moves
    clear = rounding(A) * (10 * gram.diagonal(dim1=-2, dim2=-1).sum(-1) + rounding(A))
    close = torch.linalg.cholesky_ex(gram - clear[..., None, None] * identity).info != 0
    _, singular, directions = torch.linalg.svd(moves[close], full_matrices=False)
    null = (singular <= (KERNEL_TOLERANCE * singular[..., :1]).clamp_min(rounding(A))).to(A.dtype)
    kept, nullity = torch.zeros_like(gram), torch.zeros_like(close, dtype=torch.int64)
    kept[close] = directions.mT @ (null.unsqueeze(-1) * directions)
    nullity[close] = null.sum(-1).to(torch.int64)
    return kept, nullity
