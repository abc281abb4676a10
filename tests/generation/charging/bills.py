"""The billing table: what each outcome costs, and the test that holds it. `tests/generation/faults.py` writes the page."""

# ruff: noqa: E501

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    outcome: str
    pays: str
    recorded: str
    test: str  # path::name, below tests/


HERE = "generation/charging/test_bill.py::"
JOURNAL = "generation/charging/test_journal.py::"
BILLS = [
    Row("success", "reported usage of the serving model", "usage, cost, entry", f"{HERE}test_success_costs_the_reported_usage"),
    Row("success, usage not reported", "our estimate", "`ok`, `ESTIMATED`", f"{HERE}test_unreported_usage_is_estimated"),
    Row("refused before the provider (402, 403, 429, invalid)", "0, no hold", "refusal event", f"{HERE}test_a_refusal_before_the_provider_costs_nothing"),
    Row("provider failed, all candidates failed", "0, hold released", "a row for each attempt, with its cost", f"{HERE}test_failing_candidates_cost_nothing"),
    Row("timeout before the first token", "0, hold released", "`timeout_…`, cost of the accepted input", f"{HERE}test_a_timeout_before_the_first_token_costs_nothing"),
    Row("every breaker open", "0, no hold", "nothing", f"{HERE}test_open_breakers_cost_nothing"),
    Row("fallback succeeded", "the serving model's usage", "the failed attempt too, with its cost if it was billed to us", f"{HERE}test_a_fallback_costs_what_the_serving_model_costs"),
    Row("empty answer (200 without content)", "0; the next candidate answers", "`empty`, with its cost", f"{HERE}test_an_empty_answer_costs_nothing"),
    Row("blocked by the provider's safety filter", "0", "`blocked`, with its cost", f"{HERE}test_blocked_content_costs_nothing"),
    Row("stream broken or stalled after the first token", "what was delivered", "`partial`, `ESTIMATED`", f"{HERE}test_a_stream_that_breaks_off_costs_what_was_delivered"),
    Row("JSON: body broken off", "0; the next candidate answers", "the attempt's status", f"{HERE}test_a_json_body_that_breaks_off_costs_nothing"),
    Row("client left before a provider accepted (stream)", "0", "`cancelled`", f"{HERE}test_leaving_before_a_provider_accepted_costs_nothing"),
    Row("client left after that, before the first token (stream)", "its input", "`cancelled`, `ESTIMATED`", f"{HERE}test_leaving_an_accepted_stream_costs_its_input"),
    Row("client left after the first token (stream)", "what was delivered", "`cancelled`, `ESTIMATED`", f"{HERE}test_leaving_a_stream_costs_what_was_delivered"),
    Row("client left (JSON)", "full: the answer is finished and stored", "`ok`", f"{HERE}test_leaving_a_json_request_costs_the_whole_answer"),
    Row("cache hit", "`CACHE_HIT_PRICE` of the original price, by default 0, also at balance 0", "`ok`, cached, what was saved", "promptcache/test_hits.py::test_a_hit_is_recorded_with_what_it_saved"),
    Row("cache hit with a price", "its part of the original price, rounded up; 402 when that is not there", "`ok`, cached", "promptcache/test_hits.py::test_a_hit_may_have_a_price"),
    Row("waited for an identical request's answer", "as a cache hit", "`ok`, cached", "promptcache/test_hits.py::test_identical_requests_at_once_ask_one_provider"),
    Row("database away while settling", "the same, once it is back", "the same", f"{HERE}test_a_settlement_waits_for_the_database"),
    Row("worker killed before a stream was delivered", "0 once the hold expires", "hold `expired`", f"{HERE}test_what_was_never_settled_is_given_back"),
    Row("worker killed before it could settle a delivered stream", "what was delivered, from the journal", "the same, by another process", f"{JOURNAL}test_a_delivered_stream_is_settled_by_another_process_when_its_own_is_killed_while_the_database_is_away"),
]  # fmt: skip


def rows() -> str:
    head = "| outcome | the user pays | recorded | test |\n| --- | --- | --- | --- |\n"
    return head + "".join(
        f"| {row.outcome} | {row.pays} | {row.recorded} | `{row.test.partition('::')[2]}` |\n" for row in BILLS
    )
