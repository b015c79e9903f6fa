"""Names of the released checkpoint's parameters, and what they are called here."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_EMBEDDERS = {
    "t_embedder": "condition.time",
    "s_embedder": "condition.second_time.embedding",
    "guidance_embedder": "condition.guidance",
}
_PATTERNS = (
    *(
        (rf"{theirs}\.mlp\.{layer}\.(\w+)", rf"{ours}.projection.{name}.\1")
        for theirs, ours in _EMBEDDERS.items()
        for layer, name in ((0, "inward"), (2, "outward"))
    ),
    (r"x_embedder\.proj\.(\w+)", r"patch_embedding.\1"),
    (r"y_embedder\.embedding_table\.weight", r"condition.classes.weight"),
    (r"blocks\.(\d+)\.attn\.qkv\.(\w+)", r"blocks.\1.attention.qkv.\2"),
    (r"blocks\.(\d+)\.attn\.([qk])_norm\.weight", r"blocks.\1.attention.\2_norm.scale"),
    (r"blocks\.(\d+)\.attn\.proj\.(\w+)", r"blocks.\1.attention.projection.\2"),
    (r"blocks\.(\d+)\.mlp\.fc1\.(\w+)", r"blocks.\1.mlp.expand.\2"),
    (r"blocks\.(\d+)\.mlp\.fc2\.(\w+)", r"blocks.\1.mlp.contract.\2"),
    (r"blocks\.(\d+)\.adaLN_modulation\.1\.(\w+)", r"blocks.\1.modulation.linear.\2"),
    (r"final_layer\.linear\.(\w+)", r"output.linear.\1"),
    (r"final_layer\.adaLN_modulation\.1\.(\w+)", r"output.modulation.linear.\1"),
)
_COMPUTED = {"pos_embed"}  # not learned: computed when the model is built


def our_name(theirs: str) -> str | None:
    """Return our name of a released parameter (`model.` in front or not), None if it is computed.

    Raises:
        KeyError: the release has no such parameter.
    """
    name = theirs.removeprefix("model.")
    if name in _COMPUTED:
        return None
    for pattern, ours in _PATTERNS:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(ours)
    raise KeyError(theirs)


def from_release(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return released parameters under the names and in the shapes of `models.dit`.

    The patch embedding is a convolution there, (D, C, p, p), and a linear layer here, (D, C p p);
    the output's order within a patch, (row, column, channel), is the same.

    Raises:
        KeyError: the release has no such parameter.
    """
    renamed = {our_name(name): value for name, value in parameters.items()}
    return {
        name: value.flatten(1) if name == "patch_embedding.weight" else value
        for name, value in renamed.items()
        if name is not None
    }
