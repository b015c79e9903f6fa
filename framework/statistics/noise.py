"""Two sources of noise apart: the draw of evaluation samples and the seed of training."""

import numpy as np
import pandas as pd


def noise_components(blocks: pd.DataFrame) -> pd.DataFrame:
    """Evaluation noise and seed noise of each arm, by one-way random-effects analysis of variance.

    value = mean + seed effect + block effect. With b blocks a run the mean square within runs
    estimates the block variance v_e, and the variance of the runs' means estimates
    v_seed + v_e / b; hence v_seed by difference, floored at zero (Searle, Casella and McCulloch,
    Variance Components, 1992, sec. 3.5). Runs with different numbers of blocks take their own
    v_e / b, averaged. Blocks without a number tell nothing of either noise and are left out.

    Args:
        blocks: columns arm, seed, block, value; one row a disjoint block of samples of one run.

    Returns:
        Index arm; columns evaluation_sd (of a run's mean over its blocks; NaN with one block),
        block_sd (of one block), seed_sd (NaN below two runs; the block noise taken out where it
        is known), total_sd (of runs' means), runs, blocks (mean a run).
    """
    known = blocks.dropna(subset="value").astype({"arm": object})
    runs = known.groupby(["arm", "seed"], sort=False)["value"]
    each = pd.DataFrame({"mean": runs.mean(), "n": runs.count(), "within": runs.var(ddof=1)})
    each["freedom"] = (each["n"] - 1).clip(lower=0)
    each["squares"] = each["within"].fillna(0.0) * each["freedom"]
    each["share"] = 1.0 / each["n"]
    arms = each.groupby("arm", sort=False)
    freedom = arms["freedom"].sum()
    block_variance = arms["squares"].sum() / freedom.where(freedom > 0)
    evaluation_variance = block_variance * arms["share"].mean()
    total_variance = arms["mean"].var(ddof=1)
    seed_variance = (total_variance - evaluation_variance.fillna(0.0)).clip(lower=0.0)
    return pd.DataFrame(
        {
            "evaluation_sd": np.sqrt(evaluation_variance),
            "block_sd": np.sqrt(block_variance),
            "seed_sd": np.sqrt(seed_variance),
            "total_sd": np.sqrt(total_variance),
            "runs": arms["n"].count(),
            "blocks": arms["n"].mean(),
        }
    )
