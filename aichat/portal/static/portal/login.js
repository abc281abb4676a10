import { ask, base } from "./api.js";
import { find, onSubmit } from "./page.js";

const form = find("enter");

onSubmit(form, async () => {
    const body = Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
    await ask(form.dataset.to, { method: "POST", body });
    location.assign(base);
});
