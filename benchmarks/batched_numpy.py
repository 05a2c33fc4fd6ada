"""A competitor in NumPy: the batched Newton fit that one would write by hand, batch axis last.

Shares no code with `jcevns.fit`. Background templates are constants, so that everything linear in them
(expected counts, gradient, Gram matrix) is one small matrix product per experiment; only the signal needs
element-wise work. The factorisation skips the structural zeros, chunks fit the cache, converged points leave.
"""

from typing import NamedTuple

import numpy as np

from jcevns import Likelihood

_STEPS = 60
_LARGEST_STEP = 2.0
_GOAL = 1e-9  # of g H^-1 g / 2 when the last step is taken, which squares the error


class _Experiment:
    """Constants of one experiment."""

    def __init__(self, observed: np.ndarray, templates: np.ndarray, bins: slice, signal: tuple, background: list):
        self.bins, self.observed, self.column = bins, observed, observed[:, None]
        self.templates = templates
        self.transposed = np.ascontiguousarray(templates.T)
        self.first, self.second = np.tril_indices(len(templates))
        self.products = templates[self.first] * templates[self.second]
        self.signal, self.background = signal, background
        self.log_data = 2 * np.sum(observed * np.log(np.where(observed > 0, observed, 1)) - observed)


class NumpyModel:
    """The numbers of a likelihood, as the batched Newton fit wants them."""

    def __init__(self, likelihood: Likelihood):
        model, layout = likelihood.model, likelihood.layout
        self.size, self.order = layout.nuisances, layout.order
        self.weight = 2 / np.asarray(model.sigma, float)[:, None] ** 2
        self.sigma = np.asarray(model.sigma, float)
        observed, background = np.asarray(model.observed, float), np.asarray(model.background, float)
        self.experiments = []
        for e, (first, stop) in enumerate(layout.bins):
            rows = [c.place for c in layout.backgrounds_of(e)]
            acting = [c.acting for c in layout.backgrounds_of(e)]
            (signal,), bins = layout.signals_of(e), slice(first, stop)
            self.experiments.append(_Experiment(observed[bins], background[rows, bins], bins, signal.acting, acting))
        users = np.bincount([j for e in self.experiments for j in e.signal], minlength=self.size)
        self.shared = int(np.argmax(users))


class NumpyFits(NamedTuple):
    """Minimum of chi2, log-factors there, and whether the decrement fell below the goal."""

    chi2: np.ndarray
    theta: np.ndarray
    valid: np.ndarray


def _product(factor: np.ndarray, acting: tuple[int, ...]) -> np.ndarray | float:
    value = factor[acting[0]] if acting else 1.0
    for j in acting[1:]:
        value = value * factor[j]
    return value


def _expected(part: _Experiment, signal: np.ndarray, factor: np.ndarray) -> tuple[np.ndarray, ...]:
    """Expected counts, and the factors of the signal and of the backgrounds."""
    scale = np.broadcast_to(_product(factor, part.signal), signal.shape[1:])
    below = np.empty((len(part.templates), signal.shape[1]))
    for row, acting in zip(below, part.background, strict=True):
        row[:] = _product(factor, acting)
    counts = part.transposed @ below
    counts += signal[part.bins] * scale
    return counts, scale, below


def _chi2(model: NumpyModel, signal: np.ndarray, theta: np.ndarray) -> np.ndarray:
    factor = np.exp(theta)
    value = 0.5 * np.sum(model.weight * (factor - 1) ** 2, axis=0)
    for part in model.experiments:
        counts = _expected(part, signal, factor)[0]
        value += 2 * counts.sum(axis=0) - 2 * part.observed @ np.log(counts) + part.log_data
    return value


def _derivatives(model: NumpyModel, signal: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, dict]:
    """Gradient, and lower triangle of the Hessian where it is not zero by structure."""
    factor = np.exp(theta)
    pull = model.weight * factor
    gradient = pull * (factor - 1)
    hessian = {(j, j): row for j, row in enumerate(gradient + pull * factor)}

    def add(c: tuple[int, ...], d: tuple[int, ...], value: np.ndarray) -> None:
        for j in c:
            for k in d:
                if c is d and k > j:
                    continue
                key = (j, k) if j > k else (k, j)
                both = 2 * value if c is not d and j == k else value
                hessian[key] = hessian[key] + both if key in hessian else both

    for part in model.experiments:
        counts, scale, below = _expected(part, signal, factor)
        inverse = 1 / counts
        ratio = part.column * inverse
        weight = ratio * inverse
        weight *= 2
        excess = 2 - 2 * ratio
        own = signal[part.bins] * scale
        strength = np.einsum("ib,ib->b", own, excess)
        for j in part.signal:
            gradient[j] += strength
        weighted = own * weight
        add(part.signal, part.signal, np.einsum("ib,ib->b", own, weighted) + strength)
        strengths = (part.templates @ excess) * below
        mixed = (part.templates @ weighted) * below
        gram = part.products @ weight
        for row, c, d in zip(gram, part.first, part.second, strict=True):
            row *= below[c]
            row *= below[d]
            if c == d:
                row += strengths[c]
            add(part.background[c], part.background[d], row)
        for acting, slope, row in zip(part.background, strengths, mixed, strict=True):
            for j in acting:
                gradient[j] += slope
            add(part.signal, acting, row)
    return gradient, hessian


def _newton(model: NumpyModel, gradient: np.ndarray, hessian: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Step, decrement, and whether the Hessian is positive definite: sparse Cholesky, private nuisances first."""
    lower: list[dict[int, np.ndarray]] = []
    inverse, white = [], []
    definite = np.ones(gradient.shape[1], bool)
    for p, i in enumerate(model.order):
        row: dict[int, np.ndarray] = {}
        pivot, value = hessian[i, i], gradient[i]
        for q, j in enumerate(model.order[:p]):
            entry = hessian.get((i, j) if i > j else (j, i))
            for k in row.keys() & lower[q].keys():
                both = row[k] * lower[q][k]
                entry = -both if entry is None else entry - both
            if entry is not None:
                row[q] = entry * inverse[q]
                pivot = pivot - row[q] * row[q]
                value = value - row[q] * white[q]
        good = pivot > 0
        if not good.all():
            definite &= good
            # The size of the diagonal instead, so that the step goes down whatever the curvature.
            pivot = np.where(pivot > 1e-6 * np.abs(hessian[i, i]), pivot, np.abs(hessian[i, i]) + 1e-150)
        inverse.append(1 / np.sqrt(pivot))
        white.append(value * inverse[-1])
        lower.append(row)
    decrement = 0.5 * sum(w * w for w in white)
    step = np.empty_like(gradient)
    for p in reversed(range(model.size)):
        white[p] = white[p] * inverse[p]
        np.negative(white[p], out=step[model.order[p]])
        for q, entry in lower[p].items():
            white[q] = white[q] - entry * white[p]
    return step, decrement, definite


def _start(model: NumpyModel, signal: np.ndarray) -> np.ndarray:
    """Signals far above the data are scaled down: all by the shared factor, or each by its widest, as is lower."""
    shared, private = np.zeros((2, model.size, signal.shape[1]))
    for part in model.experiments:
        down = np.minimum(np.log((part.observed.sum() + 1) / (signal[part.bins].sum(axis=0) + 1)), 0)
        if part.signal:
            np.minimum(shared[model.shared], down, out=shared[model.shared])
            power = np.stack([(1 - down) * np.log(model.sigma[j] ** 2) for j in part.signal])
            share = np.exp(power - power.max(axis=0))
            share *= down / share.sum(axis=0)
            for row, j in zip(share, part.signal, strict=True):
                private[j] += row / sum(j in other.signal for other in model.experiments)
    return np.where(_chi2(model, signal, shared) < _chi2(model, signal, private), shared, private)


def _fit_chunk(model: NumpyModel, signal: np.ndarray) -> tuple[NumpyFits, np.ndarray]:
    """Fits, and the Newton steps that each needed."""
    points = signal.shape[1]
    final, steps, valid = np.empty((model.size, points)), np.full(points, _STEPS), np.zeros(points, bool)
    place, here, theta = np.arange(points), signal, _start(model, signal)
    for count in range(1, _STEPS + 1):
        step, decrement, definite = _newton(model, *_derivatives(model, here, theta))
        step *= np.minimum(1, _LARGEST_STEP / np.maximum(np.abs(step).max(axis=0), 1e-30))
        theta += step
        done = (decrement < _GOAL) & definite
        steps[place[done]] = np.minimum(steps[place[done]], count)
        # Copying costs too: points leave when enough of them do.
        if done.mean() > 0.25 or done.all():
            final[:, place[done]], valid[place[done]] = theta[:, done], True
            left = ~done
            place, here, theta = place[left], here[:, left], theta[:, left]
            if not place.size:
                break
    final[:, place] = theta
    return NumpyFits(_chi2(model, signal, final), final, valid), steps


def fit_batched(model: NumpyModel, signals: np.ndarray, chunk: int = 2048) -> NumpyFits:
    """Minimum of chi2 for every column of `signals`."""
    with np.errstate(all="ignore"):
        parts = [_fit_chunk(model, signals[:, i : i + chunk])[0] for i in range(0, signals.shape[1], chunk)]
    return NumpyFits(*(np.concatenate(x, axis=-1) for x in zip(*parts, strict=True)))


def newton_steps(model: NumpyModel, signals: np.ndarray, chunk: int = 2048) -> np.ndarray:
    """Newton steps to the goal, for every point."""
    with np.errstate(all="ignore"):
        return np.concatenate(
            [_fit_chunk(model, signals[:, i : i + chunk])[1] for i in range(0, signals.shape[1], chunk)]
        )
