// With whom a conversation is shared: persons with an account, by their address, and everybody who has a link.

import { ask, base } from "./api.js";
import { find, inWords, make } from "./page.js";
import { answered, copy } from "./parts.js";
import { moment, t } from "./text.js";

const problem = find("share-problem");

// Open the dialog; `branch()` answers the messages that a new link shows.
export async function openSharing(path, branch) {
    problem.textContent = "";
    find("share-form").reset();
    await Promise.all([showPeople(path), showLinks(path, branch)]);
    await answered("share-dialog");
}

async function showPeople(path) {
    const people = await ask(`${path}/shares`);
    const rows = people.map(({ id, email, access }) => {
        const may = make("span", { class: "hint", text: access === "write" ? t("reads and writes") : t("reads") });
        return make("li", {}, make("span", { text: email }), may, ending(`${path}/shares/${id}`, () => showPeople(path)));
    });
    find("people").replaceChildren(...rows);
    find("share-form").onsubmit = (event) => {
        event.preventDefault();
        inDialog(event.submitter, async () => {
            const body = { email: find("share-email").value, access: find("share-access").value };
            await ask(`${path}/shares`, { method: "POST", body });
            find("share-form").reset();
            await showPeople(path);
        });
    };
}

const address = ({ token }) => new URL(`${base}s/${token}`, location.href).href;

async function showLinks(path, branch) {
    const links = await ask(`${path}/links`);
    const rows = links.map((link) => {
        const text = t("Link of {time}", { time: moment(link.created_at) });
        const open = make("a", { href: address(link), target: "_blank", rel: "noopener", text });
        return make("li", {}, open, ending(`${path}/links/${link.id}`, () => showLinks(path, branch)));
    });
    find("links").replaceChildren(...rows);
    const button = find("make-link");
    button.onclick = () => inDialog(button, async () => {
        const messages = await branch();
        const body = messages.length ? { message_id: messages.at(-1).id } : {};
        const link = await ask(`${path}/links`, { method: "POST", body });
        await showLinks(path, branch);
        await copy(address(link)).then(
            () => (problem.textContent = t("The link is copied.")),
            () => (problem.textContent = address(link)),
        );
    });
}

// A button that deletes what is at `path`, and shows the rest.
function ending(path, show) {
    const button = make("button", { type: "button", class: "quiet", text: t("End it") });
    button.onclick = () => inDialog(button, async () => {
        await ask(path, { method: "DELETE" });
        await show();
    });
    return button;
}

// What goes wrong while the dialog is open is told in it: the page behind it can't be read.
async function inDialog(button, work) {
    problem.textContent = "";
    button.disabled = true;
    try {
        await work();
    } catch (error) {
        problem.textContent = inWords(error);
    } finally {
        button.disabled = false;
    }
}
