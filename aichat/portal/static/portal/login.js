// The pages Log in and Sign up.

import { ask, storageKey } from "./api.js";
import { find, onClick, onSubmit } from "./page.js";
import { canUsePasskeys, logIn, sign } from "./passkeys.js";

const form = find("enter");
const said = sessionStorage.getItem(storageKey("said")); // by the page that led here
let challenge = null; // for a passkey as second factor

if (find("passkey")) find("passkey").hidden = !canUsePasskeys;

if (said && find("said")) {
    find("said").textContent = said;
    find("said").hidden = false;
    sessionStorage.removeItem(storageKey("said"));
}

async function send(more) {
    const body = Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
    const invitation = new URLSearchParams(location.search).get("invitation");
    if (invitation && form.dataset.to === "portal/signup") body.invitation = invitation;
    try {
        await ask(form.dataset.to, { method: "POST", body: { ...body, ...more } });
    } catch (error) {
        const field = find("code");
        if (!field || !error.code?.startsWith("mfa_")) throw error;
        field.hidden = false;
        field.querySelector("input").value = "";
        field.querySelector("input").focus();
        challenge = error.passkey ?? challenge;
        find("second-passkey").hidden = !(challenge && canUsePasskeys);
        find("passkey").hidden = true; // the other button, of the second factor, is shown instead
        if (error.code === "mfa_required") return;
        throw error;
    }
    location.assign(form.dataset.next);
}

onSubmit(form, () => send({}));
onClick("second-passkey", async () => send({ passkey: await sign(challenge) }));
onClick("passkey", async () => {
    await logIn();
    location.assign(find("passkey").dataset.next);
});
