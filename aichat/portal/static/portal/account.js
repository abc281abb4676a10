import { ask, base, send, storageKey } from "./api.js";
import { onAdd, prove, showPasskeys } from "./account-passkeys.js";
import { askBefore } from "./dialogs.js";
import { showReceived } from "./invitations.js";
import { showPages } from "./lists.js";
import { attempt, find, make, onClick, onSubmit, showError } from "./page.js";
import { button, download } from "./parts.js";
import { forgetPerson, keepLanguage, showBalance } from "./person.js";
import { inMegabytes, language, moment, t } from "./text.js";

const ROLES = { USER: t("user"), SUBSCRIBER: t("subscriber"), ADMIN: t("administrator") };

async function show() {
    const me = await ask("api/v1/me");
    find("who").textContent = `${me.email} · ${ROLES[me.role]} · ${me.organization.name}`;
    find("name").value = me.name;
    find("language").value = me.language ?? "";
    find("operator").hidden = me.role !== "ADMIN";
}

async function showFileSpace() {
    const { used, limit } = await ask("api/v1/me/files");
    const facts = { used: inMegabytes(used), limit: limit === null ? "" : inMegabytes(limit) };
    find("room").textContent = limit === null ? t("Your files take {used}.", facts) : t("Your files take {used} of {limit}.", facts);
    find("room-bar").hidden = limit === null;
    find("room-bar").value = limit ? used / limit : 0;
}

onSubmit(find("profile"), async () => {
    const chosen = find("language").value;
    const before = await ask("api/v1/me");
    await ask("api/v1/me", { method: "PATCH", body: { name: find("name").value, language: chosen || null } });
    find("saved").textContent = t("Saved.");
    if ((before.language ?? "") === chosen) return;
    keepLanguage(chosen);
    if (chosen !== language) location.reload();
});

onSubmit(find("address"), async (form) => {
    const body = { email: find("email").value, password: find("email-password").value };
    await ask("api/v1/me/email", { method: "POST", body });
    form.reset();
    find("mailed").textContent = t("A mail is on its way: the address changes once it is confirmed.");
});

onSubmit(find("password"), async (form) => {
    const body = { current_password: find("current").value, new_password: find("new").value };
    await ask("api/v1/auth/password", { method: "POST", body });
    form.reset();
    find("changed").textContent = t("Changed. All other logins have ended.");
});

onClick("export", async () => {
    find("exported").textContent = t("The file is being made …");
    const isSaved = await attempt(find("export"), async () => {
        download("aichat-export.jsonl", await (await send("api/v1/me/export")).blob());
    });
    find("exported").textContent = isSaved ? t("Saved.") : "";
});

async function showSecondFactor() {
    const state = await ask("api/v1/me/mfa");
    const off = state.required ? t("Off. Administrators need a second factor here: set one up.") : t("Off: whoever has your password can log in.");
    const facts = { since: moment(state.enabled_at), left: state.recovery_codes };
    const on = t("On since {since}. Recovery codes that are left: {left}.", facts);
    find("mfa-state").textContent = state.enabled ? on : off;
    find("mfa-begin").hidden = state.app;
    find("mfa-on").hidden = !state.enabled;
    find("mfa-confirm").hidden = true;
    await showPasskeys(state, showRecoveryCodes);
}

// Show the second factor after a change of it, with the recovery codes that the change made, if any.
async function showRecoveryCodes({ recovery_codes: codes = [] }) {
    if (codes.length) {
        find("mfa-list").textContent = codes.join("\n");
        find("mfa-codes").hidden = false;
        await showSessions(); // the others have ended
    }
    await showSecondFactor();
}

onSubmit(find("mfa-begin"), async (form) => {
    const body = { password: find("mfa-password")?.value || "", ...(await prove("mfa-begin-proof")) };
    const { secret, otpauth_url: link, qr_code: picture } = await ask("api/v1/me/mfa", { method: "POST", body });
    form.reset();
    form.hidden = true;
    find("mfa-qr").src = picture;
    find("mfa-link").href = link;
    find("mfa-secret").textContent = secret.match(/.{1,4}/g).join(" ");
    find("mfa-confirm").hidden = false;
});

onSubmit(find("mfa-confirm"), async (form) => {
    const body = { code: find("mfa-code").value };
    const made = await ask("api/v1/me/mfa/confirm", { method: "POST", body });
    form.reset();
    await showRecoveryCodes(made);
});

onSubmit(find("mfa-on"), async (form, button) => {
    const body = await prove("mfa-proof");
    if (button.value === "renew") {
        await showRecoveryCodes(await ask("api/v1/me/mfa/recovery-codes", { method: "POST", body }));
        return form.reset();
    }
    const text = t("The app, all passkeys and the recovery codes are forgotten.");
    askBefore(t("Switch the second factor off?"), text, t("Switch off"), async () => {
        await ask("api/v1/me/mfa", { method: "DELETE", body });
        form.reset();
        find("mfa-codes").hidden = true;
        await showSecondFactor();
    });
});

onAdd(showRecoveryCodes);

async function showSessions() {
    find("sessions").replaceChildren();
    await showPages("api/v1/me/sessions", (rows) => find("sessions").append(...rows.map(session)));
}

function session({ id, name, created_at: since, current }) {
    const end = button(t("End"), () => ask(`api/v1/me/sessions/${id}`, { method: "DELETE" }).then(showSessions));
    const what = current ? t("this one") : name || t("a login");
    const text = t("{what}, since {when}", { what, when: moment(since) });
    return make("tr", {}, make("td", { text }), make("td", { class: "actions" }, current ? "" : end));
}

onSubmit(find("leave"), async () => {
    const body = { password: find("leave-password")?.value || "" };
    const text = t("All your logins and keys end now. If you log in before the days of grace are over, your account stays.");
    askBefore(t("Delete your account?"), text, t("Delete my account"), async () => {
        const { deletion_at: at } = await ask("api/v1/me", { method: "DELETE", body });
        sessionStorage.setItem(storageKey("said"), t("Your account is deleted on {when}, unless you log in before.", { when: moment(at) }));
        location.assign(`${base}login`);
    });
});

onClick("logout", async () => {
    await ask("portal/logout", { method: "POST" });
    forgetPerson();
    location.assign(find("logout").dataset.next);
});

onClick("logout-all", async () => {
    await ask("api/v1/auth/logout-all", { method: "POST" });
    forgetPerson();
    location.assign(find("logout").dataset.next);
});

const received = () => showReceived(() => Promise.all([show(), received(), showBalance()]));

Promise.all([show(), received(), showFileSpace(), showSecondFactor(), showSessions(), showBalance()]).catch(showError);
