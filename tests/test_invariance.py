"""What is only a way of writing a likelihood down changes nothing: order, names, splitting, empty bins."""

import dataclasses

import numpy as np
import pytest

import jcevns as jc
from jcevns.detectors import Response

RECOIL = np.linspace(0.3, 4.0, 24)  # keV
FLUX = (2.1e6, 5.46e6, 1.7e7)


@dataclasses.dataclass(frozen=True)
class Part:
    """An experiment by its numbers: nuisances are (name, sigma, components), all of them shared by name."""

    name: str
    efficiency: np.ndarray  # (recoil, bin)
    observed: np.ndarray
    backgrounds: dict[str, np.ndarray]
    nuisances: tuple[tuple[str, float, tuple[str, ...]], ...]

    def bins(self, chosen: np.ndarray, name: str) -> "Part":
        """Some of the bins, as an experiment of its own."""
        backgrounds = {k: v[chosen] for k, v in self.backgrounds.items()}
        return dataclasses.replace(
            self,
            name=name,
            efficiency=self.efficiency[:, chosen],
            observed=self.observed[chosen],
            backgrounds=backgrounds,
        )

    def built(self) -> jc.Experiment:
        return jc.Experiment(
            name=self.name,
            channels=jc.Channel(jc.physics.b8(), jc.physics.xenon(), Response(RECOIL, self.efficiency.T)),
            observed=self.observed,
            backgrounds=self.backgrounds,
            nuisances=[jc.Nuisance(n, s, c, shared=True) for n, s, c in self.nuisances],
        )


def problem(seed: int) -> list[Part]:
    """One to three experiments of 3 to 8 bins, some without events."""
    rng = np.random.default_rng(seed)
    parts = []
    for e in range(int(rng.integers(1, 4))):
        bins = int(rng.integers(3, 9))
        efficiency = rng.uniform(0, 3, bins) * np.exp(
            -0.5 * ((RECOIL[:, None] - rng.uniform(0.5, 2.5, bins)) / 0.6) ** 2
        )
        names = [f"b{e}{k}" for k in range(int(rng.integers(1, 4)))]
        backgrounds = {n: rng.uniform(0.2, 6, bins) for n in names}
        nuisances = [(f"n{n}", float(rng.uniform(0.05, 0.6)), (n,)) for n in names if rng.random() < 0.8]
        if rng.random() < 0.8:
            nuisances.append((f"efficiency{e}", float(rng.uniform(0.05, 0.3)), ("signal",)))
        if rng.random() < 0.5:
            nuisances.append((f"livetime{e}", float(rng.uniform(0.02, 0.1)), ("signal", *names)))
        observed = rng.poisson(sum(backgrounds.values()) + rng.uniform(0, 8, bins)) * (rng.random(bins) < 0.8)
        parts.append(Part(f"e{e}", efficiency, observed.astype(float), backgrounds, tuple(nuisances)))
    return parts


def shuffled(parts: list[Part], rng: np.random.Generator) -> list[Part]:
    """Experiments, bins, backgrounds and nuisances in another order."""
    found = []
    for k in rng.permutation(len(parts)):
        part = parts[k].bins(rng.permutation(parts[k].observed.size), parts[k].name)
        names = rng.permutation(list(part.backgrounds)).tolist()
        order = rng.permutation(len(part.nuisances))
        found.append(
            dataclasses.replace(
                part,
                backgrounds={n: part.backgrounds[n] for n in names},
                nuisances=tuple(part.nuisances[i] for i in order),
            )
        )
    return found


def renamed(parts: list[Part], rng: np.random.Generator) -> list[Part]:
    """Other names for everything, in another alphabetical order."""
    new = lambda name: name if name == "signal" else f"x{sum(map(ord, name)) * 7919 % 1000}-{name[::-1]}"  # noqa: E731
    return [
        dataclasses.replace(
            part,
            name=new(part.name),
            backgrounds={new(n): counts for n, counts in part.backgrounds.items()},
            nuisances=tuple((new(n), s, tuple(map(new, c))) for n, s, c in part.nuisances),
        )
        for part in parts
    ]


def split(parts: list[Part], rng: np.random.Generator) -> list[Part]:
    """Each experiment in two, with the same nuisances."""
    found = []
    for part in parts:
        order = rng.permutation(part.observed.size)
        cut = int(rng.integers(1, order.size))
        found += [part.bins(order[:cut], f"{part.name}-first"), part.bins(order[cut:], f"{part.name}-second")]
    return found


def merged(parts: list[Part], rng: np.random.Generator) -> list[Part]:
    """Bins without events as one: its expectation is all that chi2 has of them."""
    found = []
    for part in parts:
        empty, full = np.flatnonzero(part.observed == 0), np.flatnonzero(part.observed > 0)
        groups = [[i] for i in full] + ([empty.tolist()] if empty.size else [])
        join = lambda values, groups=groups: np.stack([values[..., g].sum(axis=-1) for g in groups], axis=-1)  # noqa: E731
        backgrounds = {n: join(counts) for n, counts in part.backgrounds.items()}
        found.append(
            dataclasses.replace(
                part, efficiency=join(part.efficiency), observed=join(part.observed), backgrounds=backgrounds
            )
        )
    return found


@pytest.mark.parametrize("seed", range(3))
def test_nothing_changes(seed) -> None:
    parts, rng = problem(seed), np.random.default_rng(seed)
    first = looked_at(parts)
    for change in (shuffled, renamed, split, merged):
        for (chi2, pulls, ends), (other, more, others) in zip(first, looked_at(change(parts, rng)), strict=True):
            assert other == pytest.approx(chi2, rel=1e-9, abs=1e-9), change
            np.testing.assert_allclose(more, pulls, rtol=0, atol=1e-6)
            assert others == pytest.approx(ends, rel=1e-6), change


def looked_at(parts: list[Part]) -> list[tuple[float, np.ndarray, tuple[float, ...]]]:
    """Profiles at some values of the flux, and with each the best fit and the ends of the interval."""
    likelihood = jc.Likelihood([part.built() for part in parts])
    found = jc.interval(likelihood, "flux", 0.6827)
    assert found.valid
    fits = [jc.profile(likelihood, {"flux": flux}) for flux in FLUX]
    assert all(bool(fit.valid) for fit in fits)
    return [(float(fit.chi2), np.sort(fit.pulls), (found.best_fit, found.lower or 0.0, found.upper)) for fit in fits]
