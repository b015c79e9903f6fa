"""The condition of a network: times, guidance weight and class as one vector."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from components.checks import module
from framework.protocols import SecondTime, TimeEmbedding


class Condition(nn.Module):
    """The sum of embeddings of t, of the second time, of beta = 1/w and of the class."""

    def __init__(
        self,
        hidden_size: int,
        num_classes: int,
        time_embedding: Callable[[int], TimeEmbedding],
        second_time: Callable[[Callable[[], TimeEmbedding]], SecondTime],
        guidance_embedding: bool,
    ) -> None:
        super().__init__()

        def embedding() -> TimeEmbedding:
            return time_embedding(hidden_size)

        self.time = module("time_embedding", embedding())
        self.second_time = module("second_time", second_time(embedding))
        self.guidance = module("time_embedding", embedding()) if guidance_embedding else None
        self.classes = nn.Embedding(num_classes + 1, hidden_size)  # the empty class is the last

    def forward(self, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> Tensor:
        """Return the condition (B, D) of times t >= s, classes c and weights w, each (B,)."""
        condition = self.time(t) + self.second_time(t, s) + self.classes(c)
        if self.guidance is not None:
            condition = condition + self.guidance(w.reciprocal())
        embedded: Tensor = condition
        return embedded
