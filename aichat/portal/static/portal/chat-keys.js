// The keyboard: single letters outside of text fields, Escape everywhere. The list is under "?".

import { base } from "./api.js";
import { openDialog } from "./dialogs.js";
import { find } from "./page.js";

// Listen to the keyboard. `shown` returns the messages on the page, `stop` ends the answer that is being written.
export function listen({ shown, stop }) {
    const press = (role, what) => {
        const items = document.querySelectorAll(`article.${role} [data-do=${what}]:not(:disabled)`);
        if (shown().length) items[items.length - 1]?.click();
    };
    const last = (what) => document.querySelector(`article.assistant:last-of-type [data-do=${what}]:not(:disabled)`)?.click();
    const keys = {
        "/": () => find("question").focus(),
        n: () => location.assign(base),
        s: () => {
            find("side").classList.add("open");
            find("search").focus();
        },
        m: () => find("model").focus(),
        e: () => press("user", "edit"),
        r: () => press("assistant", "again"),
        c: () => press("assistant", "copy"),
        "[": () => last("earlier"),
        "]": () => last("later"),
        "?": () => openDialog("help-dialog"),
    };
    document.addEventListener("keydown", (event) => {
        const isWriting = event.target.matches("input, textarea, select");
        if (document.querySelector("dialog[open], :popover-open")) return;
        if (event.key === "Escape") {
            stop();
            find("side").classList.remove("open");
            if (isWriting) event.target.blur();
            return;
        }
        if (isWriting || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
        event.preventDefault();
        keys[event.key]();
    });
    find("help").addEventListener("click", keys["?"]);
}
