// What can be done with a conversation: pin, rename, share, save, delete.

import { ask } from "./api.js";
import { openSharing } from "./chat-share.js";
import { complain, find } from "./page.js";
import { answered, download } from "./parts.js";
import { t } from "./text.js";

const menu = find("menu");
let subject = null; // the conversation that the menu is about
let opener = null;
let afterwards = async () => {};

// `changed(id, what)` is told what became of a conversation: its new title, or null when it is gone.
export function onChange(changed) {
    afterwards = changed;
}

export function openMenu(conversation, button) {
    subject = conversation;
    opener = button;
    menu.querySelector("[value=pin] span").textContent = conversation.pinned ? t("Unpin") : t("Pin");
    menu.showPopover();
    const place = button.getBoundingClientRect();
    menu.style.left = `${Math.max(8, Math.min(place.right - menu.offsetWidth, innerWidth - menu.offsetWidth - 8))}px`;
    menu.style.top = `${Math.min(place.bottom + 4, innerHeight - menu.offsetHeight - 8)}px`;
    menu.querySelector("button").focus();
}

menu.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") opener?.focus();
    if (!step) return;
    event.preventDefault();
    const items = [...menu.querySelectorAll("button")];
    items.at((items.indexOf(document.activeElement) + step) % items.length).focus();
});

menu.addEventListener("click", (event) => {
    const work = WORK[event.target.closest("button")?.value];
    menu.hidePopover();
    opener?.focus();
    work?.(subject).catch(complain);
});

const path = ({ id }) => `api/v1/conversations/${id}`;

const WORK = {
    async pin(conversation) {
        await ask(path(conversation), { method: "PATCH", body: { pinned: !conversation.pinned } });
        await afterwards(conversation.id, { pinned: !conversation.pinned });
    },
    async rename(conversation) {
        find("new-title").value = conversation.title;
        if (!(await answered("rename-dialog"))) return;
        const { title } = await ask(path(conversation), { method: "PATCH", body: { title: find("new-title").value } });
        await afterwards(conversation.id, { title });
    },
    async share(conversation) {
        await openSharing(path(conversation), () => afterwards(conversation.id, "messages"));
    },
    async export(conversation) {
        const messages = await afterwards(conversation.id, "messages");
        const parts = messages.map(({ role, content }) => `## ${role === "user" ? t("You") : t("Answer")}\n\n${content}\n`);
        const name = conversation.title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60) || "conversation";
        download(`${name}.md`, new Blob([`# ${conversation.title}\n\n${parts.join("\n")}`], { type: "text/markdown" }));
    },
    async delete(conversation) {
        if (!(await answered("delete-dialog"))) return;
        await ask(path(conversation), { method: "DELETE" });
        await afterwards(conversation.id, null);
    },
};
