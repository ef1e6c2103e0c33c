"""Training an LSA layer to take one gradient step, from random prompts and messages.

A layer imitates a step: random prompt, random message, and the exact gradient step as
the answer to learn. All entries of V and Q start from random numbers and all are
trained; nothing of the construction is built in. Contexts hold a random number
of unrelated earlier messages: a layer trained without them can be exact when alone and
err with a history (:prf:ref:`prop-alone`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from . import _checks
from ._training_data import token_moments, validation_prompts
from ._training_run import Run, TrainingConfig, read, write
from .cache import cache_folder
from .linear import apply, eye
from .lsa import LinearSelfAttention, LSAAgent
from .prompts import Prompt

__all__ = ["TrainedLSA", "TrainingConfig", "cached_lsa", "operator_error", "train_lsa"]


@dataclass(frozen=True)
class TrainedLSA:
    """A trained layer, how it was trained, and what was measured on the way.

    Attributes:
        model: the layer.
        config: the configuration that reproduces it.
        history: one row an evaluation: `step`, training `loss` and median
            `operator_error` on prompts that training never sees, each of shape
            (evaluations,).
    """

    model: LinearSelfAttention
    config: TrainingConfig
    history: dict[str, Float[Tensor, " evaluations"]]

    def save(self, path: str | Path) -> None:
        """Write weights, history and configuration as one safetensors file."""
        write(Path(path), Run(self.model, None, self.history), self.config)

    @classmethod
    def load(cls, path: str | Path) -> TrainedLSA:
        """Read what `save` or a finished checkpoint wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a safetensors file that holds no trained LSA layer.
        """
        run, config = read(Path(path))
        if run.optimizer is not None:
            raise _checks.bad(
                "path",
                f"{path}, the checkpoint of a run that stopped at step {run.step}",
                "that of a finished run (train_lsa finishes it)",
            )
        return cls(run.model, config, run.history)


def operator_error(
    model: LinearSelfAttention, prompt: Prompt, step_size: float
) -> Float[Tensor, "..."]:
    """How far the learned step is from the gradient step, as affine maps, per prompt.

    With (A, b) the map measured on the prompt and S its geometry, the relative error
    ||[A - (I - eta S), b - eta S t]||_F / ||eta [S, S t]||_F. Zero for the
    construction.

    Args:
        model: the layer.
        prompt: prompts of the layer's dimension, leading shape (...).
        step_size: eta of the step it should take.

    Returns:
        Relative errors, shape (...).
    """
    step_size = _checks.finite_number("step_size", step_size, above=0)
    if (prompt.covariance.diagonal(dim1=-2, dim2=-1).sum(-1) == 0).any():
        raise _checks.bad(
            "prompt", "without any non-zero example", "one that asks for a step"
        )
    a, b = LSAAgent(model, prompt).affine()
    # [S, S t] is the first d rows of the moments of (x; y).
    step = step_size * prompt.gram[..., : model.d, :]
    identity = eye(a)
    learned = torch.cat([identity - a, b.unsqueeze(-1)], dim=-1)
    return torch.linalg.matrix_norm(learned - step) / torch.linalg.matrix_norm(step)


def train_lsa(
    config: TrainingConfig,
    *,
    checkpoint: str | Path | None = None,
    device: str | torch.device = "cpu",
) -> TrainedLSA:
    """Train a layer as `config` says, in float64, with a progress bar (none with
    TQDM_DISABLE=1).

    Each step's examples depend on the seed and the step's number alone, so a run that
    was interrupted and resumed on one device gives the same weights as one that was
    not. They are drawn on the CPU, so that every device sees the same, and only
    rounding sets two devices apart. In one dimension about half of the seeds get stuck
    far from the gradient step (chapter 2 shows where).

    Args:
        config: the run.
        checkpoint: a safetensors file to resume from where it exists, and to write to
            at every evaluation and at the end.
        device: where the layer is trained, and where it then lies.

    Raises:
        ValueError: a checkpoint that another configuration wrote.
    """
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.exists():
        run, written_by = read(path, device)
        if written_by != config:
            raise _checks.bad(
                "checkpoint",
                f"{path}, written by {written_by}",
                f"one written by {config}",
            )
        if run.optimizer is None:
            return TrainedLSA(run.model, config, run.history)
    else:
        run = Run.start(config, device)
    validation = validation_prompts(config, device)
    bar = tqdm(
        total=config.steps,
        initial=run.step,
        unit="step",
        desc=f"LSA d={config.dimension} seed={config.seed}",
    )
    with bar:
        while not run.finished(config):
            loss = _train_step(run, config)
            bar.update()
            if run.step % config.evaluate_every == 0 or run.step == config.steps:
                error = operator_error(run.model, validation, config.step_size).median()
                run.log(loss, error.item())
                bar.set_postfix_str(f"operator error {error:.1e}")
                # Written here alone: an interruption can come in the middle of an
                # update.
                if path is not None:
                    write(path, run, config)
    run.optimizer = None  # marks the file as that of a finished run
    if path is not None:
        write(path, run, config)
    return TrainedLSA(run.model, config, run.history)


def cached_lsa(config: TrainingConfig) -> TrainedLSA:
    """`train_lsa(config)`, kept in `cache.cache_folder()`: a layer is trained once, and
    a later call reads it.
    """
    name = hashlib.sha256(repr(config).encode()).hexdigest()[:16]
    return train_lsa(
        config, checkpoint=cache_folder() / "layers" / f"{name}.safetensors"
    )


def _train_step(run: Run, config: TrainingConfig) -> float:
    d, random = config.dimension, np.random.default_rng((config.seed, run.step))
    device = run.model.value.device
    gram = token_moments(config, config.batch_size, random).to(device)
    context = int(random.integers(config.context + 1))
    messages = torch.from_numpy(
        random.standard_normal((config.batch_size, context + 1, d))
    ).to(device)
    w = messages[:, -1]
    residual = torch.cat([w, -w.new_ones(len(w), 1)], dim=-1)  # X w - y = [X y] (w; -1)
    step = -config.step_size * apply(gram[:, :d], residual)
    error = run.model.step(gram, config.examples, messages) - w - step
    loss = error.square().sum(-1).mean()
    assert run.optimizer is not None  # a finished run takes no step
    run.optimizer.zero_grad()
    loss.backward()
    run.optimizer.step()
    run.step += 1
    return loss.item()
