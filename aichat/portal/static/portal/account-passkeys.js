// The passkeys on the page Settings, and the proof of a second factor that changes of them need.

import { ask } from "./api.js";
import { onSend } from "./dialogs.js";
import { find, make, onSubmit } from "./page.js";
import { button } from "./parts.js";
import { canUsePasskeys, create, sign } from "./passkeys.js";
import { actions, cell } from "./tables.js";
import { moment, t } from "./text.js";

let state = {};

// The proof that a change of the second factor needs: the code in the field, else a passkey's answer; nothing without a factor.
export async function prove(field) {
    const code = find(field)?.value.trim();
    if (!state.enabled) return {};
    if (code || !state.passkeys || !canUsePasskeys) return { code };
    return { passkey: await sign(await ask("api/v1/me/mfa/passkey", { method: "POST" })) };
}

// Show the passkeys; `changed` is called with the answer to each change.
export async function showPasskeys(secondFactor, changed) {
    state = secondFactor;
    for (const hint of document.querySelectorAll(".or-passkey")) hint.hidden = !(state.passkeys && canUsePasskeys);
    for (const field of document.querySelectorAll(".proof")) field.hidden = !state.enabled;
    find("passkey-add").hidden = !canUsePasskeys;
    find("passkeys-cannot").hidden = canUsePasskeys;
    const { results: rows } = await ask("api/v1/me/passkeys");
    find("passkey-list").replaceChildren(...rows.map((row) => passkey(row, changed)));
}

function passkey({ id, name, host, last_used_at: used }, changed) {
    const use = used ? t("{host}, last used {when}", { host, when: moment(used) }) : t("{host}, never used", { host });
    const rename = button(t("Rename"), () => {
        find("new-name").value = name;
        onSend(find("name-form"), async () => {
            await ask(`api/v1/me/passkeys/${id}`, { method: "PATCH", body: { name: find("new-name").value.trim() } });
            await changed({});
        });
        find("naming").showModal();
    });
    const remove = button(t("Remove"), async () => {
        const proof = await prove("mfa-proof");
        await ask(`api/v1/me/passkeys/${id}`, { method: "DELETE", body: proof });
        find("mfa-proof").value = "";
        await changed({});
    });
    return make("tr", {}, cell(name), cell(use), actions(rename, remove));
}

export function onAdd(changed) {
    onSubmit(find("passkey-add"), async (form) => {
        const password = find("passkey-password")?.value || "";
        const body = { password, ...(await prove("passkey-proof")) };
        const made = await create(await ask("api/v1/me/passkeys/begin", { method: "POST", body }));
        const name = find("passkey-name").value.trim() || t("Passkey");
        const added = await ask("api/v1/me/passkeys", { method: "POST", body: { ...made, name } });
        form.reset();
        await changed(added);
    });
}
