"""Labels with noise: what talking costs and gains an agent that does not know its
target.

Labels are y = X t + noise. An agent's own fixed point is then its least-squares
estimate (:prf:ref:`lem-estimate`), which misses t by V = (sigma^2 / n) tr S^{-1} on
average, in squares. A conversation trades a part of that for a part of the gap Delta.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from . import _checks
from ._maps import pair_maps
from .agents import AffineAgent
from .equilibrium import equilibrium, small_step_limit
from .linear import apply, eye, negligible, solve
from .prompts import Prompt


@runtime_checkable
class PromptedAgent(AffineAgent, Protocol):
    """An affine agent with a prompt of its own, as gradient and LSA agents are."""

    @property
    def prompt(self) -> Prompt:
        """The agent's prompt."""


class NoisyPrompt(Prompt):
    """A prompt whose labels carry noise, y = X t + noise.

    Up to a constant its objective is that of labels without noise whose target is the
    least-squares estimate (:prf:ref:`lem-estimate`). So `.target` is this estimate, and
    `.labels` are the noisy ones, which a layer reads.

    Args:
        inputs: examples X, shape (..., n, d), with X'X / n positive definite.
        labels: y, shape (..., n).

    Raises:
        ValueError: shapes that do not match, entries that are not finite, examples that
            leave a direction unseen.
    """

    def __init__(
        self, inputs: Float[Tensor, "*#batch n d"], labels: Float[Tensor, "*#batch n"]
    ) -> None:
        own = Prompt(inputs, torch.zeros_like(inputs[..., 0, :]))
        labels = _checks.last_dimension(
            "labels",
            _checks.real_tensor("labels", labels, like=own.inputs),
            own.examples,
        )
        _checks.broadcast_shapes(inputs=own.batch, labels=labels.shape[:-1])
        _seeing("inputs", own)
        moments = apply(own.inputs.mT, labels) / own.examples
        super().__init__(own.inputs, solve(own.covariance, moments))
        _checks.keep(self, "labels", labels)


def error_alone(
    prompt: Prompt, noise: float | Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """E ||t^ - t||^2 of a lone agent: V = (sigma^2 / n) tr S^{-1}.

    See :prf:ref:`lem-estimate`.

    Args:
        prompt: S positive definite, leading shape (...).
        noise: standard deviation sigma of each label's noise, at least 0, shape (...).

    Returns:
        V, shape (...).

    Raises:
        ValueError: a prompt that is blind to a direction, negative noise, shapes that
            do not match.
    """
    covariance = _estimate_covariance("prompt", prompt, "noise", noise)
    return covariance.diagonal(dim1=-2, dim2=-1).sum(-1)


def expected_error(
    agent_w: PromptedAgent,
    agent_u: PromptedAgent,
    noise_w: float | Float[Tensor, "..."],
    noise_u: float | Float[Tensor, "..."],
) -> Float[Tensor, "..."]:
    """E ||w_inf - w*||^2 over the noise of both prompts' labels.

    With K = (I - A B)^{-1} A (I - B) and C = (sigma^2 / n) S^{-1} of each agent, it is
    (:prf:ref:`thm-expected-error`)

        ||K Delta||^2 + tr[(I - K) C_W (I - K)'] + tr[K C_U K'].

    Swap the agents, and the noises, for E ||u_inf - u*||^2.

    Args:
        agent_w, agent_u: the pair, whose prompts hold the true targets.
        noise_w, noise_u: standard deviations of each label's noise, at least 0, shape
            (...).

    Returns:
        Shape (...), that of agents and noises together.

    Raises:
        ValueError: a prompt that is blind to a direction, negative noise, a pair that
            does not converge, shapes that do not match.
    """
    own = _estimate_covariance("agent_w", agent_w.prompt, "noise_w", noise_w)
    other = _estimate_covariance("agent_u", agent_u.prompt, "noise_u", noise_u)
    bias = equilibrium(agent_w, agent_u).error_w
    _checks.broadcast_shapes(
        agents=bias.shape[:-1], noise_w=own.shape[:-2], noise_u=other.shape[:-2]
    )
    A, B, _, _ = pair_maps(agent_w, agent_u)
    identity = eye(A)
    K = torch.linalg.solve(identity - A @ B, A @ (identity - B))
    return bias.square().sum(-1) + _passed(identity - K, own) + _passed(K, other)


def critical_gap(
    agent: PromptedAgent, noise: float | Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """The gap below which talking to an equal isotropic partner beats being alone.

    That is ||Delta|| = sqrt(2 V / a) with a = 1 - eta lambda
    (:prf:ref:`cor-critical-gap`).

    Args:
        agent: one of the two, S = lambda I, with 0 < a < 1.
        noise: standard deviation of each label's noise, at least 0, shape (...).

    Returns:
        Shape (...).

    Raises:
        ValueError: a prompt that is not isotropic, a step with eta lambda >= 1, at
            which talking never helps, or none; as `error_alone`.
    """
    alone = error_alone(agent.prompt, noise)
    s = agent.prompt.covariance
    level = s.diagonal(dim1=-2, dim2=-1).mean(-1)
    uneven = (s - level[..., None, None] * eye(s)).abs().amax((-2, -1)) / level
    if (uneven > negligible(s)).any():
        raise _checks.bad(
            "agent",
            f"one whose geometry is uneven by {uneven.max().item():.2g}",
            "one with an isotropic prompt",
        )
    a = agent.affine()[0].diagonal(dim1=-2, dim2=-1).mean(-1)
    if not ((a > 0) & (a < 1)).all():
        raise _checks.bad(
            "agent",
            f"one that keeps {a.min().item():.3g} to {a.max().item():.3g} of its error",
            "one that keeps a part between 0 and 1, with 0 < eta lambda < 1",
        )
    return (2 * alone / a).sqrt()


def pooled_estimate(
    prompt_w: Prompt,
    prompt_u: Prompt,
    noise_w: float | Float[Tensor, "..."],
    noise_u: float | Float[Tensor, "..."],
) -> Float[Tensor, "... d"]:
    """The best linear unbiased estimate of one target from two prompts' labels.

    It minimises ||X_W v - y_W||^2 / sigma_W^2 + ||X_U v - y_U||^2 / sigma_U^2
    (:prf:ref:`thm-pooled`).

    Args:
        prompt_w, prompt_u: two prompts, noisy ones as `NoisyPrompt`.
        noise_w, noise_u: standard deviations of each label's noise, positive, shape
            (...).

    Returns:
        Shape (..., d).

    Raises:
        ValueError: noise that is not positive, prompts of different dimensions, or both
            blind to one direction.
    """
    pair = []
    for name, prompt, noise in (("w", prompt_w, noise_w), ("u", prompt_u, noise_u)):
        sigma = _checks.positive(f"noise_{name}", noise, like=prompt.inputs)
        # X'X / n of these is n / sigma^2 times that of the prompt.
        weight = prompt.examples**0.5 / sigma[..., None, None]
        pair.append(Prompt(weight * prompt.inputs, prompt.target))
    return small_step_limit(*pair)


def _seeing(name: str, prompt: Prompt) -> None:
    """Raise where a prompt is blind to a direction."""
    s = prompt.covariance
    eigenvalues = torch.linalg.eigvalsh(s)
    if (eigenvalues[..., 0] <= negligible(s) * eigenvalues[..., -1]).any():
        raise _checks.bad(
            name, "blind to a direction", "of a positive definite geometry"
        )


def _estimate_covariance(
    name: str, prompt: Prompt, noise_name: str, noise: float | Float[Tensor, "..."]
) -> Float[Tensor, "... d d"]:
    """The covariance (sigma^2 / n) S^{-1} of a prompt's least-squares estimate."""
    _seeing(name, prompt)
    sigma = _checks.real_tensor(noise_name, noise, like=prompt.inputs)
    if (sigma < 0).any():
        raise _checks.bad(noise_name, f"{sigma.min().item():g}", "at least 0")
    _checks.broadcast_shapes(**{name: prompt.batch, noise_name: sigma.shape})
    variance = sigma.square() / prompt.examples
    return variance[..., None, None] * torch.linalg.inv(prompt.covariance)


def _passed(
    matrix: Float[Tensor, "*#batch d d"], covariance: Float[Tensor, "*#batch d d"]
) -> Float[Tensor, "*batch"]:
    """tr M C M', the mean square of M x for x of covariance C and mean 0."""
    return (matrix @ covariance * matrix).sum((-2, -1))
