import { ask } from "./api.js";
import { askBefore, changesOf, onSend } from "./dialogs.js";
import { ROLES, showReceived } from "./invitations.js";
import { allRows, showPages } from "./lists.js";
import { find, make, onClick, onSubmit, showError } from "./page.js";
import { button } from "./parts.js";
import { actFor, showBalance } from "./person.js";
import { actions, add, amount, cell, fill } from "./tables.js";
import { credits, date, t } from "./text.js";

let me = null;
const team = () => `api/v1/organizations/${me.organization.id}`;
const leads = () => me.organization.role !== "MEMBER";
const mayChange = (role) => me.organization.role === "OWNER" || (leads() && role !== "OWNER");

function teamRow({ id, name, personal, role }) {
    const current = id === me.organization.id;
    const act = button(t("Act for it"), () => actFor(personal ? "" : id));
    const leave = button(t("Leave"), () => askToLeave(id, name), "danger");
    const done = make("span", { class: "badge", text: t("Acting for it") });
    const buttons = [current ? done : act, ...(personal ? [] : [leave])];
    return [cell(personal ? t("Just me") : name), cell(personal ? "" : ROLES[role]), actions(...buttons)];
}

function askToLeave(id, name) {
    const text = t("Your keys for the team end at once. The last owner can't leave: make another member an owner first.");
    askBefore(t("Leave “{name}”?", { name }), text, t("Leave"), async () => {
        await ask(`api/v1/organizations/${id}/members/${me.id}`, { method: "DELETE" });
        if (id === me.organization.id) actFor("");
        else await show();
    });
}

// --- Members ---

function limitsOf(member) {
    const words = [];
    if (member.spend_limit_day) words.push(t("{amount} a day", { amount: credits(member.spend_limit_day) }));
    if (member.spend_limit_month) words.push(t("{amount} a month", { amount: credits(member.spend_limit_month) }));
    return words.join(" · ") || t("none");
}

function memberRow(member) {
    const name = make("span", {}, make("b", { text: member.name || member.email }));
    if (member.id === me.id) name.append(" ", make("span", { class: "badge", text: t("you") }));
    if (member.name) name.append(make("span", { class: "note", text: ` ${member.email}` }));
    const isSeen = "spent_month" in member;
    const change = button(t("Change"), () => edit(member));
    const remove = button(t("Remove"), () => askToRemove(member), "danger");
    const buttons = mayChange(member.role) ? [change, ...(member.id === me.id ? [] : [remove])] : [];
    return [
        cell(name),
        cell(ROLES[member.role]),
        isSeen ? amount(member.spent_month) : cell("–"),
        cell(isSeen ? limitsOf(member) : "–"),
        actions(...buttons),
    ];
}

async function showMembers() {
    fill("members", []);
    await showPages(`${team()}/members`, (rows) => add("members", rows.map(memberRow)));
}

function askToRemove(member) {
    const text = t("Their keys for the team end at once. What they spent stays in the team's books.");
    askBefore(t("Remove {name}?", { name: member.name || member.email }), text, t("Remove"), async () => {
        await ask(`${team()}/members/${member.id}`, { method: "DELETE" });
        await showMembers();
    });
}

function edit(member) {
    const mayLimit = me.organization.role === "OWNER" || member.role === "MEMBER";
    find("edit-title").textContent = member.name || member.email;
    find("new-role").value = member.role;
    find("new-role").querySelector("[value=OWNER]").disabled = me.organization.role !== "OWNER";
    find("day").value = member.spend_limit_day ?? "";
    find("month").value = member.spend_limit_month ?? "";
    for (const id of ["day", "month"]) find(id).disabled = !mayLimit;
    onSend(find("change"), async () => {
        const now = {
            role: find("new-role").value,
            spend_limit_day: find("day").value || null,
            spend_limit_month: find("month").value || null,
        };
        const body = changesOf(now, member);
        if (!Object.keys(body).length) return;
        await ask(`${team()}/members/${member.id}`, { method: "PATCH", body });
        await show();
    });
    find("edit").showModal();
}

// --- Invitations that the team sends ---

async function showInvitations() {
    const rows = await allRows(`${team()}/invitations?page_size=200`);
    fill("invitations", rows.map(invitationRow), "no-invitations");
}

function invitationRow({ id, email, role, expires_at: until }) {
    const withdraw = button(t("Withdraw"), () => ask(`${team()}/invitations/${id}`, { method: "DELETE" }).then(showInvitations));
    return [cell(email), cell(ROLES[role]), cell(date(until)), actions(...(mayChange(role) ? [withdraw] : []))];
}

onSubmit(find("invite"), async (form) => {
    const body = { email: find("email").value, role: find("role").value };
    const mail = document.querySelector("main").dataset.mail;
    const made = await ask(`${team()}/${mail ? "invitations" : "members"}`, { method: "POST", body });
    form.reset();
    find("invited").textContent = t("{email} is invited.", { email: made.email });
    await showInvitations();
});

// --- The page ---

onSubmit(find("found"), async () => {
    const made = await ask("api/v1/organizations", { method: "POST", body: { name: find("team-name").value } });
    actFor(made.id);
});

onClick("rename", async () => {
    find("new-name").value = me.organization.name;
    onSend(find("name-form"), async () => {
        await ask(team(), { method: "PATCH", body: { name: find("new-name").value } });
        await show();
    });
    find("naming").showModal();
});

async function showModels() {
    const { data } = await ask("v1/models");
    find("models").replaceChildren(...data.flatMap((model) => [make("span", { class: "badge", text: model.id }), " "]));
    find("allowed").hidden = !data.length;
}

async function show() {
    me = await showBalance();
    const inTeam = !me.organization.personal;
    find("heading").textContent = inTeam ? me.organization.name : t("Team");
    fill("teams", me.organizations.map(teamRow));
    find("team").hidden = !inTeam;
    find("inviting").hidden = !inTeam || !leads();
    find("rename").hidden = !leads();
    find("as-member").hidden = leads();
    find("role").querySelector("[value=OWNER]").disabled = me.organization.role !== "OWNER";
    const parts = inTeam ? [showMembers(), showModels(), ...(leads() ? [showInvitations()] : [])] : [];
    await Promise.all([showReceived(show), ...parts]);
}

show().catch(showError);
