"""Who gets what: decisions on plain values, checked against what chance allows."""

from itertools import pairwise
from math import sqrt
from uuid import UUID, uuid5

from aichat.flags.rules import Audience, ExperimentRule, Rules, Subject, Treatment, Variant, bucket

NAMESPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
USERS = [Subject(uuid5(NAMESPACE, str(number)), "USER") for number in range(20_000)]
ACME, GLOBEX = UUID(int=1), UUID(int=2)


def chosen(audience: Audience, key: str = "new_greeting") -> set[UUID | None]:
    return {who.user for who in USERS if audience.includes(key, who, who.user)}


def experiment(key: str = "prompt", audience: Audience | None = None, **fields: object) -> ExperimentRule:
    variants = (Variant("control", 50, Treatment()), Variant("short", 50, Treatment(system="Be brief.")))
    return ExperimentRule(key, audience or Audience(), **{"variants": variants, **fields})  # type: ignore[arg-type]


def within_chance(count: int, of: int, share: float) -> bool:
    """Whether a fair draw would be this far off less than once in 15,000 times (four standard deviations)."""
    return abs(count - of * share) <= 4 * sqrt(of * share * (1 - share))


def test_a_percentage_takes_its_share_of_users() -> None:
    for percentage in (1, 10, 50, 99):
        assert within_chance(len(chosen(Audience(percentage))), len(USERS), percentage / 100)


def test_a_growing_percentage_moves_nobody_out() -> None:
    steps = [chosen(Audience(percentage)) for percentage in (0, 1, 10, 20, 60, 100)]
    assert all(fewer < more for fewer, more in pairwise(steps))
    assert steps[0] == set() and len(steps[-1]) == len(USERS)


def test_two_flags_draw_different_users() -> None:
    both = chosen(Audience(50), "one") & chosen(Audience(50), "two")
    assert within_chance(len(both), len(USERS), 0.25)


def test_a_decision_never_changes_between_versions() -> None:
    """Changing the hash would move every user of every installation: this number is part of the product."""
    assert round(bucket("new_greeting", UUID(int=7)), 6) == 47.415637


def test_roles_and_organizations_narrow_the_audience() -> None:
    audience = Audience(roles=frozenset({"SUBSCRIBER"}), organizations=frozenset({ACME}))
    user = UUID(int=9)
    assert audience.includes("flag", Subject(user, "SUBSCRIBER", ACME), user)
    assert not audience.includes("flag", Subject(user, "USER", ACME), user)
    assert not audience.includes("flag", Subject(user, "SUBSCRIBER", GLOBEX), user)


def test_named_users_are_in_whatever_the_percentage() -> None:
    bob = USERS[3]
    assert bob.user
    assert chosen(Audience(0, users=frozenset({bob.user}))) == {bob.user}
    assert chosen(Audience(10, users=frozenset({bob.user}))) == chosen(Audience(10)) | {bob.user}


def test_naming_users_alone_means_only_them() -> None:
    assert len(chosen(Audience(users=frozenset({UUID(int=5)})))) == 0
    assert len(chosen(Audience())) == len(USERS)


def test_nobody_in_particular_is_in_only_when_everybody_is() -> None:
    nobody = Subject()
    assert Audience().includes("flag", nobody, None) and Audience(100).includes("flag", nobody, None)
    assert not Audience(99).includes("flag", nobody, None)
    assert not Audience(roles=frozenset({"USER"})).includes("flag", nobody, None)


def test_a_schedule_begins_and_ends() -> None:
    audience = Audience(starts_at=100, ends_at=200)
    assert [audience.is_open(now) for now in (99.9, 100, 199.9, 200)] == [False, True, True, False]


# --- Experiments ------------------------------------------------------------------------------------------------------


def test_variants_get_their_weights_also_within_a_ramp() -> None:
    rule = experiment(
        audience=Audience(20),
        variants=(Variant("control", 80, Treatment()), Variant("short", 20, Treatment())),
    )
    drawn = [variant.name for who in USERS if (variant := rule.variant_for(who, None, 0))]
    assert within_chance(len(drawn), len(USERS), 0.2)
    assert within_chance(drawn.count("short"), len(drawn), 0.2)


def test_a_ramp_moves_nobody_to_another_variant() -> None:
    before = {who.user: experiment(audience=Audience(10)).variant_for(who, None, 0) for who in USERS}
    after = {who.user: experiment(audience=Audience(40)).variant_for(who, None, 0) for who in USERS}
    assert all(after[user] == variant for user, variant in before.items() if variant)


def test_conversations_of_one_user_may_have_different_variants() -> None:
    rule = experiment(by_conversation=True)
    names = {rule.variant_for(USERS[0], who.user, 0).name for who in USERS[:50]}  # type: ignore[union-attr]
    assert names == {"control", "short"}


def test_experiments_meet_unless_audience_models_or_times_keep_them_apart() -> None:
    def audience(**fields: object) -> ExperimentRule:
        return experiment(audience=Audience(**fields))  # type: ignore[arg-type]

    assert experiment("a").could_meet(experiment("b"))
    assert audience(percentage=10).could_meet(audience(percentage=10))
    assert not audience(roles=frozenset({"USER"})).could_meet(audience(roles=frozenset({"SUBSCRIBER"})))
    assert not audience(organizations=frozenset({ACME})).could_meet(audience(organizations=frozenset({GLOBEX})))
    assert not audience(ends_at=5.0).could_meet(audience(starts_at=5.0))
    assert not experiment(models=frozenset({"gpt-5"})).could_meet(experiment(models=frozenset({"auto"})))
    # Bob is named here and may have any role there.
    named = audience(roles=frozenset({"USER"}), users=frozenset({UUID(int=5)}))
    assert named.could_meet(audience(roles=frozenset({"SUBSCRIBER"})))


def test_a_variant_that_sets_the_model_is_about_requests_that_left_it_open() -> None:
    rule = experiment(variants=(Variant("a", 50, Treatment()), Variant("b", 50, Treatment(model="gpt-5"))))
    assert rule.is_about("auto") and not rule.is_about("gpt-5-mini")
    assert experiment().is_about("gpt-5-mini")


def test_a_winner_stays_in_force_under_the_next_experiment() -> None:
    decided = experiment("first", winner="short")
    running = experiment("second", variants=(Variant("warm", 100, Treatment(temperature=1.5)),))
    rules = Rules({}, {"second": running}, (decided,))
    who = USERS[0]
    assert rules.treatment(who, "auto", None, 0, lambda key: False) == Treatment(
        experiment="second", variant="warm", unit=who.user, system="Be brief.", temperature=1.5
    )
    assert rules.treatment(who, "auto", None, 0, lambda key: key == "first").system == ""
