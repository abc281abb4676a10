import { ask, base } from "./api.js";
import { find, onSubmit } from "./page.js";

find("token").value = new URLSearchParams(location.search).get("token") ?? "";

onSubmit(find("accept"), async (form) => {
    const token = find("token").value.trim();
    try {
        const team = await ask("api/v1/invitations/accept", { method: "POST", body: { token }, stay: true });
        find("team").textContent = team.name;
        form.hidden = true;
        find("done").hidden = false;
    } catch (error) {
        if (error.status !== 401) throw error;
        find("signup").href = `${base}signup?invitation=${encodeURIComponent(token)}`;
        find("stranger").hidden = false;
    }
});
