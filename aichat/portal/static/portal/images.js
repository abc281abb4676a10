import { ask, idempotencyKey } from "./api.js";
import { fillModels, picturePrice } from "./models.js";
import { complain, find, inWords, make, onSubmit, paged, showBalance } from "./page.js";
import { answered, copies, icon, say } from "./parts.js";
import { inCredits, moment, t } from "./text.js";

const WAITING = new Set(["queued", "running"]);

function iconButton(name, label, work) {
    const button = make("button", { type: "button", class: "bare", "aria-label": label, title: label }, icon(name));
    button.onclick = () => Promise.resolve(work()).catch(complain);
    return button;
}

function saves(job, image, at) {
    const label = job.images.length > 1 ? t("Save picture {number}", { number: at + 1 }) : t("Save the picture");
    const name = `picture-${at + 1}`; // the browser adds the ending of the file's type
    const attributes = { class: "button-like bare", href: image.url, download: name };
    return make("a", { ...attributes, "aria-label": label, title: label }, icon("save"));
}

function view(job, image, at) {
    const facts = make("p", { class: "note", text: words(job) });
    const again = make("button", { type: "button", class: "quiet", text: t("Draw it again") });
    again.onclick = () => {
        find("view").close();
        repeat(job);
    };
    const picture = make("img", { src: image.url, alt: job.prompt, width: image.width, height: image.height });
    const acts = make("div", { class: "answers" }, saves(job, image, at), again);
    find("viewed").replaceChildren(picture, make("p", { dir: "auto", text: job.prompt }), facts, acts);
    find("view").showModal();
}

function shots(job) {
    return job.images.map((image, at) => {
        const label = t("Look at picture {number}: {prompt}", { number: at + 1, prompt: job.prompt });
        const button = make(
            "button",
            { type: "button", "aria-label": label },
            make("img", { src: image.thumbnail_url || image.url, alt: "", loading: "lazy" }),
        );
        button.onclick = () => view(job, image, at);
        return button;
    });
}

// How far a job is, in words.
function progress(job) {
    if (job.status === "queued") return job.position ? t("Waiting: {count} before it", { count: job.position }) : t("Waiting …");
    const seconds = Math.max(0, Math.round((Date.now() - new Date(job.created_at)) / 1000));
    return t("Drawing … {seconds} s", { seconds });
}

const STATES = { cancelled: t("Cancelled. Nothing was charged."), failed: t("It could not be drawn. Nothing was charged.") };

function pending(job) {
    const isOver = !WAITING.has(job.status);
    const text = isOver ? STATES[job.status] : progress(job);
    const reason = job.error ? inWords({ ...job.error, requestId: job.request_id }) : "";
    return make(
        "div",
        { class: isOver ? "pending failed" : "pending" },
        make("span", { text }),
        ...(reason ? [make("span", { class: "note", text: reason })] : []),
    );
}

const words = (job) => [job.model, inCredits(job.credits), job.size.replace("x", " × "), moment(job.created_at)].join(" · ");

function shown(job) {
    const isWaiting = WAITING.has(job.status);
    const top = job.images.length ? make("div", { class: "shots" }, ...shots(job)) : pending(job);
    const id = make("button", { type: "button", class: "text", title: t("Copy the request ID"), text: job.request_id });
    copies(id, () => job.request_id);
    const acts = [...job.images.map((image, at) => saves(job, image, at)), iconButton("again", t("Draw it again"), () => repeat(job))];
    if (job.status !== "running") acts.push(iconButton("bin", isWaiting ? t("Cancel") : t("Delete"), () => remove(job)));
    return make(
        "figure",
        { "data-job": job.id, class: isWaiting ? "drawing" : job.status },
        top,
        make("figcaption", {}, make("p", { dir: "auto", text: job.prompt, title: job.prompt }), make("div", { class: "note" }, words(job), " · ", id)),
        make("div", { class: "acts" }, ...acts),
    );
}

const place = (id) => document.querySelector(`[data-job="${id}"]`);

async function remove(job) {
    if (!WAITING.has(job.status) && !(await answered("delete-dialog"))) return;
    await ask(`api/v1/images/${job.id}`, { method: "DELETE" });
    if (WAITING.has(job.status)) return showBalance(); // `follow` shows that it was cancelled
    place(job.id).remove();
    find("empty").hidden = find("jobs").children.length > 0;
}

function repeat(job) {
    find("prompt").value = job.prompt;
    find("size").value = job.size;
    find("number").value = String(job.n);
    showPrice();
    find("prompt").focus();
    scrollTo({ top: 0 });
}

// Ask for a job until it is over; slower and slower, because pictures take from seconds to minutes.
async function follow(id) {
    for (let pause = 500; place(id); pause = Math.min(1.3 * pause, 4000)) {
        const job = await ask(`api/v1/images/${id}`);
        place(id)?.replaceWith(shown(job));
        if (!WAITING.has(job.status)) {
            say(job.images.length ? t("The picture is there.") : STATES[job.status]);
            return showBalance();
        }
        await new Promise((resolve) => setTimeout(resolve, pause));
    }
}

onSubmit(find("draw"), async () => {
    const body = {
        prompt: find("prompt").value,
        model: find("model").value || "auto", // the list may still be on its way
        size: find("size").value,
        n: Number(find("number").value),
        background: true,
    };
    const headers = { "Idempotency-Key": idempotencyKey() };
    const job = await ask("api/v1/images", { method: "POST", body, headers });
    find("empty").hidden = true;
    find("jobs").prepend(shown(job));
    say(t("The picture is being drawn."));
    follow(job.id).catch(complain);
});

find("prompt").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    find("draw").requestSubmit();
});

function showPrice() {
    find("price").textContent = picturePrice(Number(find("number").value));
}

for (const id of ["model", "number"]) find(id).addEventListener("change", showPrice);

function show(rows) {
    for (const job of rows) {
        find("jobs").append(shown(job));
        if (WAITING.has(job.status)) follow(job.id).catch(complain);
    }
    find("empty").hidden = find("jobs").children.length > 0;
}

Promise.all([fillModels("image").then(showPrice), showBalance(), paged("api/v1/images", show)]).catch(complain);
