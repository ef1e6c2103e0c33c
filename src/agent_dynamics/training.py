"""Training an LSA layer to take one gradient step, from random prompts and messages.

The recipe is teacher forcing: random prompt, random message, and the exact gradient
step as the answer to learn. All entries of V and Q start from small random numbers and
all are trained; nothing of the construction is built in. Contexts hold a random number
of unrelated earlier messages, without which a layer never learns to ignore its history.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from . import _checks
from .cache import cache_folder, written_whole
from .linear import apply, eye
from .lsa import LinearSelfAttention, LSAAgent
from .prompts import Prompt, random_covariance

VALIDATION_PROMPTS = 64


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that determines a training run.

    Attributes:
        dimension: d of messages and targets.
        seed: seed of the initial weights and of every training example.
        step_size: eta of the gradient step to learn.
        examples: n, Gaussian examples a prompt, at least d.
        condition_number: of the covariance that the examples are drawn with, at least
            1. Its eigenvalues run geometrically from 1 / condition_number to 1, and
            every prompt turns it at random. At 1, and always where d = 1, it is the
            identity.
        context: the most earlier messages that a training context holds.
        value_scale, query_scale: standard deviations of the initial entries of V and of
            Q. Unequal ones train fastest: the answer is bilinear in V and Q, so
            gradient flow keeps ||V||^2 - ||Q||^2, and the blocks that must cancel do so
            at a rate that this difference sets.
        learning_rate: constant step of Adam with the AMSGrad bound.
        batch_size: prompts a step.
        steps: the most steps taken.
        tolerance: training stops when the operator error has stayed at or below this
            for three evaluations in a row.
        evaluate_every: steps between evaluations.
    """

    dimension: int
    seed: int
    step_size: float = 0.4
    examples: int = 20
    condition_number: float = 1.0
    context: int = 3
    value_scale: float = 0.02
    query_scale: float = 0.5
    learning_rate: float = 0.03
    batch_size: int = 256
    steps: int = 3000
    tolerance: float = 1e-13
    evaluate_every: int = 50

    def __post_init__(self) -> None:
        for name in ("dimension", "examples", "batch_size", "steps", "evaluate_every"):
            _checks.keep(self, name, _checks.count(name, getattr(self, name)))
        for name in ("seed", "context"):
            _checks.keep(self, name, _checks.count(name, getattr(self, name), 0))
        for name in (
            "step_size",
            "value_scale",
            "query_scale",
            "learning_rate",
            "tolerance",
        ):
            _checks.keep(
                self, name, _checks.finite_number(name, getattr(self, name), above=0)
            )
        _checks.keep(
            self,
            "condition_number",
            _checks.finite_number("condition_number", self.condition_number),
        )
        if self.examples < self.dimension:
            raise _checks.bad(
                "examples", self.examples, f"at least the dimension {self.dimension}"
            )
        if self.condition_number < 1:
            raise _checks.bad("condition_number", self.condition_number, "at least 1")
        if self.dimension == 1 and self.condition_number != 1:
            raise _checks.bad(
                "condition_number", self.condition_number, "1 where the dimension is 1"
            )


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
    history: dict[str, Tensor]

    def save(self, path: str | Path) -> None:
        """Write weights, history and configuration as one safetensors file."""
        _write(Path(path), _Run(self.model, None, self.history), self.config)

    @classmethod
    def load(cls, path: str | Path) -> TrainedLSA:
        """Read what `save` or a finished checkpoint wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a safetensors file that holds no trained LSA layer.
        """
        run, config = _read(Path(path))
        if run.optimizer is not None:
            raise _checks.bad(
                "path",
                f"{path}, the checkpoint of a run that stopped at step {run.step}",
                "that of a finished run (train_lsa finishes it)",
            )
        return cls(run.model, config, run.history)


def operator_error(
    model: LinearSelfAttention, prompt: Prompt, step_size: float
) -> Tensor:
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
        run, written_by = _read(path, device)
        if written_by != config:
            raise _checks.bad(
                "checkpoint",
                f"{path}, written by {written_by}",
                f"one written by {config}",
            )
        if run.optimizer is None:
            return TrainedLSA(run.model, config, run.history)
    else:
        run = _Run.start(config, device)
    validation = _validation_prompts(config, device)
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
                    _write(path, run, config)
    run.optimizer = None  # marks the file as that of a finished run
    if path is not None:
        _write(path, run, config)
    return TrainedLSA(run.model, config, run.history)


def cached_lsa(config: TrainingConfig) -> TrainedLSA:
    """`train_lsa(config)`, kept in `cache.cache_folder()`: a layer is trained once, and
    a later call reads it.
    """
    name = hashlib.sha256(repr(config).encode()).hexdigest()[:16]
    return train_lsa(
        config, checkpoint=cache_folder() / "layers" / f"{name}.safetensors"
    )


class _Run:
    """The whole state of a training run: what a checkpoint holds."""

    def __init__(
        self,
        model: LinearSelfAttention,
        optimizer: torch.optim.Adam | None,
        history: dict[str, Tensor],
        step: int = 0,
    ) -> None:
        self.model, self.optimizer, self.history, self.step = (
            model,
            optimizer,
            history,
            step,
        )

    @classmethod
    def start(cls, config: TrainingConfig, device: str | torch.device = "cpu") -> _Run:
        model = LinearSelfAttention(config.dimension)
        random = torch.Generator().manual_seed(config.seed)
        with torch.no_grad():
            model.value.normal_(0, config.value_scale, generator=random)
            model.query.normal_(0, config.query_scale, generator=random)
        model.to(device)
        history = {
            name: torch.empty(0, dtype=torch.float64)
            for name in ("step", "loss", "operator_error")
        }
        return cls(model, _optimizer(model, config), history)

    def log(self, loss: float, error: float) -> None:
        row = {"step": self.step, "loss": loss, "operator_error": error}
        self.history = {
            name: torch.cat([column, column.new_tensor([row[name]])])
            for name, column in self.history.items()
        }

    def finished(self, config: TrainingConfig) -> bool:
        last = self.history["operator_error"][-3:]
        return self.step >= config.steps or (
            len(last) == 3 and bool((last <= config.tolerance).all())
        )


def _optimizer(model: LinearSelfAttention, config: TrainingConfig) -> torch.optim.Adam:
    return torch.optim.Adam(model.parameters(), lr=config.learning_rate, amsgrad=True)


def _train_step(run: _Run, config: TrainingConfig) -> float:
    d, random = config.dimension, np.random.default_rng((config.seed, run.step))
    device = run.model.value.device
    gram = _token_moments(config, config.batch_size, random).to(device)
    context = int(random.integers(config.context + 1))
    messages = torch.from_numpy(
        random.standard_normal((config.batch_size, context + 1, d))
    ).to(device)
    w = messages[:, -1]
    residual = torch.cat([w, -w.new_ones(len(w), 1)], dim=-1)  # X w - y = [X y] (w; -1)
    step = -config.step_size * apply(gram[:, :d], residual)
    error = run.model.step(gram, config.examples, messages) - w - step
    loss = error.square().sum(-1).mean()
    run.optimizer.zero_grad()
    loss.backward()
    run.optimizer.step()
    run.step += 1
    return loss.item()


def _token_moments(
    config: TrainingConfig, batch: int, random: np.random.Generator
) -> Tensor:
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


def _covariance_factors(
    config: TrainingConfig, batch: int, random: torch.Generator
) -> Tensor:
    """Factors C of the examples' covariances C C', shape (batch, d, d)."""
    covariance = random_covariance(
        config.dimension, config.condition_number, shape=(batch,), generator=random
    )
    return torch.linalg.cholesky(covariance)


def _validation_prompts(
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


def _write(path: Path, run: _Run, config: TrainingConfig) -> None:
    tensors = {
        name: parameter.detach().clone()
        for name, parameter in run.model.named_parameters()
    }
    tensors |= {f"history.{name}": column for name, column in run.history.items()}
    if run.optimizer is not None:
        for index, state in run.optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer.{index}.{name}": value for name, value in state.items()
            }
    metadata = {"config": json.dumps(asdict(config)), "step": str(run.step)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        safetensors.torch.save_file(tensors, partial, metadata=metadata)


def _read(
    path: Path, device: str | torch.device = "cpu"
) -> tuple[_Run, TrainingConfig]:
    if not path.exists():
        raise FileNotFoundError(f"no trained LSA layer at {path}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = TrainingConfig(**json.loads(metadata["config"]))
        model = LinearSelfAttention(config.dimension)
        model.load_state_dict({name: tensors[name] for name in ("value", "query")})
    except (
        safetensors.SafetensorError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:
        raise _checks.bad(
            "path",
            f"{path}, which holds no trained LSA layer ({error})",
            "a file that TrainedLSA.save or train_lsa wrote",
        ) from error
    model.to(device)  # before the optimizer, which goes where its parameters are
    history = {
        name.removeprefix("history."): value
        for name, value in tensors.items()
        if name.startswith("history.")
    }
    optimizer = None
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, field = name.split(".")
            state.setdefault(int(index), {})[field] = value
    if state:
        optimizer = _optimizer(model, config)
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return _Run(model, optimizer, history, int(metadata["step"])), config
