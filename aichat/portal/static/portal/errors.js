// Errors in words, with what a person can do about them.

import { fill, language, t } from "./text.js";

const ANOTHER_MODEL = t("Choose another model, or try again in a minute.");

const MENDS = {
    insufficient_credits: t("Redeem a voucher on the page Credits, or ask your administrator for credits."),
    quota_exceeded: t("Wait for the next day or month, or ask whoever set the limit for a higher one."),
    provider_unavailable: ANOTHER_MODEL,
    provider_error: ANOTHER_MODEL,
    provider_timeout: ANOTHER_MODEL,
    model_not_found: t("Choose another model."),
    model_not_allowed: t("Choose another model."),
};

// Errors of requests to models have English words, for programs. People who read another language get these: found by the
// error's code with its reason, or with the field at fault, or alone. {names} are members of the error.
const WORDS = {
    insufficient_credits: t("Your credits do not cover this: it can cost up to {required}, and {available} are left."),
    quota_exceeded: t("This can cost up to {required} credits, and {available} are left of a spending limit."),
    content_blocked: t("The provider's safety filter refused this, and nothing was charged: say it in other words."),
    context_length_exceeded: t("The text is too long for the model: shorten it, or begin a new conversation."),
    provider_unavailable: t("The provider of the model failed."),
    provider_error: t("The provider of the model failed."),
    provider_timeout: t("The model did not answer in time."),
    model_not_found: t("There is no such model here."),
    model_not_allowed: t("You may not use this model."),
    payload_too_large: t("This was too large: send less text, or fewer or smaller files."),
    overloaded: t("The server is busy: try again in a minute."),
    cancelled: t("The answer was stopped. What had arrived is paid."),
    idempotency_conflict: t("This was asked before in another way: load the page anew, then try again."),
    idempotency_in_progress: t("This is being done already: wait a moment."),
    database_unavailable: t("The server's database does not answer. Nothing is paid twice: try again in a minute."),
    internal_error: t("Something went wrong on our side: try again. If it goes on, tell your administrator the request ID."),
    rate_limit_exceeded: t("Too many requests: wait a moment, then try again."),
    "invalid_api_key account_deactivated": t("Your account was deactivated, so the answer ended early. What had arrived is paid."),
    "invalid_api_key revoked": t("Your login has ended, so the answer ended early. What had arrived is paid: log in again."),
    "invalid_api_key membership_ended": t("You are no longer in the team that pays, so the answer ended early. What had arrived is paid."),
    "permission_denied feature_disabled": t("This is switched off here at the moment ({feature}): ask your administrator."),
    "permission_denied conversation_id": t("This conversation is shared with you to read: its owner can let you write."),
    "permission_denied system": t("The system prompt of a shared conversation is its owner's: leave it as it is."),
    "invalid_request attachments": t("A file is no longer there: add it again."),
    "invalid_request parent_id": t("The conversation has changed meanwhile: load the page anew."),
    "invalid_request replaces": t("The conversation has changed meanwhile: load the page anew."),
    "invalid_request refused_by_provider": t("The provider of the model refused this: {provider_message}"),
    "invalid_request no_vision": t("The model does not read pictures: choose another model, or remove them."),
    "invalid_request max_tokens": t("The model does not write answers this long: allow fewer tokens."),
    "invalid_request model": t("The model can't do this: choose another."),
    "invalid_request message": t("The message can't be sent so: it is empty or too long."),
    "invalid_request conversation_id": t("The conversation has changed meanwhile: load the page anew."),
    "invalid_request temperature": t("The model does not take this temperature: leave it empty."),
    "invalid_request size": t("The model does not draw this size: choose another."),
};

// Words for codes that many errors share. They are used where the server did not answer in the reader's language.
const SHARED = {
    file_limit_exceeded: t("Your files take all the room they may: delete conversations with files, or pictures, that you no longer need."),
    not_found: t("It is no longer there, or it is not yours: load the page anew."),
    permission_denied: t("You may not do this: ask an administrator."),
    invalid_request: t("This can't be done so: {message}"),
    invalid_api_key: t("Your login has ended: log in again."),
    not_authenticated: t("Your login has ended: log in again."),
};

function translated({ code, reason, param, isWorded }) {
    return WORDS[`${code} ${reason}`] ?? WORDS[`${code} ${param}`] ?? WORDS[code] ?? (isWorded ? null : SHARED[code]);
}

export function inWords(error) {
    if (error instanceof TypeError) return t("The server can't be reached. Nothing is lost: try again.");
    const id = error.requestId ? ` (${t("request {id}", { id: error.requestId })})` : "";
    const known = language === "en" ? null : translated(error);
    const facts = { ...error.facts, message: error.message };
    const isWhole = known && [...known.matchAll(/\{(\w+)\}/g)].every(([, name]) => name in facts);
    const words = isWhole ? fill(known, facts) : error.message;
    return [words, MENDS[error.code]].filter(Boolean).join(" ") + id;
}
