"""What a training step shows: second moments of random prompts, drawn from a seed."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ._training_run import TrainingConfig
from .prompts import Prompt, random_covariance

VALIDATION_PROMPTS = 64


def token_moments(
    config: TrainingConfig, batch: int, random: np.random.Generator
) -> Float[Tensor, "batch {config.dimension}+1 {config.dimension}+1"]:
    """Moments [X y]'[X y] / n of prompts with Gaussian examples and targets, without
    drawing the examples.

    X'X of n standard Gaussian examples is a Wishart matrix, drawn by Bartlett's
    decomposition: its Cholesky factor has independent entries, chi on the diagonal and
    normal below. So no cost grows with n.
    """
    d, n = config.dimension, config.examples
    factor = np.tril(random.standard_normal((batch, d, d)), -1)
    factor[:, range(d), range(d)] = np.sqrt(
        random.chisquare(n - np.arange(d), (batch, d))
    )
    if config.condition_number > 1:
        orientation = torch.Generator().manual_seed(int(random.integers(2**63)))
        factor = _covariance_factors(config, batch, orientation).numpy() @ factor
    s = factor @ factor.transpose(0, 2, 1) / n
    lift = np.concatenate(
        [
            np.broadcast_to(np.eye(d), (batch, d, d)),
            # (x; y) = [I t]' x.
            random.standard_normal((batch, d, 1)),
        ],
        axis=2,
    )
    return torch.from_numpy(lift.transpose(0, 2, 1) @ s @ lift)


def validation_prompts(
    config: TrainingConfig, device: str | torch.device = "cpu"
) -> Prompt:
    """Fresh prompts of the training distribution, from a stream that no training step
    uses.
    """
    random = torch.Generator().manual_seed(config.seed + 2**32)
    shape = (VALIDATION_PROMPTS, config.examples, config.dimension)
    inputs = torch.randn(*shape, generator=random, dtype=torch.float64)
    targets = torch.randn(
        VALIDATION_PROMPTS, config.dimension, generator=random, dtype=torch.float64
    )
    if config.condition_number > 1:
        inputs = inputs @ _covariance_factors(config, VALIDATION_PROMPTS, random).mT
    return Prompt(inputs.to(device), targets.to(device))


def _covariance_factors(
    config: TrainingConfig, batch: int, random: torch.Generator
) -> Float[Tensor, "batch {config.dimension} {config.dimension}"]:
    """Factors C of the examples' covariances C C', shape (batch, d, d)."""
    covariance = random_covariance(
        config.dimension, config.condition_number, shape=(batch,), generator=random
    )
    return torch.linalg.cholesky(covariance)
