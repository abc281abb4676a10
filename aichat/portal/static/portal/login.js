import { ask } from "./api.js";
import { find, onSubmit } from "./page.js";

const form = find("enter");

onSubmit(form, async () => {
    const body = Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
    const invitation = new URLSearchParams(location.search).get("invitation");
    if (invitation && form.dataset.to === "portal/signup") body.invitation = invitation;
    try {
        await ask(form.dataset.to, { method: "POST", body });
    } catch (error) {
        const field = find("code");
        if (!field || !error.code?.startsWith("mfa_")) throw error;
        field.hidden = false;
        field.querySelector("input").value = "";
        field.querySelector("input").focus();
        if (error.code === "mfa_required") return;
        throw error;
    }
    location.assign(form.dataset.next);
});
