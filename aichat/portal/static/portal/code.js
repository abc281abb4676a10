// Blocks of code in an answer: each gets a head with its language and a button to copy, and colours once it is whole.

import { make } from "./page.js";
import { copyOnClick } from "./parts.js";
import { t } from "./text.js";

const LONGEST = 50_000; // characters that are coloured
const PATIENCE = 2000; // milliseconds for one block

export function frameCode(root) {
    for (const code of root.querySelectorAll("pre > code")) {
        const block = code.parentElement;
        if (block.parentElement.classList.contains("code")) continue;
        const language = code.className.trim().split(/\s+/)[0];
        const copy = copyOnClick(make("button", { type: "button", class: "text", text: t("Copy") }), () => code.textContent);
        const frame = make("div", { class: "code" });
        block.replaceWith(frame);
        block.tabIndex = 0; // so that the keyboard can scroll it
        block.setAttribute("aria-label", t("Code"));
        block.setAttribute("role", "region");
        frame.append(make("div", { class: "code-head" }, make("span", { text: language || t("Text") }), copy), block);
        if (language && code.textContent.length < LONGEST) colour(code, language).catch(() => {}); // the text is there already
    }
}

let worker = null;
let last = Promise.resolve(); // one block after the other

const answerOf = (asked) => new Promise((done, failed) => {
    asked.onmessage = ({ data }) => done(data);
    asked.onerror = failed;
});

// The parts of a text, from the worker. A text that takes too long ends the worker, and stays without colours.
async function partsOf(text, language) {
    if (!worker) {
        worker = new Worker(new URL("highlighter.js", import.meta.url), { type: "module" });
        await answerOf(worker);
    }
    const answer = answerOf(worker);
    worker.postMessage({ text, language });
    const end = setTimeout(() => worker.dispatchEvent(new ErrorEvent("error")), PATIENCE);
    try {
        return await answer;
    } catch (error) {
        worker.terminate();
        worker = null;
        throw error;
    } finally {
        clearTimeout(end);
    }
}

async function colour(code, language) {
    const found = last.catch(() => {}).then(() => partsOf(code.textContent, language));
    last = found;
    const parts = await found;
    if (parts.length) code.replaceChildren(...parts.map(painted));
}

// The library's tree as elements: no HTML of its own is ever parsed here.
function painted(node) {
    if (typeof node === "string") return node;
    const scope = (node.scope ?? "").split(".")[0].replace(/[^\w-]/g, "");
    return make("span", scope ? { class: `hl-${scope}` } : {}, ...node.children.map(painted));
}
