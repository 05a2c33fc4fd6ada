"""Each theory through fit, interval, limit, contour, scan, posterior and toys, which have no word about any of them.

What the verbs say is compared with the profile of chi2 at one point, `jcevns.profile`, which is compared with
independent calculations elsewhere.
"""

import dataclasses

import numpy as np
import pytest

import jcevns as jc

NINETY = jc.chi2_threshold(0.90)


@dataclasses.dataclass(frozen=True)
class Case:
    """A theory, the parameter of the one-dimensional verbs, and a plane with the ranges of its scan."""

    theory: str
    name: str
    plane: dict[str, tuple[float, float]]
    at: dict[str, float] = dataclasses.field(default_factory=dict)
    contour: bool = True
    experiment: str = "xenonnt-2024-s2"

    @property
    def inside(self) -> np.ndarray:
        """Values of the parameter in its range of the plane."""
        return np.linspace(*self.plane[self.name], 9)


BOSON = {"coupling": (0.0, 2e-4), "sin2w": (0.1, 0.4)}
CASES = (
    Case("charge-radius", "r2_emu", {"r2_emu": (-40.0, 40.0), "r2_ee": (-100.0, 60.0)}),
    Case("millicharge", "q_ee", {"q_ee": (-3e3, 3e3), "sin2w": (0.1, 0.4)}),
    Case("magnetic-moment", "moment", {"moment": (0.0, 3e3), "sin2w": (0.1, 0.4)}),
    Case("dipole-portal", "moment", {"moment": (0.0, 3e3), "sin2w": (0.1, 0.4)}, {"mass": 1.0}),
    Case("dark-photon", "coupling", BOSON, {"mass": 10.0}),
    Case("b-3ltau", "coupling", BOSON, {"mass": 10.0}),
    Case("lmu-ltau", "coupling", {"coupling": (0.0, 5e-3), "sin2w": (0.1, 0.4)}, {"mass": 10.0}),
    Case("ngi", "C_S", {"C_S": (-0.3, 0.3), "C_V": (-0.4, 1.0)}),
    Case(
        "standard-model:R_n=5",
        "R_n",
        {"R_n": (3.0, 8.0), "sin2w": (0.1, 0.4)},
        experiment="coherent-csi-2021:shapes=none",
    ),
    # Solar neutrinos measure one charge: in the plane with sin2w what they allow is an endless strip.
    Case("standard-model:g_V_n=-0.5", "g_V_n", {"g_V_n": (-0.8, -0.1), "sin2w": (0.1, 0.4)}, contour=False),
    Case("nsi:propagation=standard:earth=day", "eps_u_ee", {"eps_u_ee": (-0.3, 0.7), "eps_d_emu": (-0.4, 0.4)}),
)


@pytest.fixture(params=CASES, ids=lambda case: f"{case.theory}-{case.name}", scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def likelihood(case: Case) -> jc.Likelihood:
    return jc.Likelihood(case.experiment, case.theory)


def _chi2(case: Case, likelihood: jc.Likelihood, **values: float) -> float:
    return float(jc.profile(likelihood, {**case.at, **values}).chi2)


def _edges(ends: np.ndarray, case: Case, likelihood: jc.Likelihood) -> np.ndarray:
    """Ends that are no bound of the parameter."""
    parameter = likelihood.parameters[case.name]
    return ends[np.isfinite(ends) & (ends != parameter.lower) & (ends != parameter.upper)]


def test_fit_and_interval(case: Case, likelihood: jc.Likelihood) -> None:
    best = jc.fit(likelihood, case.name, at=case.at)
    assert best.valid, best.problems
    value = best.values[case.name]
    assert _chi2(case, likelihood, **{case.name: value}) == pytest.approx(best.chi2_min, abs=1e-7)
    scanned = [_chi2(case, likelihood, **{case.name: float(x)}) for x in case.inside]
    assert best.chi2_min <= min(scanned) + 1e-9
    found = jc.interval(likelihood, case.name, at=case.at, cl=0.90)
    assert found.valid
    edges = _edges(np.array(found.segments, float).ravel(), case, likelihood)
    assert len(edges)
    for edge in edges:
        assert _chi2(case, likelihood, **{case.name: edge}) - best.chi2_min == pytest.approx(NINETY, abs=1e-4)


def test_limit(case: Case, likelihood: jc.Likelihood) -> None:
    """The complement of the interval."""
    (limit,) = jc.limits(likelihood, case.name, at=case.at)
    found = jc.interval(likelihood, case.name, at=case.at, cl=0.90)
    assert limit.valid
    ends = [_edges(np.array(one, float).ravel(), case, likelihood) for one in (limit.segments, found.segments)]
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-5)


def test_scan_and_contour(case: Case, likelihood: jc.Likelihood) -> None:
    axes = {name: np.linspace(*ends, 9) for name, ends in case.plane.items()}
    scan = jc.scan(likelihood, axes, at=case.at, progress=False)
    assert bool(scan.valid.all())
    for i, j in ((0, 0), (3, 5), (8, 2)):
        point = {name: float(axis[k]) for (name, axis), k in zip(axes.items(), (i, j), strict=True)}
        assert float(scan.chi2[i, j]) == pytest.approx(_chi2(case, likelihood, **point), abs=1e-7)
    if not case.contour:
        return
    region = jc.contour(likelihood, tuple(case.plane), at=case.at, cl=0.683)
    assert region.valid, region.problems
    assert region.chi2_min <= float(scan.chi2.min()) + 1e-9


def test_posterior(case: Case, likelihood: jc.Likelihood) -> None:
    """Draws against quantiles of the nuisances integrated by Laplace's method on a grid."""
    low, high = case.plane[case.name]
    prior = {case.name: f"uniform:{low:g}:{high:g}"}
    drawn = jc.sample(likelihood, case.name, priors=prior, at=case.at, method="independence", samples=1000, seed=1)
    assert not drawn.problems
    values = drawn.samples(case.name)
    marginal = jc.laplace(likelihood, {case.name: np.linspace(low, high, 201)}, priors=prior, at=case.at)
    for p in (0.16, 0.5, 0.84):
        assert float(np.mean(values < marginal.quantile(case.name, p))) == pytest.approx(p, abs=0.03)


def test_toys(case: Case, likelihood: jc.Likelihood) -> None:
    """None is lost, and the truth is beyond the 90% threshold in no more toys than a tenth and four sigmas."""
    toys = jc.throw(likelihood, case.name, float(case.inside[5]), 100, at=case.at, seed=2)
    assert bool(toys.valid.all())
    assert np.all(toys.chi2_truth >= toys.chi2 - 1e-6)
    assert float(np.mean(toys.q > NINETY)) < 0.1 + 4 * 0.03
