import { ask, base } from "./api.js";
import { complain, find, onClick, onSubmit, showBalance } from "./page.js";

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

onClick("logout", async () => {
    await ask("portal/logout", { method: "POST" });
    location.assign(`${base}login`);
});

onClick("logout-all", async () => {
    await ask("api/v1/auth/logout-all", { method: "POST" });
    location.assign(`${base}login`);
});

Promise.all([show(), showBalance()]).catch(complain);
