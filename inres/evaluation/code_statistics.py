"""Statistics of a set of codes: how evenly and independently it uses its bits."""

import numpy as np


def code_statistics(bits: np.ndarray) -> dict[str, float | int]:
    """Statistics of the codes bool [N, h].

    Returns:
      `bits` (h), `distinct_codes`, `bit_entropy` (mean over the bits of each bit's entropy in
      bits, 1 is best), `constant_bits`, and `bit_correlation` (mean |Pearson's r| over the pairs
      of bits that are not constant, 0 is best; NaN if there is no such pair).
    """
    ones, count = bits.sum(axis=0), len(bits)
    share = np.stack([ones, count - ones]) / count
    entropy = -(share * np.log2(np.where(share > 0, share, 1.0))).sum(axis=0)
    varied = bits[:, (ones > 0) & (ones < count)].astype(np.float64)
    together = varied.T @ varied  # integers: exact, so independent of the order of rows
    mine = varied.sum(axis=0)
    covariance = count * together - np.outer(mine, mine)
    deviation = np.sqrt(np.diag(covariance))
    pairs = np.triu_indices(varied.shape[1], 1)
    packed = np.packbits(bits, axis=1)
    packed = packed[np.lexsort(packed.T)]
    r = (covariance / np.outer(deviation, deviation))[pairs]
    return {
        "bits": bits.shape[1],
        "distinct_codes": 1 + int(np.any(packed[1:] != packed[:-1], axis=1).sum()),
        "bit_entropy": float(entropy.mean()),
        "constant_bits": bits.shape[1] - varied.shape[1],
        "bit_correlation": float(np.abs(r).mean()) if len(r) else float("nan"),
    }
