"""Few rows of factors in which every pair of values that is allowed occurs."""

import itertools
from functools import partial


def covering_rows(factors, allowed):
    """Rows {factor: value} in which every allowed pair occurs: greedily, no draws.

    `factors` are {name: values}; `allowed` says it of a row, whole or in part, and has to be a
    matter of pairs that leaves every factor a value.
    """
    pairs = all_pairs(factors, allowed)
    rows = []
    while pairs:
        row = dict(min(pairs, key=sorted))
        for factor in factors:
            if factor not in row:
                candidates = [v for v in factors[factor] if allowed({**row, factor: v})]
                row[factor] = max(candidates, key=partial(_gained, pairs, row, factor))
        rows.append({factor: row[factor] for factor in factors})
        pairs -= {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}
    return rows


def all_pairs(factors, allowed):
    return {
        frozenset({(a, x), (b, y)})
        for a, b in itertools.combinations(factors, 2)
        for x in factors[a]
        for y in factors[b]
        if allowed({a: x, b: y})
    }


def _gained(pairs, row, factor, value):
    return sum(frozenset({item, (factor, value)}) in pairs for item in row.items())
