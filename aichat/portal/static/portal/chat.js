// The page Chat: shows a conversation, sends what a person asks, and shows the answer while it arrives.

import { answerTo } from "./answering.js";
import { ask, base, storageKey } from "./api.js";
import * as files from "./chat-files.js";
import { listen } from "./chat-keys.js";
import { FOUND, listConversations } from "./chat-list.js";
import { connectMenu, openMenu } from "./chat-menu.js";
import { elementOf, newAnswer, problemCard } from "./chat-messages.js";
import { Tree } from "./chat-tree.js";
import { inWords } from "./errors.js";
import { allRows } from "./lists.js";
import { fillModels, model, priceInWords } from "./models.js";
import { find, make, onClick, sendOnEnter, showError } from "./page.js";
import { announce } from "./parts.js";
import { showBalance } from "./person.js";
import { t } from "./text.js";

let conversation = location.pathname.match(/\/c\/([0-9a-f-]{36})$/)?.[1];
let record = null; // the conversation as the server has it
let tree = new Tree();
let running = null; // the AbortController of the answer that is being written
const elements = new Map(); // by message and its versions, which its buttons name

// --- What is shown ---------------------------------------------------------------------------------------------------

const act = {
    versions: (id) => tree.versions(id),
    choose(id) {
        if (running) return;
        tree.choose(id);
        keepAddress();
        show();
    },
    edit: (message, text) => generate({ question: text, replaces: message.id, attachments: message.attachments }),
    again: (message) => generate({ replaces: message.id }),
};

function elementFor(message) {
    const state = `${message.id} ${tree.versions(message.id)}`;
    if (!elements.has(state)) elements.set(state, elementOf(message, act));
    return elements.get(state);
}

function show(path = tree.path()) {
    find("messages").replaceChildren(...path.map(elementFor));
    find("empty").hidden = path.length > 0 || Boolean(conversation);
}

const scroll = find("scroll");
const isAtEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
const toEnd = () => (scroll.scrollTop = scroll.scrollHeight);
let isFollowing = true; // stays at the end, also when the room shrinks: a keyboard on the screen, a second line in the form
scroll.addEventListener(
    "scroll",
    () => {
        isFollowing = isAtEnd();
        find("bottom").hidden = isFollowing;
    },
    { passive: true },
);
new ResizeObserver(() => isFollowing && toEnd()).observe(scroll);
onClick("bottom", async () => toEnd());

// Keep the branch that is shown in the address, so that a reload shows it again.
function keepAddress() {
    history.replaceState(null, "", `${base}c/${conversation}#${tree.leaf?.id ?? ""}`);
}

function showRecord() {
    find("title").textContent = record.title || t("Untitled");
    document.title = `${record.title} · aichat`;
    find("system").value = record.system;
    find("more").hidden = false;
}

const refreshList = () => listConversations(conversation, openMenu);

async function treeOf(id) {
    const grown = new Tree();
    for (const message of await allRows(`api/v1/conversations/${id}/messages?page_size=200`)) grown.add(message, id);
    return grown;
}

async function load(leaf = location.hash.slice(1)) {
    const [found, grown] = await Promise.all([ask(`api/v1/conversations/${conversation}`), treeOf(conversation)]);
    for (const [parent, id] of tree.chosen) if (grown.messages.has(id)) grown.chosen.set(parent, id);
    record = found;
    tree = grown;
    if (tree.messages.has(leaf)) tree.choose(leaf);
    showRecord();
    show();
}

// --- Asking ----------------------------------------------------------------------------------------------------------

function bodyOf({ question, replaces, attachments }) {
    const body = { model: find("model").value || "auto", stream: true, finish: true };
    if (question !== undefined) body.message = question;
    if (attachments?.length) body.attachments = attachments.map(({ id }) => id);
    if (conversation) body.conversation_id = conversation;
    if (replaces) body.replaces = replaces;
    else if (tree.leaf) body.parent_id = tree.leaf.id;
    if (find("system").value !== (record?.system ?? "")) body.system = find("system").value;
    if (find("temperature").value) body.temperature = Number(find("temperature").value);
    if (find("max-tokens").value) body.max_tokens = Number(find("max-tokens").value);
    return body;
}

// Have a question answered: a new one, another version of one, or, without `question`, one that has an answer already.
async function generate(asked) {
    if (running) return;
    const body = bodyOf(asked);
    show(asked.replaces ? tree.before(asked.replaces) : tree.path());
    const answer = newAnswer();
    answer.item.classList.add("waiting");
    const places = [answer.item];
    if (asked.question !== undefined) {
        places.unshift(elementOf({ role: "user", content: asked.question, attachments: asked.attachments }, act));
    }
    find("messages").append(...places);
    find("empty").hidden = true;
    toEnd();
    showRunning();
    let end;
    try {
        end = await answerTo(body, running, answer, { onBegin, isAtEnd, toEnd });
    } catch (error) {
        end = { error };
    }
    answer.end();
    await finish(asked, answer, end).catch(showError);
}

function showRunning() {
    running = new AbortController();
    find("problem").hidden = true;
    find("send").hidden = true;
    find("stop").hidden = false;
    announce(t("The answer is being written."));
}

// Keep which conversation and message the answer will be, as the server said: from now on a reload finds it.
function onBegin(found, answer) {
    sessionStorage.setItem(storageKey("running"), JSON.stringify({ conversation: found, answer }));
    sessionStorage.removeItem(storageKey("draft"));
    if (conversation === found) return;
    conversation = found;
    history.replaceState(null, "", `${base}c/${found}`);
}

async function finish(asked, answer, { id, error }) {
    const isStopped = error?.name === "AbortError" || error?.code === "cancelled";
    if (id && !(await showStored(id, error ? 20 : 8))) error ??= new Error(t("The answer is not stored: the conversation may have been deleted."));
    sessionStorage.removeItem(storageKey("running"));
    running = null;
    find("stop").hidden = true;
    find("send").hidden = false;
    if (error && !isStopped) showFailure(asked, answer, error, id);
    else if (!id) forgetAnswer(asked);
    if (isAtEnd() || id) toEnd();
    announce(error ? t("The answer ended early.") : t("The answer is complete."));
    await Promise.all([refreshList(), showBalance()]);
}

// Show the conversation without an answer that was stopped before anything had arrived: the server kept nothing of it.
function forgetAnswer(asked) {
    if (asked.question !== undefined && !asked.replaces) giveBack(asked);
    show();
}

function giveBack({ question: text, attachments }) {
    if (question.value) return;
    setQuestion(text);
    files.giveBack(attachments);
}

function showFailure(asked, answer, error, id) {
    if (!id) answer.item.remove();
    const again = async () => {
        if (question.value === asked.question) {
            setQuestion("");
            await files.take();
        }
        await generate(asked);
    };
    // A refused message with files is mostly refused for its files: another model may take them.
    const code = error.status === 400 && asked.attachments?.length ? "model_not_allowed" : error.code;
    const card = problemCard(inWords(error), code, id ? async () => act.again(tree.messages.get(id)) : again);
    find("messages").append(card);
    if (!id && asked.question !== undefined && !asked.replaces) giveBack(asked);
    card.scrollIntoView({ block: "nearest" });
}

// Show the answer as it was stored and paid. A stream that was left is stored a moment later: ask until it is there.
async function showStored(id, times, wait = () => {}) {
    for (let pause = 150; times > 0; times -= 1, pause = Math.min(1.6 * pause, 2000)) {
        try {
            await load(id);
            if (tree.messages.has(id)) {
                keepAddress();
                return true;
            }
        } catch (error) {
            if (error.status !== 404) throw error;
        }
        wait();
        await new Promise((resolve) => setTimeout(resolve, pause));
    }
    return false;
}

// --- The page --------------------------------------------------------------------------------------------------------

const question = find("question");

function setQuestion(text) {
    question.value = text;
    question.dispatchEvent(new Event("input"));
}

question.addEventListener("input", () => {
    question.style.height = "auto";
    question.style.height = `${Math.min(question.scrollHeight, 0.4 * innerHeight)}px`;
    sessionStorage.setItem(storageKey("draft"), question.value); // a reload, or a login that ended, loses nothing
});

sendOnEnter(question);

find("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    submit().catch(showError);
});

let sending = false; // files of the message are still on their way

async function submit() {
    const text = question.value;
    if (running || sending || !text.trim()) return question.focus();
    if (files.hasPictures() && model()?.vision === false) {
        throw new Error(t("{model} does not read pictures: choose another model, or remove them.", { model: model().id }));
    }
    setQuestion("");
    sessionStorage.setItem(storageKey("draft"), text); // until the answer has begun
    sending = true;
    let attachments;
    try {
        attachments = await files.take();
    } catch (error) {
        setQuestion([text, question.value].filter(Boolean).join("\n"));
        throw error;
    } finally {
        sending = false;
    }
    await generate({ question: text, attachments });
}

const stop = async () => (running?.stop ? running.stop() : running?.abort());
onClick("stop", stop);
onClick("more", async () => openMenu(record, find("more")));

for (const idea of document.querySelectorAll(".idea")) {
    idea.onclick = () => {
        setQuestion(`${idea.textContent}: `);
        question.focus();
    };
}

onClick("tune", async () => {
    const isOpen = find("settings").hidden;
    find("settings").hidden = !isOpen;
    find("tune").setAttribute("aria-expanded", isOpen);
    if (isOpen) find("system").focus();
});

const showPrice = () => (find("price").textContent = priceInWords());
find("model").addEventListener("change", showPrice);

let typing;
find("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => refreshList().catch(showError), 200);
});

const side = find("side");
onClick("open-side", async () => {
    side.classList.add("open");
    find("search").focus();
});
onClick("close-side", async () => {
    side.classList.remove("open");
    find("open-side").focus();
});

connectMenu({
    async onChange(id, changes) {
        if (id === conversation) {
            Object.assign(record, changes);
            showRecord();
        }
        await refreshList();
    },
    async onDelete(id) {
        if (id === conversation) location.assign(base);
        else await refreshList();
    },
    messagesOf: async (id) => (id === conversation ? tree : await treeOf(id)).path(),
});

// Another tab may have gone on with the conversation meanwhile.
document.addEventListener("visibilitychange", () => {
    if (document.hidden || running || !record) return;
    ask(`api/v1/conversations/${conversation}`)
        .then((found) => (found.updated_at === record.updated_at ? null : load("")))
        .catch(showError);
});

// Show the branch of a message that was searched for, and the message in the middle.
async function goTo(id) {
    await load(id);
    keepAddress();
    const place = tree.messages.has(id) && elementFor(tree.messages.get(id));
    if (!place) return toEnd();
    place.classList.add("found");
    place.scrollIntoView({ block: "center" });
}

async function open() {
    const left = JSON.parse(sessionStorage.getItem(storageKey("running")));
    if (!conversation) return show();
    const anchor = location.hash.slice(1);
    if (anchor.startsWith(FOUND)) return goTo(anchor.slice(FOUND.length));
    if (left?.conversation !== conversation) return load().then(toEnd);
    const waiting = make("p", { class: "note", role: "status", text: t("Looking for the answer that was being written …") });
    if (!(await showStored(left.answer, 300, () => find("messages").append(waiting))) && !record) throw new Error(t("Nothing had arrived, so nothing was kept or charged."));
    sessionStorage.removeItem(storageKey("running"));
    toEnd();
}

// Go to a hit of the search in the conversation that is shown already.
addEventListener("hashchange", () => {
    if (running || !location.hash.startsWith(`#${FOUND}`)) return;
    side.classList.remove("open");
    open().catch(showError);
});

listen({ shown: () => tree.path(), stop: () => stop().catch(showError) });
if (sessionStorage.getItem(storageKey("draft"))) setQuestion(sessionStorage.getItem(storageKey("draft")));
Promise.all([fillModels("chat").then(showPrice), refreshList(), showBalance(), open()]).catch(showError);
