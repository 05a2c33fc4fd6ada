"""The record of a parameter, names and how they are found, and where bounds come from."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jcevns as jc
from jcevns.parameters import Parameter, Parameters, declared, leaves_of
from jcevns.physics.interaction import at_path, theory_parameters
from tests import problems
from tests.reference import run_python

# The record -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lower": 1.0, "upper": 1.0}, "parameter 'x': lower bound 1.0 must be below the upper bound 1.0"),
        ({"lower": 2.0, "upper": 1.0}, "lower bound 2.0 must be below the upper bound 1.0"),
        ({"lower": math.nan}, "lower bound nan must be below"),
        ({"default": -1.0, "lower": 0.0}, r"parameter 'x': default -1\.0 must be within 0 and inf"),
        ({"default": 3.0, "lower": 0.0, "upper": 2.0}, "must be within 0 and 2"),
        ({"default": math.nan}, "default nan must be within"),
        ({"default": math.inf}, "default inf must be within"),
        ({"sigma": 0.0}, r"parameter 'x': sigma 0\.0 must be positive, or absent"),
        ({"sigma": math.inf}, "sigma inf must be positive, or absent"),
        ({"scale": -1.0}, r"scale -1\.0 must be positive, or absent"),
    ],
)
def test_bad_records(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        Parameter("x", **settings)


def test_values_are_checked_against_bounds() -> None:
    record = Parameter("x", 1.0, "MeV", lower=0.0, upper=2.0, sigma=0.1)
    assert record.constrained
    for value in (0.0, 2.0, 1, np.array([0.5, 1.5]), jnp.asarray(0.3)):
        record.check(value)
    for value, message in (
        (-0.1, r"x -0\.1 is outside \[0, 2\] MeV"),
        ([0.5, 2.5], r"x \[0\.5, 2\.5\] is outside \[0, 2\] MeV"),
        (math.nan, "x nan must be finite"),
        (math.inf, "x inf must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            record.check(value)
    # A tracer has no value: nothing is said.
    jax.jit(lambda v: (record.check(v), v)[1])(jnp.asarray(-5.0))


def test_records_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Parameter("x").default = 2.0


# Names ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def combined() -> Parameters:
    return problems.joint(problems.BOTH).parameters


def test_order_is_theory_fluxes_nuisances(combined) -> None:
    assert list(combined) == [
        "sin2w",
        "a_k",
        "r0",
        "flux.b8",
        "xenonnt-2024-s2.fiducial_volume",
        "xenonnt-2024-s2.accidental",
        "xenonnt-2024-s2.neutron",
        "xenonnt-2024-s2.electronic",
        "pandax4t-us2.signal",
        "pandax4t-us2.cathode",
        "pandax4t-us2.microdischarge",
    ]
    assert [p.kind for p in combined.values()] == ["theory"] * 3 + ["flux"] + ["normalisation"] * 7
    official = jc.Likelihood("xenonnt-2024").parameters
    assert list(official)[-2:] == ["xenonnt-2024.t_ly", "xenonnt-2024.t_qy"]
    shape = official["t_ly"]
    assert (shape.kind, shape.default, shape.sigma, shape.lower, shape.upper) == ("shape", 0.0, 1.0, -3.0, 3.0)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("flux", "flux.b8"),
        ("b8", "flux.b8"),
        ("flux.b8", "flux.b8"),
        ("accidental", "xenonnt-2024-s2.accidental"),
        ("cathode", "pandax4t-us2.cathode"),
        ("sin2w", "sin2w"),
    ],
)
def test_short_names(short, full, combined) -> None:
    assert combined[short].name == full
    assert short in combined
    assert combined.full(short) == (full,)
    assert combined.full_values({short: combined[full].default}) == {full: combined[full].default}


def test_ambiguous_names(combined) -> None:
    for name in ("xenonnt-2024-s2", "pandax4t-us2"):
        assert name not in combined
        with pytest.raises(ValueError, match=rf"parameter '{name}' is ambiguous: {name}\.\w+, {name}\.\w+"):
            combined[name]
    several = Parameters([Parameter("flux.b8"), Parameter("flux.sns"), Parameter("a.norm"), Parameter("b.norm")])
    with pytest.raises(ValueError, match=r"'flux' is ambiguous: flux\.b8, flux\.sns"):
        several["flux"]
    with pytest.raises(ValueError, match=r"'norm' is ambiguous: a\.norm, b\.norm"):
        several.full(["norm"])
    assert several["a"].name == "a.norm"
    # A full name wins over what it could be short for.
    assert Parameters([Parameter("norm"), Parameter("a.norm")])["norm"].name == "norm"
    # Parts at dots alone: no beginnings of words.
    with pytest.raises(ValueError, match="unknown parameter 'sns2'"):
        several["sns2"]


def test_unknown_names_suggest_the_nearest(combined) -> None:
    for name, near in (("sin2W", "sin2w"), ("accidentl", "xenonnt-2024-s2.accidental"), ("flux.b9", "flux.b8")):
        with pytest.raises(ValueError, match=rf"unknown parameter '{name}' \(did you mean {near}\?\): choose from "):
            combined[name]
    with pytest.raises(ValueError, match=r"unknown parameter 'zzz': choose from sin2w, a_k, r0, flux\.b8, "):
        combined["zzz"]
    assert "zzz" not in combined
    assert 3 not in combined


def test_names_given_twice(combined) -> None:
    with pytest.raises(ValueError, match=r"parameter 'flux\.b8' is named twice"):
        combined.full(["flux", "flux.b8"])
    with pytest.raises(ValueError, match=r"parameter 'flux\.b8' is named twice"):
        combined.full_values({"flux": 5e6, "b8": 5e6})
    with pytest.raises(ValueError, match="two parameters are called 'x': rename one of them"):
        Parameters([Parameter("x"), Parameter("x")])


def test_every_verb_takes_short_names_and_refuses_the_same_way() -> None:
    here = problems.joint(problems.BOTH)
    assert float(jc.chi2(here, {"flux": 6e6})) == float(jc.chi2(here, {"flux.b8": 6e6}))
    for call in (
        lambda name: jc.chi2(here, {name: 1.0}),
        lambda name: jc.profile(here, {name: 1.0}),
        lambda name: jc.interval(here, name),
        lambda name: jc.fit(here, name),
        lambda name: jc.limits(here, name),
        lambda name: jc.contour(here, ("sin2w", name)),
        lambda name: jc.interval(here, "sin2w", at={name: 1.0}),
        lambda name: jc.interval(here, "sin2w", profiled=name),
        lambda name: jc.signal(here, {name: 1.0}),
        lambda name: jc.component_counts(here, {name: 1.0}),
        lambda name: jc.to_pyhf(here, {name: 1.0}),
        lambda name: jc.profile_curve(here, name, [1.0]),
    ):
        with pytest.raises(ValueError, match=r"unknown parameter 'cathod' \(did you mean pandax4t-us2\.cathode\?\)"):
            call("cathod")


def test_roles_exclude_each_other() -> None:
    here = problems.joint(problems.BOTH)
    for options, message in (
        ({"at": {"sin2w": 0.2}}, "'sin2w' is both varied and fixed: name it once"),
        ({"at": {"flux": 5e6}, "profiled": "flux"}, r"'flux\.b8' is profiled, and varied or fixed: name it once"),
        ({"profiled": "sin2w"}, "'sin2w' is profiled, and varied or fixed"),
        ({"constrained": "sin2w"}, "'sin2w' has no constraint to keep"),
        (
            {"constrained": "flux"},
            r"'flux\.b8' is not among the parameters that vary: it keeps its constraint anyway",
        ),
        ({"at": {"flux": -1.0}}, r"flux\.b8 -1\.0 is outside \[0, inf\] cm\^-2 s\^-1"),
    ):
        with pytest.raises(ValueError, match=message):
            jc.interval(here, "sin2w", **options)


def test_table(combined) -> None:
    lines = str(combined).splitlines()
    assert lines[0].split() == ["parameter", "default", "constraint", "bounds", "unit"]
    assert len(lines) == 1 + len(combined)
    by_name = {line.split()[0]: line for line in lines[1:]}
    assert by_name["flux.b8"].split() == ["flux.b8", "5.46e+06", "+-", "6.55e+05", "[0,", "inf]", "cm^-2", "s^-1"]
    assert by_name["sin2w"].split() == ["sin2w", "0.23857", "[-0.108277,", "inf]"]
    assert by_name["pandax4t-us2.cathode"].split()[1:4] == ["1", "+-", "0.31"]
    assert len({line.index("[") for line in lines[1:] if "[" in line}) == 1  # columns stand below each other
    assert repr(combined) == str(combined)


# Where they come from -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("experiments", "lower"),
    [
        ("xenonnt-2024-s2", -0.108),
        ("pandax4t-us2", -0.108),
        ("coherent-lar-2020:correction=none", -0.056),
        ("xenonnt-er-2022", -math.inf),
        ("texono-2010", -math.inf),
        (["xenonnt-2024-s2", "coherent-lar-2020:correction=none"], -0.108),
        (["xenonnt-2024-s2", "xenonnt-er-2022"], -math.inf),
    ],
)
def test_branch_of_the_mixing_angle_belongs_to_the_target(experiments, lower) -> None:
    """On nuclei every point below the mirror point has a twin above it; electrons tell them apart."""
    from jcevns.experiments.catalogue import parse_experiment

    names = [experiments] if isinstance(experiments, str) else experiments
    found = jc.Likelihood([parse_experiment(n) for n in names]).parameters["sin2w"]
    assert found.lower == (lower if math.isinf(lower) else pytest.approx(lower, abs=7e-4))
    assert ("mirror point" in found.note) is math.isfinite(lower)
    assert (f"{found.lower:g}" in found.prior) is math.isfinite(lower)


def test_electrons_below_the_mirror_point_of_xenon() -> None:
    """0.254 +0.118 -0.648 of XENONnT's electron recoils reaches below where xenon's nuclei end."""
    found = jc.fit("xenonnt-er-2022", "sin2w")
    down, up = found.errors["sin2w"]
    assert found.valid
    assert found.values["sin2w"] == pytest.approx(0.254, abs=0.002)
    assert up == pytest.approx(0.118, abs=0.002)
    assert down == pytest.approx(0.648, abs=0.005)
    assert found.values["sin2w"] - down < -0.108


def test_fluxes() -> None:
    record = jc.physics.b8().parameter
    assert (record.name, record.default, record.unit) == ("flux.b8", 5.46e6, "cm^-2 s^-1")
    assert record.sigma == pytest.approx(0.12 * 5.46e6)
    assert (record.lower, record.null, record.kind) == (0.0, 0.0, "flux")
    for name, experiment, sigma in (
        ("flux.sns", "coherent-csi-2021", 0.1),
        ("flux.solar", "xenonnt-er-2022", 0.1),
        ("flux.reactor", "texono-2010", None),
    ):
        relative = jc.Likelihood(experiment).parameters[name]
        assert (relative.default, relative.unit, relative.sigma) == (1.0, "", sigma)


class Length(jc.physics.AbstractFormFactor):
    length: jax.Array = jc.parameter(4.0, unit="fm", lower=0.0, upper=10.0, label="$R$ [fm]")

    def __call__(self, q2, nucleus):
        return jnp.exp(-q2 * self.length**2 / 6 / 197.327**2)


class Two(jc.Interaction):
    """A user's class: two parameters, one with a constraint, and a field that is none."""

    eps: jax.Array = jc.parameter(
        0.0, lower=-1.0, upper=2.0, label=r"$\epsilon$", note="of mine", null=0.0, scale=0.1
    )
    norm: jax.Array = jc.parameter(1.0, lower=0.0, sigma=0.2)
    fixed: jax.Array = eqx.field(default=3.0)
    extra: jax.Array | None = jc.parameter(None, unit="MeV")
    form: jc.physics.AbstractFormFactor = eqx.field(default_factory=Length)

    def weights(self):
        return (self.norm * (1 + self.eps) ** 2)[None]

    def terms(self, recoil, particle, flavour):
        form = self.form(2 * particle.mass * recoil, particle) ** 2
        return jnp.stack([form, -form * recoil, -form * recoil * particle.mass / 2])[None] * 7e-15


def test_a_users_class_declares_its_parameters() -> None:
    assert list(theory_parameters(Two())) == ["eps", "norm", "length"]
    assert list(theory_parameters(Two(extra=2.0))) == ["eps", "norm", "extra", "length"]
    theory = Two(eps=0.5, form=Length(5.0))
    found = declared(theory)
    assert {name: record.default for name, record in found.items()} == {"eps": 0.5, "norm": 1.0, "length": 5.0}
    for path, record in leaves_of(theory):
        assert float(at_path(theory, path)) == record.default
    eps = jc.Likelihood("xenonnt-2024-s2", theory).parameters["eps"]
    assert (eps.lower, eps.upper, eps.scale, eps.null, eps.kind) == (-1.0, 2.0, 0.1, 0.0, "theory")
    assert (eps.label, eps.note) == (r"$\epsilon$", "of mine")
    for bad in ({"eps": 3.0}, {"norm": -1.0}, {"form": lambda: Length(11.0)}):
        with pytest.raises(ValueError, match="is outside"):
            jc.Likelihood("xenonnt-2024-s2", Two(**{k: v() if callable(v) else v for k, v in bad.items()}))


def test_constraints_of_a_theory_count_in_chi2() -> None:
    here = jc.Likelihood("xenonnt-2024-s2", Two())
    base = float(jc.chi2(here))
    # Twice the weight either way; only the factor with a constraint costs something.
    by_norm, by_eps = (float(jc.chi2(here, at)) for at in ({"norm": 1.1}, {"eps": 1.1**0.5 - 1}))
    assert by_norm - by_eps == pytest.approx((0.1 / 0.2) ** 2, rel=1e-9)
    assert base != by_eps
    # It is profiled where it is not named, and free where it is.
    free = jc.interval(here, "eps", 0.683)
    held = jc.interval(here, "eps", 0.683, at={"norm": 1.0})
    assert free.valid
    assert held.valid
    assert free.upper - free.lower > 1.01 * (held.upper - held.lower)
    values = np.linspace(0.8, 1.2, 41)
    for end in (free.lower, free.upper):
        scanned = np.array([float(jc.profile(here, {"eps": end, "norm": n}).chi2) for n in values])
        curve = np.polynomial.Polynomial.fit(values, scanned + ((values - 1) / 0.2) ** 2, 8)
        lowest = np.min(curve(np.linspace(0.8, 1.2, 40001)))
        assert lowest == pytest.approx(free.chi2_min + free.threshold, abs=1e-5)


def test_names_that_collide_are_refused_where_the_likelihood_is_made() -> None:
    class Clash(jc.Interaction):
        b8: jax.Array = jc.parameter(1.0)
        inner: jc.physics.AbstractFormFactor = eqx.field(default_factory=lambda: Same())

        def terms(self, recoil, particle, flavour):
            return jnp.stack([recoil, recoil, recoil])[None]

    class Same(jc.physics.AbstractFormFactor):
        b8: jax.Array = jc.parameter(1.0)

        def __call__(self, q2, nucleus):
            return q2

    with pytest.raises(ValueError, match=r"two parameters of the theory are called 'Clash\.b8'"):
        jc.Likelihood("xenonnt-2024-s2", Clash())


def test_messages_without_run_time_type_checks() -> None:
    done = run_python(
        "import jcevns as jc\n"
        "for call in (lambda: jc.Parameter('x', sigma=-1.0), lambda: jc.ScalarMediator(mass=-1.0)):\n"
        "    try:\n"
        "        call()\n"
        "    except ValueError as error:\n"
        "        print(error)\n"
    )
    assert done.stdout.splitlines() == [
        "parameter 'x': sigma -1.0 must be positive, or absent",
        "mass -1.0 is outside [0, inf] MeV",
    ], done.stderr
