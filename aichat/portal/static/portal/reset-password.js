import { ask } from "./api.js";
import { find, onSubmit } from "./page.js";

const token = new URLSearchParams(location.search).get("token");

function show(id) {
    for (const name of ["ask", "asked", "set", "done"]) find(name).hidden = name !== id;
}

if (find("ask")) {
    show(token ? "set" : "ask");
    find("token").value = token ?? "";
}

onSubmit(find("ask"), async () => {
    await ask("api/v1/auth/password/reset", { method: "POST", body: { email: find("email").value } });
    show("set");
    find("asked").hidden = false;
});

onSubmit(find("set"), async (form) => {
    const body = { token: find("token").value.trim(), password: find("new").value };
    await ask("api/v1/auth/password/reset/confirm", { method: "POST", body });
    form.reset();
    show("done");
});
