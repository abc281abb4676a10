// The page of a shared conversation, for everybody who has its link. It is asked for without a login, so that nobody needs one.

import { base } from "./api.js";
import { frameCode } from "./code.js";
import { render } from "./markdown.js";
import { find, make, showError } from "./page.js";
import { moment, t } from "./text.js";

function articleOf({ role, content }) {
    const body = make("div", { class: "body", dir: "auto" });
    if (role === "user") body.textContent = content;
    else render(body, content);
    frameCode(body);
    return make("article", { class: role, "aria-label": role === "user" ? t("Question") : t("Answer") }, body);
}

async function open() {
    const token = location.pathname.split("/").at(-1);
    const response = await fetch(`${base}api/v1/shared/${token}`, { credentials: "omit" });
    if (!response.ok) throw new Error(t("This link has ended, or its address is incomplete: ask for a new one."));
    const page = await response.json();
    find("title").textContent = page.title;
    document.title = page.title;
    find("since").textContent = t("Shared on {time}. Answers were written by an AI and may be wrong.", { time: moment(page.created_at) });
    find("messages").append(...page.messages.map(articleOf));
}

open().catch(showError);
