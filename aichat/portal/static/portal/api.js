// Requests to the product's own API. The login token is in a cookie that scripts can't read; `X-Portal` says to use it.

import { language, t } from "./text.js";

export const base = document.querySelector("[data-base]").dataset.base;
let leaving = false;

// The name under which the browser keeps something for these pages: other programs on this host use the same storage.
export const storageKey = (name) => (base + name).slice(1);

// For whom this page acts: a team's ID, or nothing for the person alone. It is read once: after a choice in another tab, this
// page's next question is still paid by whom the page shows.
const organization = localStorage.getItem(storageKey("organization")) || "";
export const acting = {
    get: () => organization,
    set: (id) => (id ? localStorage.setItem(storageKey("organization"), id) : localStorage.removeItem(storageKey("organization"))),
};

export class ApiError extends Error {
    // `isWorded`: the message is in the language of the page.
    constructor(status, error, isWorded = false) {
        super(error.message || t("The server answered {status}.", { status }));
        const { code, param, reason, passkey, request_id: requestId } = error;
        Object.assign(this, { status, code, param, reason, passkey, requestId, isWorded, facts: error });
    }
}

export async function send(path, { method = "GET", body, headers = {}, signal, stay = false } = {}) {
    const options = { method, signal, headers: { "X-Portal": "1", Accept: "*/*", ...headers } };
    if (acting.get() && !path.startsWith("portal/")) options.headers["X-Organization"] = acting.get();
    if (body instanceof Blob) {
        options.headers["Content-Type"] = body.type;
        options.body = body;
    } else if (body !== undefined) {
        options.headers["Content-Type"] = "application/json";
        options.body = JSON.stringify(body);
    }
    const response = await fetch(base + path, options);
    if (response.ok) return response;
    let error = {};
    try {
        error = (await response.json()).error;
    } catch {
        // Something before the server answered, a proxy for one: there is only the status.
    }
    if (response.status === 401 && !path.startsWith("portal/") && !stay && !leaving) {
        leaving = true; // a page asks several things at once, and a second navigation would abort the first
        const here = location.pathname + location.search + location.hash;
        location.assign(`${base}login${here === base ? "" : `?next=${encodeURIComponent(here)}`}`);
    }
    throw new ApiError(response.status, error, response.headers.get("Content-Language") === language);
}

export async function ask(path, options) {
    const response = await send(path, options);
    const text = await response.text();
    return text ? JSON.parse(text) : null;
}

// A new name for each thing that is asked, so that asking twice (a lost answer) is paid once.
export function idempotencyKey() {
    return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
