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
METERING = "generation/charging/test_metering.py::"
PICTURES = "images/test_metering.py::"
JOURNAL = "generation/charging/test_journal.py::"
BILLS = [
    Row("success", "reported usage of the serving model", "usage, cost, entry", f"{HERE}test_success_costs_the_reported_usage"),
    Row("success, usage not reported", "our estimate", "`ok`, `ESTIMATED`", f"{HERE}test_unreported_usage_is_estimated"),
    Row("success, usage reported as nothing, or a side of it missing", "the reported total less the known side, else our estimate", "`ok`, `ESTIMATED`", f"{METERING}test_an_answer_reported_as_nothing_is_not_free"),
    Row("usage a little above what was allowed (`USAGE_TOLERANCE`)", "as reported; what the hold lacks from what is available", "`ok`, `EXACT`, shortfall", f"{METERING}test_a_little_more_than_was_allowed_is_believed"),
    Row("usage above that", "what was allowed, what could have been sent", "`ok`, `IMPLAUSIBLE`, the figures as reported, an event", f"{METERING}test_an_absurd_figure_costs_no_more_than_was_allowed"),
    Row("usage negative, or beyond its column", "our estimate", "`ok`, `IMPLAUSIBLE`, the figures as reported, an event", f"{METERING}test_a_figure_beyond_the_column_is_estimated_and_told"),
    Row("refused before the provider (402, 403, 429, invalid)", "0, no hold", "refusal event", f"{HERE}test_a_refusal_before_the_provider_costs_nothing"),
    Row("provider failed, all candidates failed", "0, hold released", "a row for each attempt, with its cost", f"{HERE}test_failing_candidates_cost_nothing"),
    Row("timeout before the first token", "0, hold released", "`timeout_…`, cost of the accepted input", f"{HERE}test_a_timeout_before_the_first_token_costs_nothing"),
    Row("every breaker open", "0, no hold", "nothing", f"{HERE}test_open_breakers_cost_nothing"),
    Row("fallback succeeded", "the serving model's usage", "the failed attempt too, with its cost if it was billed to us", f"{HERE}test_a_fallback_costs_what_the_serving_model_costs"),
    Row("empty answer (200 without content)", "0; the next candidate answers", "`empty`, with its cost", f"{HERE}test_an_empty_answer_costs_nothing"),
    Row("blocked by the provider's safety filter", "0", "`blocked`, with its cost", f"{HERE}test_blocked_content_costs_nothing"),
    Row("stream broken or stalled after the first token", "what was delivered", "`partial`, `ESTIMATED`", f"{HERE}test_a_stream_that_breaks_off_costs_what_was_delivered"),
    Row("stream broken after usage was reported", "the last reported usage, unless most was delivered since", "`partial`, `ESTIMATED`", f"{METERING}test_usage_reported_before_a_stream_breaks_counts"),
    Row("JSON: body broken off", "0; the next candidate answers", "the attempt's status", f"{HERE}test_a_json_body_that_breaks_off_costs_nothing"),
    Row("client left before a provider accepted (stream)", "0", "`cancelled`", f"{HERE}test_leaving_before_a_provider_accepted_costs_nothing"),
    Row("client left after that, before the first token (stream)", "its input", "`cancelled`, `ESTIMATED`", f"{HERE}test_leaving_an_accepted_stream_costs_its_input"),
    Row("client left after the first token (stream)", "its input, what was delivered, the thinking streamed or reported until then", "`cancelled`, `ESTIMATED`", f"{HERE}test_leaving_a_stream_costs_what_was_delivered"),
    Row("client left (JSON)", "full: the answer is finished and stored", "`ok`", f"{HERE}test_leaving_a_json_request_costs_the_whole_answer"),
    Row("cache hit", "`CACHE_HIT_PRICE` of the original price, by default 0, also at balance 0", "`ok`, cached, what was saved", "promptcache/test_hits.py::test_a_hit_is_recorded_with_what_it_saved"),
    Row("cache hit with a price", "its part of the original price, rounded up; 402 when that is not there", "`ok`, cached", "promptcache/test_hits.py::test_a_hit_may_have_a_price"),
    Row("waited for an identical request's answer", "as a cache hit", "`ok`, cached", "promptcache/test_hits.py::test_identical_requests_at_once_ask_one_provider"),
    Row("database away while settling", "the same, once it is back", "the same", f"{HERE}test_a_settlement_waits_for_the_database"),
    Row("database server crashes and loses the reservation", "the same, from what is available", "the same; its hold is written as settled", "generation/charging/test_lost_reservations.py::test_a_chat_whose_reservation_a_crash_lost_is_charged_once_and_nothing_is_lost"),
    Row("worker killed before a stream was delivered", "0 once the hold expires", "hold `expired`", f"{HERE}test_what_was_never_settled_is_given_back"),
    Row("worker killed before it could settle a delivered stream", "what was delivered, from the journal", "the same, by another process", f"{JOURNAL}test_a_delivered_stream_is_settled_by_another_process_when_its_own_is_killed_while_the_database_is_away"),
    Row("image: k of n delivered", "k shares of what was reported, at most the hold", "`ok`, k images, the whole cost", f"{PICTURES}test_of_two_pictures_one_of_which_is_none_half_is_paid"),
    Row("image: usage not reported, priced by tokens", "the model's tokens of a picture", "`ok`, `ESTIMATED`", f"{PICTURES}test_a_picture_whose_usage_is_not_reported_is_estimated_and_paid"),
]  # fmt: skip


def rows() -> str:
    head = "| outcome | the user pays | recorded | test |\n| --- | --- | --- | --- |\n"
    return head + "".join(
        f"| {row.outcome} | {row.pays} | {row.recorded} | `{row.test.partition('::')[2]}` |\n" for row in BILLS
    )
