"""Synthetic series."""

import numpy as np

NOISE_VARIANCE = 0.1**2 / 12  # no forecast of `two_sines` has a smaller squared error


def two_sines(count: int, steps: int, seed: int = 42) -> np.ndarray:
    """Sums of two sine waves of random frequencies and offsets, and uniform noise.

    ``0.5 sin((t - o1) (10 f1 + 10)) + 0.2 sin((t - o2) (20 f2 + 20)) + 0.1 (u - 0.5)``,
    with ``t`` from 0 to 1 and ``f1, f2, o1, o2`` and ``u`` uniform in [0, 1)

    Args:
        count: number of series.
        steps: of each; more steps sample the same stretch of time more finely.
        seed: of NumPy's `RandomState`; 42 gives the book's series, to the digit.

    Returns:
        [count, steps], float32.

    Raises:
        ValueError: for no series or no steps.

    Example:
        >>> series = two_sines(10_000, 51)[7_000:9_000]
        >>> round(float(np.mean((series[:, -1] - series[:, -2]) ** 2)), 7)
        0.0202114

    Source: Geron, Hands-On Machine Learning, 2nd edition, 2019, chapter 15.
    """
    if count < 1 or steps < 1:
        raise ValueError(f"two_sines: count ({count}) and steps ({steps}) must be at least 1.")
    random = np.random.RandomState(seed)
    f1, f2, o1, o2 = random.rand(4, count, 1)
    t = np.linspace(0, 1, steps)
    series = 0.5 * np.sin((t - o1) * (f1 * 10 + 10))
    series += 0.2 * np.sin((t - o2) * (f2 * 20 + 20))
    series += 0.1 * (random.rand(count, steps) - 0.5)
    return series.astype(np.float32)
