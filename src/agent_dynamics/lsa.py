"""Linear self-attention (LSA): the layer, its tokens, and the gradient step's weights.

Tokens are the columns of Z, with 2d + 2 rows in four blocks (x; y; w; 1):

* a data token (x_i; y_i; 0; 0) for each example,
* a weight token (0; 0; w_j; 1) for each message so far, the newest last.

The layer computes f(Z) = Z + V Z (Z' Q Z) / n (:eq:`eq-lsa`) and answers with the
weight block of its last column. The construction follows Huang, Wang and Lee,
"Transformers Learn to Implement Multi-step Gradient Descent with Chain of Thought",
ICLR 2025, arXiv 2502.21212.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from . import _checks
from .linear import eye
from .prompts import Prompt


def tokens(
    prompt: Prompt, messages: Float[Tensor, "... messages {prompt.dimension}"]
) -> Float[Tensor, "... 2*{prompt.dimension}+2 {prompt.examples}+messages"]:
    """The token matrix Z of a prompt and the messages so far.

    Args:
        prompt: n examples in d dimensions.
        messages: shape (..., k + 1, d), oldest first; the layer improves the last one.

    Returns:
        Z of shape (..., 2d + 2, n + k + 1).
    """
    d, n = prompt.dimension, prompt.examples
    messages = _checks.message("messages", messages, like=prompt.target, batch=())
    if messages.ndim < 2:
        raise _checks.bad(
            "messages",
            f"of shape {tuple(messages.shape)}",
            f"of shape (..., k + 1, {d})",
        )
    k = messages.shape[-2]
    batch = _checks.broadcast_shapes(prompt=prompt.batch, messages=messages.shape[:-2])
    z = prompt.inputs.new_zeros(*batch, 2 * d + 2, n + k)
    z[..., :d, :n] = prompt.inputs.mT
    z[..., d, :n] = prompt.labels
    z[..., d + 1 : -1, n:] = messages.mT
    z[..., -1, n:] = 1
    return z


class LinearSelfAttention(nn.Module):
    """One linear self-attention layer with free matrices V (`value`) and Q (`query`),
    zero and float64 at first.

    Args:
        d: dimension of the messages; V and Q are (2d + 2) x (2d + 2).
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.d = _checks.count("d", d)
        self.value = nn.Parameter(
            torch.zeros(2 * d + 2, 2 * d + 2, dtype=torch.float64)
        )
        self.query = nn.Parameter(
            torch.zeros(2 * d + 2, 2 * d + 2, dtype=torch.float64)
        )

    def forward(
        self, z: Float[Tensor, "*batch 2*{self.d}+2 columns"], n: int
    ) -> Float[Tensor, "*batch 2*{self.d}+2 columns"]:
        """f(Z) = Z + V Z (Z' Q Z) / n, as in :eq:`eq-lsa`; Z and the result are (...,
        2d + 2, columns).

        The cost grows with the square of the number of columns: `step` gives the same
        answer without it.
        """
        return z + self.value @ z @ (z.mT @ self.query @ z) / n

    def step(
        self,
        gram: Float[Tensor, "*#batch {self.d}+1 {self.d}+1"],
        n: int,
        messages: Float[Tensor, "*#batch context {self.d}"],
    ) -> Float[Tensor, "*batch {self.d}"]:
        """The layer's answer from second moments: that of `forward`, at a cost free of
        n.

        The tokens enter the last column only through Z Z' / n, which is block diagonal:
        the moments of the data tokens, and those of the weight tokens
        (:prf:ref:`prop-gram`).

        Args:
            gram: moments [X y]'[X y] / n of the data tokens, (..., d + 1, d + 1).
            n: number of examples behind them.
            messages: shape (..., k + 1, d), oldest first.

        Returns:
            The improved message, shape (..., d).
        """
        d = self.d
        n = _checks.count("n", n)
        if messages.ndim < 2 or messages.shape[-1] != d:
            raise _checks.bad(
                "messages",
                f"of shape {tuple(messages.shape)}",
                f"of shape (..., k + 1, {d})",
            )
        if gram.shape[-2:] != (d + 1, d + 1):
            raise _checks.bad(
                "gram",
                f"of shape {tuple(gram.shape)}",
                f"of shape (..., {d + 1}, {d + 1})",
            )
        _checks.broadcast_shapes(gram=gram.shape[:-2], messages=messages.shape[:-2])
        message = messages[..., -1, :]
        weight_tokens = nn.functional.pad(messages, (0, 1), value=1.0)
        # Q applied to the last token.
        scores = weight_tokens[..., -1:, :] @ self.query[:, d + 1 :].mT
        data = scores[..., : d + 1] @ gram
        weights = scores[..., d + 1 :] @ weight_tokens.mT @ weight_tokens / n
        update = (
            torch.cat(torch.broadcast_tensors(data, weights), dim=-1)
            @ self.value[d + 1 : -1].mT
        )
        return message + update.squeeze(-2)


def gradient_descent_weights(d: int, step_size: float) -> LinearSelfAttention:
    """The layer whose answer is exactly one gradient step
    (:prf:ref:`thm-construction`).

    Q carries the last token's (w, 1) to the scores x_i'w - y_i; V carries x_i to the
    weight block, times -step_size. Weight tokens score zero, so earlier messages in the
    context change nothing.

    Raises:
        ValueError: a step size that is not a positive finite number.
    """
    step_size = _checks.finite_number("step_size", step_size, above=0)
    layer = LinearSelfAttention(d)
    identity = torch.eye(d, dtype=torch.float64)
    with torch.no_grad():
        layer.query[:d, d + 1 : -1] = identity
        layer.query[d, -1] = -1
        layer.value[d + 1 : -1, :d] = -step_size * identity
    return layer


class LSAAgent:
    """An agent whose turn is one forward pass of an LSA layer over its prompt and the
    message.

    Args:
        model: the layer, trained or constructed.
        prompt: the agent's own prompt, of the layer's dimension.

    Raises:
        ValueError: a prompt whose dimension or dtype is not the layer's.
    """

    def __init__(self, model: LinearSelfAttention, prompt: Prompt) -> None:
        if prompt.dimension != model.d:
            raise _checks.bad(
                "prompt",
                f"of dimension {prompt.dimension}",
                f"of the layer's dimension {model.d}",
            )
        if prompt.inputs.dtype != model.value.dtype:
            raise _checks.bad(
                "prompt",
                f"of {prompt.inputs.dtype}",
                f"of the layer's {model.value.dtype}",
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

    @torch.no_grad()
    def __call__(self, message: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """The layer's answer to one message, shape (..., d)."""
        message = _checks.message(
            "message", message, like=self.target, batch=self.batch
        )
        return self.model.step(
            self.prompt.gram, self.prompt.examples, message.unsqueeze(-2)
        )

    def affine(self) -> tuple[Float[Tensor, "... d d"], Float[Tensor, "... d"]]:
        """(A, b) measured by d + 1 forward passes, at the origin and at each unit
        vector.

        Exact for a layer whose answer is affine in the message: one whose weight tokens
        do not attend to each other. What is left of that attention in a trained layer
        grows with the cube of the message.
        """
        gram = self.prompt.gram
        d = self.model.d
        probes = torch.cat([gram.new_zeros(1, d), eye(self.prompt.covariance)])
        batch = self.batch
        probes = probes.reshape(d + 1, *([1] * len(batch)), d).expand(d + 1, *batch, d)
        answers = torch.stack([self(probe) for probe in probes])
        b = answers[0]
        return (answers[1:] - b).movedim(0, -1), b
