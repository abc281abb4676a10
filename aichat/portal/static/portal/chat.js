import { ask, base, own } from "./api.js";
import { listen } from "./chat-keys.js";
import { FOUND, listConversations } from "./chat-list.js";
import * as files from "./chat-files.js";
import { onChange, openMenu } from "./chat-menu.js";
import { element, problem, writing } from "./chat-messages.js";
import { Tree } from "./chat-tree.js";
import { answerTo } from "./answering.js";
import { fillModels, model, priceInWords } from "./models.js";
import { complain, find, inWords, make, onClick, pathOf, showBalance } from "./page.js";
import { say } from "./parts.js";
import { t } from "./text.js";

let conversation = location.pathname.match(/\/c\/([0-9a-f-]{36})$/)?.[1];
let record = null; // the conversation as the server has it
let tree = new Tree();
let running = null; // the AbortController of the answer that is being written
const drawn = new Map(); // elements by message, as long as its versions stay the same

// --- What is shown ---------------------------------------------------------------------------------------------------

const act = {
    versions: (id) => tree.versions(id),
    choose(id) {
        if (running) return;
        tree.choose(id);
        remember();
        show();
    },
    edit: (message, text) => generate({ question: text, replaces: message.id, attachments: message.attachments }),
    again: (message) => generate({ replaces: message.id }),
};

function drawing(message) {
    const state = `${message.id} ${tree.versions(message.id)}`;
    if (!drawn.has(state)) drawn.set(state, element(message, act));
    return drawn.get(state);
}

function show(path = tree.path()) {
    find("messages").replaceChildren(...path.map(drawing));
    find("empty").hidden = path.length > 0 || Boolean(conversation);
}

const scroll = find("scroll");
const isAtEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
const toEnd = () => (scroll.scrollTop = scroll.scrollHeight);
let stuck = true; // stay at the end, also when the room shrinks: a keyboard on the screen, a second line in the form
scroll.addEventListener(
    "scroll",
    () => {
        stuck = isAtEnd();
        find("bottom").hidden = stuck;
    },
    { passive: true },
);
new ResizeObserver(() => stuck && toEnd()).observe(scroll);
onClick("bottom", async () => toEnd());

// The branch that is looked at is in the address, so that a reload shows it again.
function remember() {
    history.replaceState(null, "", `${base}c/${conversation}#${tree.leaf?.id ?? ""}`);
}

function showRecord() {
    find("title").textContent = record.title || t("Untitled");
    document.title = `${record.title} · aichat`;
    find("system").value = record.system;
    find("more").hidden = false;
}

const refreshList = () => listConversations(conversation, openMenu);

async function messagesOf(id) {
    const found = [];
    const first = `api/v1/conversations/${id}/messages?page_size=200`;
    for (let path = first; path; ) {
        const { results, next } = await ask(path);
        found.push(...results);
        path = pathOf(next, first);
    }
    return found;
}

async function treeOf(id) {
    const grown = new Tree();
    for (const message of await messagesOf(id)) grown.add(message, id);
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

// Have a question answered: a new one, another version of one, or (without `question`) an answered one again.
async function generate(asked) {
    if (running) return;
    const body = bodyOf(asked);
    show(asked.replaces ? tree.before(asked.replaces) : tree.path());
    const answer = writing();
    answer.item.classList.add("waiting");
    const places = [answer.item];
    if (asked.question !== undefined) {
        places.unshift(element({ role: "user", content: asked.question, attachments: asked.attachments }, act));
    }
    find("messages").append(...places);
    find("empty").hidden = true;
    toEnd();
    begin();
    let end;
    try {
        end = await answerTo(body, running, answer, { begun, isAtEnd, toEnd });
    } catch (error) {
        end = { error };
    }
    answer.end();
    await finish(asked, answer, end).catch(complain);
}

function begin() {
    running = new AbortController();
    find("problem").hidden = true;
    find("send").hidden = true;
    find("stop").hidden = false;
    say(t("The answer is being written."));
}

// The server said which conversation and message the answer will be: from now on a reload finds it.
function begun(found, answer) {
    sessionStorage.setItem(own("running"), JSON.stringify({ conversation: found, answer }));
    sessionStorage.removeItem(own("draft"));
    if (conversation === found) return;
    conversation = found;
    history.replaceState(null, "", `${base}c/${found}`);
}

async function finish(asked, answer, { id, error }) {
    const isStopped = error?.name === "AbortError" || error?.code === "cancelled";
    if (id && !(await settled(id, error ? 20 : 8))) error ??= new Error(t("The answer is not stored: the conversation may have been deleted."));
    sessionStorage.removeItem(own("running"));
    running = null;
    find("stop").hidden = true;
    find("send").hidden = false;
    if (error && !isStopped) failed(asked, answer, error, id);
    else if (!id) giveBack(asked);
    if (isAtEnd() || id) toEnd();
    say(error ? t("The answer ended early.") : t("The answer is complete."));
    await Promise.all([refreshList(), showBalance()]);
}

// Stopped before anything had arrived: nothing was kept.
function giveBack(asked) {
    if (asked.question !== undefined && !asked.replaces) putBack(asked);
    show();
}

function putBack({ question: text, attachments }) {
    if (question.value) return;
    write(text);
    files.giveBack(attachments);
}

function failed(asked, answer, error, id) {
    if (!id) answer.item.remove();
    const again = async () => {
        if (question.value === asked.question) {
            write("");
            await files.take();
        }
        await generate(asked);
    };
    // A refused message with files is mostly refused for its files: another model may take them.
    const code = error.status === 400 && asked.attachments?.length ? "model_not_allowed" : error.code;
    const card = problem(inWords(error), code, id ? async () => act.again(tree.messages.get(id)) : again);
    find("messages").append(card);
    if (!id && asked.question !== undefined && !asked.replaces) putBack(asked);
    card.scrollIntoView({ block: "nearest" });
}

// Show the answer as it was stored and paid. A stream that was left is settled a moment later: ask until it is there.
async function settled(id, times, wait = () => {}) {
    for (let pause = 150; times > 0; times -= 1, pause = Math.min(1.6 * pause, 2000)) {
        try {
            await load(id);
            if (tree.messages.has(id)) {
                remember();
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

function write(text) {
    question.value = text;
    question.dispatchEvent(new Event("input"));
}

question.addEventListener("input", () => {
    question.style.height = "auto";
    question.style.height = `${Math.min(question.scrollHeight, 0.4 * innerHeight)}px`;
    sessionStorage.setItem(own("draft"), question.value); // a reload, or a login that ended, loses nothing
});

question.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    find("ask").requestSubmit();
});

find("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    submit().catch(complain);
});

let sending = false; // files of the message are still on their way

async function submit() {
    const text = question.value;
    if (running || sending || !text.trim()) return question.focus();
    if (files.hasPictures() && model()?.vision === false) {
        throw new Error(t("{model} does not read pictures: choose another model, or remove them.", { model: model().id }));
    }
    write("");
    sessionStorage.setItem(own("draft"), text); // until the answer has begun
    sending = true;
    let attachments;
    try {
        attachments = await files.take();
    } catch (error) {
        write([text, question.value].filter(Boolean).join("\n"));
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
        write(`${idea.textContent}: `);
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
    typing = setTimeout(() => refreshList().catch(complain), 200);
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

// What the menu did to a conversation, or which messages of it are shown.
onChange(async (id, what) => {
    if (what === "messages") return (id === conversation ? tree : await treeOf(id)).path();
    if (what === null && id === conversation) return location.assign(base);
    if (id === conversation) {
        Object.assign(record, what);
        showRecord();
    }
    await refreshList();
});

// Another tab may have gone on with the conversation meanwhile.
document.addEventListener("visibilitychange", () => {
    if (document.hidden || running || !record) return;
    ask(`api/v1/conversations/${conversation}`)
        .then((found) => (found.updated_at === record.updated_at ? null : load("")))
        .catch(complain);
});

// Show the branch of a message that was searched for, and the message in the middle.
async function goTo(id) {
    await load(id);
    remember();
    const place = tree.messages.has(id) && drawing(tree.messages.get(id));
    if (!place) return toEnd();
    place.classList.add("found");
    place.scrollIntoView({ block: "center" });
}

async function open() {
    const left = JSON.parse(sessionStorage.getItem(own("running")));
    if (!conversation) return show();
    const anchor = location.hash.slice(1);
    if (anchor.startsWith(FOUND)) return goTo(anchor.slice(FOUND.length));
    if (left?.conversation !== conversation) return load().then(toEnd);
    const waiting = make("p", { class: "note", role: "status", text: t("Looking for the answer that was being written …") });
    if (!(await settled(left.answer, 300, () => find("messages").append(waiting))) && !record) throw new Error(t("Nothing had arrived, so nothing was kept or charged."));
    sessionStorage.removeItem(own("running"));
    toEnd();
}

// A hit in the conversation that is shown already.
addEventListener("hashchange", () => {
    if (running || !location.hash.startsWith(`#${FOUND}`)) return;
    side.classList.remove("open");
    open().catch(complain);
});

listen({ act, shown: () => tree.path(), stop: () => stop().catch(complain) });
if (sessionStorage.getItem(own("draft"))) write(sessionStorage.getItem(own("draft")));
Promise.all([fillModels("chat").then(showPrice), refreshList(), showBalance(), open()]).catch(complain);
