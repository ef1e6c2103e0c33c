"""A softmax-attention transformer on the task of the LSA layers: a gradient step from a
prompt and a message.

It reads the tokens of `lsa.tokens`: data tokens (x_i; y_i; 0; 0) and one weight token
(0; 0; w; 1). Blocks of softmax attention and a two-layer perceptron follow, each added
to its input after normalisation; the answer is w plus a linear image of the last
block's weight token. Nothing makes it affine in w: it is an agent whose map can be
measured, but is not known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from . import _checks
from .linear import apply, eye, solve
from .lsa import tokens
from .prompts import Prompt


@dataclass(frozen=True)
class SoftmaxConfig:
    """Everything that determines a transformer and its training.

    Attributes:
        dimension: d of messages and targets.
        seed: seed of the initial weights and of every training example.
        step_size: eta of the gradient step to learn.
        examples: n, Gaussian examples a prompt, at least d.
        width: length of a token inside the network, a multiple of `heads`.
        heads: attention heads a block.
        blocks: attention blocks.
        learning_rate: largest step of Adam; it rises over the first steps and falls to
            zero as a cosine.
        batch_size: prompts a step.
        steps: steps taken.
    """

    dimension: int
    seed: int
    step_size: float = 0.4
    examples: int = 16
    width: int = 32
    heads: int = 4
    blocks: int = 2
    learning_rate: float = 5e-3
    batch_size: int = 64
    steps: int = 3000

    def __post_init__(self) -> None:
        for name in (
            "dimension",
            "examples",
            "width",
            "heads",
            "blocks",
            "batch_size",
            "steps",
        ):
            _checks.count(name, getattr(self, name))
        _checks.count("seed", self.seed, 0)
        for name in ("step_size", "learning_rate"):
            _checks.finite_number(name, getattr(self, name), above=0)
        if self.examples < self.dimension:
            raise _checks.bad(
                "examples", self.examples, f"at least the dimension {self.dimension}"
            )
        if self.width % self.heads:
            raise _checks.bad(
                "width", self.width, f"a multiple of heads = {self.heads}"
            )


class SoftmaxTransformer(nn.Module):
    """The network. Its initial weights depend on the configuration's seed alone."""

    def __init__(self, config: SoftmaxConfig) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.embed = nn.Linear(2 * config.dimension + 2, config.width)
            self.blocks = nn.ModuleList(
                _Block(config.width, config.heads) for _ in range(config.blocks)
            )
            self.answer = nn.Linear(config.width, config.dimension)

    def forward(
        self, z: Float[Tensor, "*batch rows columns"]
    ) -> Float[Tensor, "*batch {self.config.dimension}"]:
        """The improved message (..., d) from tokens (..., 2d + 2, n + 1) as
        `lsa.tokens` makes them.
        """
        hidden = self.embed(z.mT)
        for block in self.blocks:
            hidden = block(hidden)
        return z[..., -1 - self.config.dimension : -1, -1] + self.answer(
            hidden[..., -1, :]
        )


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )

    def forward(
        self, hidden: Float[Tensor, "*batch columns width"]
    ) -> Float[Tensor, "*batch columns width"]:
        split = self.projections(self.norm(hidden)).unflatten(-1, (3, self.heads, -1))
        query, key, value = (
            part.squeeze(-3).transpose(-3, -2) for part in split.split(1, dim=-3)
        )
        attention = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1)
        hidden = hidden + self.merge((attention @ value).transpose(-3, -2).flatten(-2))
        return hidden + self.perceptron(hidden)


def train_softmax(config: SoftmaxConfig) -> SoftmaxTransformer:
    """Train a transformer as `config` says, on the CPU, with a progress bar (none with
    TQDM_DISABLE=1).

    As in `training`, each step shows random prompts and random messages, and the exact
    gradient step as the answer to learn. Training is in float32; the network returned
    is in float64.
    """
    model = SoftmaxTransformer(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    warmup = max(1, config.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / warmup, (1 + math.cos(math.pi * step / config.steps)) / 2
        ),
    )
    bar = tqdm(
        range(config.steps),
        unit="step",
        desc=f"softmax d={config.dimension} seed={config.seed}",
    )
    for step in bar:
        prompt, message = _draw(config, np.random.default_rng((config.seed, step)))
        change = -config.step_size * prompt.gradient(message)
        answer = model(tokens(prompt, message.unsqueeze(-2)))
        loss = (answer - message - change).square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            bar.set_postfix_str(f"loss {loss.item():.1e}")
    return model.double().requires_grad_(False)


def _draw(
    config: SoftmaxConfig, random: np.random.Generator
) -> tuple[Prompt, Float[Tensor, "... d"]]:
    """Gaussian prompts and messages in float32."""
    shape = (config.batch_size, config.examples, config.dimension)
    inputs, target, message = (
        torch.from_numpy(random.standard_normal(size, np.float32))
        for size in (shape, shape[::2], shape[::2])
    )
    return Prompt(inputs, target), message


class SoftmaxAgent:
    """An agent whose turn is one forward pass of a transformer over its prompt and the
    message.

    Args:
        model: the transformer.
        prompt: the agent's own prompt, of the transformer's dimension and number of
            examples.

    Raises:
        ValueError: a prompt of another dimension, number of examples or dtype.
    """

    def __init__(self, model: SoftmaxTransformer, prompt: Prompt) -> None:
        expected = (model.config.examples, model.config.dimension)
        if (prompt.examples, prompt.dimension) != expected:
            raise _checks.bad(
                "prompt",
                f"of {prompt.examples} examples in dimension {prompt.dimension}",
                f"of the transformer's {expected[0]} examples in dimension "
                f"{expected[1]}",
            )
        dtype = next(model.parameters()).dtype
        if prompt.inputs.dtype != dtype:
            raise _checks.bad(
                "prompt", f"of {prompt.inputs.dtype}", f"of the transformer's {dtype}"
            )
        self.model = model
        self.prompt = prompt

    @property
    def batch(self) -> torch.Size:
        """The prompt's leading shape."""
        return self.prompt.batch

    @property
    def target(self) -> Float[Tensor, "... d"]:
        """The prompt's target, shape (..., d)."""
        return self.prompt.target

    def __call__(self, message: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """The transformer's answer to one message, shape (..., d)."""
        message = _checks.message(
            "message", message, like=self.target, batch=self.batch
        )
        return self.model(tokens(self.prompt, message.unsqueeze(-2)))

    @cached_property
    def fixed_point(self) -> Float[Tensor, "... d"]:
        """Where the agent alone comes to rest, shape (..., d), by Newton's method from
        the prompt's target.

        Raises:
            RuntimeError: no fixed point found near the target.
        """
        message = self.target.expand(*self.batch, self.prompt.dimension)
        identity = eye(message)
        for _ in range(50):
            step = solve(identity - self._jacobian(message), self(message) - message)
            message = message + step
            if (step.abs() <= 1e-13).all():
                return message
        raise RuntimeError(
            "no fixed point near the target: the last step was "
            f"{step.abs().max().item():.2g}"
        )

    def affine(self) -> tuple[Float[Tensor, "... d d"], Float[Tensor, "... d"]]:
        """(J, (I - J) v) of the agent's Jacobian J at its fixed point v: its map to
        first order there.

        Shapes (..., d, d) and (..., d). Raises as `fixed_point`.
        """
        rest = self.fixed_point
        jacobian = self._jacobian(rest)
        return jacobian, rest - apply(jacobian, rest)

    def _jacobian(
        self, message: Float[Tensor, "*batch d"]
    ) -> Float[Tensor, "*batch d d"]:
        """The Jacobian at each message, shape (..., d, d)."""
        message = message.detach().requires_grad_()
        answer = self(message)
        rows = [
            torch.autograd.grad(entry.sum(), message, retain_graph=True)[0]
            for entry in answer.unbind(-1)
        ]
        return torch.stack(rows, dim=-2)
