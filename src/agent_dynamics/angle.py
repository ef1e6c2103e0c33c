"""The plateau as a function of the angle between the targets.

Targets w* = first and u* = cos(theta) first + sin(theta) second have a gap Delta of
norm 2 sin(theta/2) (:eq:`eq-opening`). The bias is linear in it, e_W = M Delta, so the
plateau is ||e_W||^2 = Delta' G Delta with G = M'M (:eq:`eq-plateau-form`). For targets
of norm r it is r^2 times that.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from . import _checks
from ._maps import pair_maps, round_off_kernel
from .agents import AffineAgent
from .linear import eye


def plateau_vs_angle(
    agent_w: AffineAgent,
    agent_u: AffineAgent,
    first: Float[Tensor, "... d"],
    second: Float[Tensor, "... d"],
    angles: Float[Tensor, " m"],
) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch m"]]:
    """Squared errors of both at equilibrium, for targets that open up in one plane.

    Of the agents only the linear parts A and B count: their own targets are replaced.
    Where both are blind to a direction, the gap's part in it is left out, as the start
    decides what stays there.

    Args:
        agent_w, agent_u: the pair, with leading shapes that broadcast.
        first, second: orthonormal directions, shape (..., d).
        angles: theta in radians, from 0 to pi, shape (m,).

    Returns:
        (||e_W||^2, ||e_U||^2) for targets of norm 1, each of shape (..., m).

    Raises:
        ValueError: directions that are not orthonormal, angles outside [0, pi] or not
            of shape (m,), shapes that do not match, a pair that does not converge.
    """
    m_w, m_u = _bias_matrix(agent_w, agent_u), _bias_matrix(agent_u, agent_w)
    d = m_w.shape[-1]
    first = _checks.last_dimension(
        "first", _checks.real_tensor("first", first, like=m_w), d
    )
    second = _checks.last_dimension(
        "second", _checks.real_tensor("second", second, like=m_w), d
    )
    _checks.broadcast_shapes(
        agents=m_w.shape[:-2], first=first.shape[:-1], second=second.shape[:-1]
    )
    off = max(
        ((a * b).sum(-1) - expected).abs().max().item()
        for a, b, expected in (
            (first, first, 1),
            (second, second, 1),
            (first, second, 0),
        )
    )
    if off > 100 * d * torch.finfo(m_w.dtype).eps:
        raise _checks.bad("first and second", f"off by {off:.3g}", "orthonormal")
    half = _angles(angles, like=m_w).unsqueeze(-1) / 2
    # cos(theta) - 1 would lose the digits of small angles.
    gap = (
        2
        * half.sin()
        * (half.cos() * second.unsqueeze(-2) - half.sin() * first.unsqueeze(-2))
    )
    return (gap @ m_w.mT).square().sum(-1), (gap @ m_u.mT).square().sum(-1)


def plateau_matrix(
    agent_w: AffineAgent, agent_u: AffineAgent
) -> Float[Tensor, "... d d"]:
    """G of W's plateau ||e_W||^2 = Delta' G Delta, shape (..., d, d).

    See :eq:`eq-plateau-form`; plateau_matrix(agent_u, agent_w) is that of U.

    Raises:
        ValueError: a pair that does not converge, or whose shapes do not match.
    """
    m = _bias_matrix(agent_w, agent_u)
    return m.mT @ m


def expected_plateau(
    G: Float[Tensor, "*batch d d"], angles: Float[Tensor, " m"]
) -> Float[Tensor, "*batch m"]:
    """The mean plateau over random orientations of two targets of norm 1.

    E ||e_W||^2 = 4 sin^2(theta/2) tr(G) / d (:prf:ref:`thm-angle-mean`).

    Args:
        G: plateau matrices, shape (..., d, d).
        angles: theta in radians, from 0 to pi, shape (m,).

    Returns:
        Shape (..., m).

    Raises:
        ValueError: G not symmetric positive semi-definite, angles outside [0, pi] or
            not of shape (m,).
    """
    G = _checks.covariance("G", G)
    mean = G.diagonal(dim1=-2, dim2=-1).mean(-1)
    return 4 * (_angles(angles, like=G) / 2).sin().square() * mean.unsqueeze(-1)


def monotone_angle_limit(
    condition_number: float | Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """The largest angle up to which no orientation lets the plateau decrease.

    theta_max = 2 arctan(2 sqrt(kappa) / (kappa - 1)) = 4 arctan(1 / sqrt(kappa)), so pi
    at kappa = 1 (:prf:ref:`thm-angle-limit`).

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


def worst_orientation(
    G: Float[Tensor, "*batch d d"],
) -> tuple[Float[Tensor, "*batch d"], Float[Tensor, "*batch d"]]:
    """Directions for which the plateau decreases right after `monotone_angle_limit`.

    With e1 = Delta / ||Delta|| and e2 = 2 de1/dtheta, the plateau's slope has the sign
    of cos(theta/2) e1'Ge1 + sin(theta/2) e1'Ge2 (:eq:`eq-angle-slope`). Against e1'Ge1
    the second term is the most negative where e1 = cos(phi) v_min + sin(phi) v_max, e2
    = sin(phi) v_min - cos(phi) v_max and tan(phi) = 1 / sqrt(kappa), with v_min and
    v_max the extreme eigenvectors of G; the slope is then zero at theta_max = 4 phi. To
    have this e1 at that angle, first = cos(3 phi) v_max - sin(3 phi) v_min and second =
    sin(3 phi) v_max + cos(3 phi) v_min.

    Args:
        G: plateau matrices, positive definite and not proportional to the identity,
            shape (..., d, d).

    Returns:
        (first, second), orthonormal, each of shape (..., d).

    Raises:
        ValueError: G not symmetric positive definite, or proportional to the identity,
            where the plateau never decreases (d = 1 among them).
    """
    G = _checks.covariance("G", G)
    eigenvalues, eigenvectors = torch.linalg.eigh(G)
    lowest, highest = eigenvalues[..., 0], eigenvalues[..., -1]
    slack = 100 * G.shape[-1] * torch.finfo(G.dtype).eps * highest
    if (lowest <= slack).any():
        raise _checks.bad(
            "G",
            f"singular, with the eigenvalue {lowest.min().item():.3g}",
            "positive definite",
        )
    if (highest - lowest <= slack).any():
        raise _checks.bad("G", "proportional to the identity", "anisotropic")
    triple = (3 * (lowest / highest).sqrt().atan()).unsqueeze(-1)
    v_min, v_max = eigenvectors[..., 0], eigenvectors[..., -1]
    return (
        triple.cos() * v_max - triple.sin() * v_min,
        triple.sin() * v_max + triple.cos() * v_min,
    )


def _bias_matrix(
    agent_w: AffineAgent, agent_u: AffineAgent
) -> Float[Tensor, "... d d"]:
    """M of e_W = M Delta, shape (..., d, d), off the shared kernel."""
    A, B, _, _ = pair_maps(agent_w, agent_u)
    kept, _, _ = round_off_kernel(A, B)
    identity = eye(A)
    return torch.linalg.solve(
        identity - A @ B + kept, (identity - kept) @ A @ (identity - B)
    )


def _angles(angles: object, *, like: Tensor) -> Float[Tensor, " m"]:
    theta = _checks.angles("angles", angles)
    if theta.ndim != 1:
        raise _checks.bad("angles", f"of shape {tuple(theta.shape)}", "of shape (m,)")
    return theta.to(like)
