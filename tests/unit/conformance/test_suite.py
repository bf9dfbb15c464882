from __future__ import annotations

from conformance.suite import Check, Scenario, problems, unexpected

GOOD = Scenario("good", (Check("wire", "SUCCESS", ""), Check("sent", "INFO", "")))
BAD = Scenario("bad", (Check("wire", "SUCCESS", ""), Check("text", "FAILURE", "no text"), Check("id", "WARNING", "0")))


def test_scenario_that_succeeds_is_no_problem() -> None:
    assert problems([GOOD], {}) == []


def test_each_failed_check_and_each_warning_is_named_with_its_message() -> None:
    assert problems([GOOD, BAD], {}) == ["bad:text FAILURE no text", "bad:id WARNING 0"]


def test_scenario_in_which_nothing_was_checked_is_a_problem() -> None:
    shows_nothing = Scenario("silent", (Check("sent", "INFO", ""), Check("other", "SKIPPED", "")))
    assert len(problems([shows_nothing, Scenario("absent", ())], {})) == 2


def test_expected_scenario_may_fail_as_a_whole() -> None:
    assert problems([BAD], {"bad": "known"}) == []


def test_expected_check_excuses_no_other() -> None:
    assert problems([BAD], {"bad:text": "known"}) == ["bad:id WARNING 0"]
    assert unexpected(BAD, {"bad:text": "known"}) == ["bad:id WARNING 0"]
    assert unexpected(GOOD, {}) == []


def test_expectation_that_succeeds_or_is_not_there_is_stale() -> None:
    stale = problems([GOOD, BAD], {"good": "a", "bad": "b", "bad:wire": "c", "gone": "d"})
    assert [entry.split(" ")[0] for entry in stale] == ["good:", "bad:wire:", "gone:"]
