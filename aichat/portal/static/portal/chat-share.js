// With whom a conversation is shared: persons with an account, by their address, and everybody who has a link.

import { ask, base } from "./api.js";
import { openDialog } from "./dialogs.js";
import { attempt, find, make } from "./page.js";
import { button, copy } from "./parts.js";
import { moment, t } from "./text.js";

const message = find("share-problem"); // in the dialog: the page behind it can't be read

// Open the dialog; `branch()` returns the messages that a new link shows.
export async function openSharing(path, branch) {
    message.hidden = true;
    find("share-form").reset();
    await Promise.all([showPeople(path), showLinks(path, branch)]);
    await openDialog("share-dialog");
}

async function showPeople(path) {
    const people = await ask(`${path}/shares`);
    const rows = people.map(({ id, email, access }) => {
        const may = make("span", { class: "hint", text: access === "write" ? t("reads and writes") : t("reads") });
        return make("li", {}, make("span", { text: email }), may, endButton(`${path}/shares/${id}`, () => showPeople(path)));
    });
    find("people").replaceChildren(...rows);
    find("share-form").onsubmit = (event) => {
        event.preventDefault();
        attemptHere(event.submitter, async () => {
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
        return make("li", {}, open, endButton(`${path}/links/${link.id}`, () => showLinks(path, branch)));
    });
    find("links").replaceChildren(...rows);
    const makeLink = find("make-link");
    makeLink.onclick = () => attemptHere(makeLink, async () => {
        const messages = await branch();
        const body = messages.length ? { message_id: messages.at(-1).id } : {};
        const link = await ask(`${path}/links`, { method: "POST", body });
        await showLinks(path, branch);
        await copy(address(link)).then(
            () => tell(t("The link is copied.")),
            () => tell(address(link)),
        );
    });
}

// A button that deletes what is at `path`, and shows the rest.
function endButton(path, show) {
    const end = button(t("End"), () => attemptHere(end, async () => {
        await ask(path, { method: "DELETE" });
        await show();
    }));
    return end;
}

const attemptHere = (button, work) => attempt(button, work, message);

function tell(words) {
    message.textContent = words;
    message.hidden = false;
}
