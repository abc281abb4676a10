import { ask, base } from "./api.js";
import { onAdd, prove, showPasskeys } from "./account-passkeys.js";
import { complain, find, make, moment, onClick, onSubmit, paged, showBalance } from "./page.js";

async function show() {
    const me = await ask("api/v1/me");
    find("who").textContent = `${me.email} · ${me.role.toLowerCase()} · ${me.organization.name}`;
    find("name").value = me.name;
    find("operator").hidden = me.role !== "ADMIN";
}

onSubmit(find("profile"), async () => {
    await ask("api/v1/me", { method: "PATCH", body: { name: find("name").value } });
    find("saved").textContent = "Saved.";
});

onSubmit(find("password"), async (form) => {
    const body = { current_password: find("current").value, new_password: find("new").value };
    await ask("api/v1/auth/password", { method: "POST", body });
    form.reset();
    find("changed").textContent = "Changed. All other logins have ended.";
});

async function showInvitations() {
    const { results } = await ask("api/v1/invitations");
    find("invitations").replaceChildren(...results.map(invitation));
    find("asked").hidden = results.length === 0;
}

function invitation({ id, name, role, invited_by: by }) {
    const answer = (text, work) => {
        const button = make("button", { type: "button", class: "quiet", text });
        button.onclick = () => work().then(showInvitations).catch(complain);
        return make("td", {}, button);
    };
    return make(
        "tr",
        {},
        make("td", { text: name }),
        make("td", { text: `as ${role.toLowerCase()}, asked by ${by}` }),
        answer("Join", () => ask("api/v1/invitations/accept", { method: "POST", body: { id } })),
        answer("Decline", () => ask(`api/v1/invitations/${id}`, { method: "DELETE" })),
    );
}

async function showSecondFactor() {
    const state = await ask("api/v1/me/mfa");
    const off = state.required ? "Off. Administrators need one here." : "Off: whoever has your password can log in.";
    const on = `On since ${moment(state.enabled_at)}. ${state.recovery_codes} recovery codes are left.`;
    find("mfa-state").textContent = state.enabled ? on : off;
    find("mfa-begin").hidden = state.app;
    find("mfa-on").hidden = !state.enabled;
    find("mfa-confirm").hidden = true;
    await showPasskeys(state, showRecoveryCodes);
}

// After a change: the codes that it made, if any, and how things are now.
async function showRecoveryCodes({ recovery_codes: codes = [] }) {
    if (codes.length) {
        find("mfa-list").textContent = codes.join("\n");
        find("mfa-codes").hidden = false;
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
    } else {
        if (!confirm("Switch it off? The app, all passkeys and the recovery codes are forgotten.")) return;
        await ask("api/v1/me/mfa", { method: "DELETE", body });
        find("mfa-codes").hidden = true;
        await showSecondFactor();
    }
    form.reset();
});

onAdd(showRecoveryCodes);

async function showSessions() {
    find("sessions").replaceChildren();
    await paged("api/v1/me/sessions", (rows) => find("sessions").append(...rows.map(session)));
}

function session({ id, name, created_at: since, current }) {
    const end = make("button", { type: "button", class: "quiet", text: "End" });
    end.onclick = () => ask(`api/v1/me/sessions/${id}`, { method: "DELETE" }).then(showSessions).catch(complain);
    const what = current ? "this one" : name || "a login";
    return make("tr", {}, make("td", { text: `${what}, since ${moment(since)}` }), make("td", {}, current ? "" : end));
}

onSubmit(find("leave"), async () => {
    if (!confirm("Delete your account?")) return;
    const body = { password: find("leave-password")?.value || "" };
    const { deletion_at: at } = await ask("api/v1/me", { method: "DELETE", body });
    alert(`Your account is deleted on ${moment(at)}, unless you log in before.`);
    location.assign(`${base}login`);
});

onClick("logout", async () => {
    await ask("portal/logout", { method: "POST" });
    location.assign(find("logout").dataset.next);
});

onClick("logout-all", async () => {
    await ask("api/v1/auth/logout-all", { method: "POST" });
    location.assign(find("logout").dataset.next);
});

Promise.all([show(), showInvitations(), showSecondFactor(), showSessions(), showBalance()]).catch(complain);
