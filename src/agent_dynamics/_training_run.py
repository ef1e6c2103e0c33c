"""A training run: what determines it, its state, and the file that holds both."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from . import _checks
from .cache import written_whole
from .lsa import LinearSelfAttention


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
            at a rate that this difference sets (:prf:ref:`prop-balance`).
        token_balance: what Q's initial block on weight tokens is multiplied by, and V's
            divided by; the layer's first answers are the same for each.
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
    token_balance: float = 1.0
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
            "token_balance",
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


class Run:
    """The whole state of a training run: what a checkpoint holds."""

    def __init__(
        self,
        model: LinearSelfAttention,
        optimizer: torch.optim.Adam | None,
        history: dict[str, Float[Tensor, " evaluations"]],
        step: int = 0,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.history, self.step = history, step

    @classmethod
    def start(cls, config: TrainingConfig, device: str | torch.device = "cpu") -> Run:
        model = LinearSelfAttention(config.dimension)
        random = torch.Generator().manual_seed(config.seed)
        with torch.no_grad():
            model.value.normal_(0, config.value_scale, generator=random)
            model.query.normal_(0, config.query_scale, generator=random)
            model.value[:, config.dimension + 1 :] /= config.token_balance
            model.query[config.dimension + 1 :] *= config.token_balance
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


def write(path: Path, run: Run, config: TrainingConfig) -> None:
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


def read(path: Path, device: str | torch.device = "cpu") -> tuple[Run, TrainingConfig]:
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
    return Run(model, optimizer, history, int(metadata["step"])), config
