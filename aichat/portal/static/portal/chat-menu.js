// The menu of a conversation: pin, rename, share, save, delete.

import { ask } from "./api.js";
import { openSharing } from "./chat-share.js";
import { openDialog } from "./dialogs.js";
import { find, showError } from "./page.js";
import { download } from "./parts.js";
import { t } from "./text.js";

const menu = find("menu");
let subject = null; // the conversation that the menu is about
let opener = null;
let page = {};

// Have the menu tell the page: `onChange(id, changes)` and `onDelete(id)` run after a person changed or deleted a conversation;
// `messagesOf(id)` returns the messages of the branch that is shown.
export function connectMenu(functions) {
    page = functions;
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
    work?.(subject).catch(showError);
});

const path = ({ id }) => `api/v1/conversations/${id}`;

const WORK = {
    async pin(conversation) {
        await ask(path(conversation), { method: "PATCH", body: { pinned: !conversation.pinned } });
        await page.onChange(conversation.id, { pinned: !conversation.pinned });
    },
    async rename(conversation) {
        find("new-title").value = conversation.title;
        if (!(await openDialog("rename-dialog"))) return;
        const { title } = await ask(path(conversation), { method: "PATCH", body: { title: find("new-title").value } });
        await page.onChange(conversation.id, { title });
    },
    async share(conversation) {
        await openSharing(path(conversation), () => page.messagesOf(conversation.id));
    },
    async export(conversation) {
        const messages = await page.messagesOf(conversation.id);
        const parts = messages.map(({ role, content }) => `## ${role === "user" ? t("You") : t("Answer")}\n\n${content}\n`);
        const name = conversation.title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60) || "conversation";
        download(`${name}.md`, new Blob([`# ${conversation.title}\n\n${parts.join("\n")}`], { type: "text/markdown" }));
    },
    async delete(conversation) {
        if (!(await openDialog("delete-dialog"))) return;
        await ask(path(conversation), { method: "DELETE" });
        await page.onDelete(conversation.id);
    },
};
