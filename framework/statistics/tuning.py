"""Arms compared at their own best setting of what was tuned for each."""

import pandas as pd

from .scores import Direction, orient


def best_variants(runs: pd.DataFrame, direction: Direction) -> pd.DataFrame:
    """Choose every arm's best variant by its mean over seeds, and count the search.

    A variant that lost runs, diverged or finished without a number for a score, is chosen only
    when all have; so is one with scores of fewer of its runs, as its seeds may be the easy ones.
    The choice is made on the same seeds that are then reported, so the chosen mean is slightly too
    good, the more so the more variants an arm tried; `tried` says how many, and the report prints
    it.

    Args:
        runs: columns arm, variant, seed, state, value (NaN without a score), seconds.
        direction: which way the metric improves.

    Returns:
        Index arm; columns variant (the chosen one), tried, search_seconds (all runs of the arm,
        the chosen ones included), chosen_seconds.
    """
    text = runs.astype({"arm": object, "variant": object})
    lost = (text["state"] == "diverged") | ((text["state"] == "done") & text["value"].isna())
    each = text.assign(lost=lost, missing=text["value"].isna())
    variants = each.groupby(["arm", "variant"], sort=False).agg(
        mean=("value", "mean"), lost=("lost", "mean"), missing=("missing", "mean"),
        seconds=("seconds", "sum"),
    ).reset_index()  # fmt: skip
    variants["unscored"] = variants["mean"].isna()
    variants["loss"] = -orient(direction) * variants["mean"]
    ordered = variants.sort_values(["unscored", "lost", "missing", "loss"], kind="stable")
    chosen = ordered.drop_duplicates("arm").set_index("arm")
    arms = variants.groupby("arm", sort=False)
    return pd.DataFrame(
        {
            "variant": chosen["variant"],
            "tried": arms["variant"].count(),
            "search_seconds": arms["seconds"].sum(),
            "chosen_seconds": chosen["seconds"],
        }
    ).reindex(pd.unique(text["arm"]))
