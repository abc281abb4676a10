import { ask, idempotencyKey } from "./api.js";
import { openDialog } from "./dialogs.js";
import { inWords } from "./errors.js";
import { showPages } from "./lists.js";
import { fillModels, picturePrice } from "./models.js";
import { find, make, onSubmit, sendOnEnter, showError } from "./page.js";
import { announce, button, icon, iconButton, requestId } from "./parts.js";
import { showBalance } from "./person.js";
import { inCredits, moment, t } from "./text.js";

const WAITING = new Set(["queued", "running"]);

function saveLink(job, image, at) {
    const label = job.images.length > 1 ? t("Save picture {number}", { number: at + 1 }) : t("Save the picture");
    const name = `picture-${at + 1}`; // the browser adds the ending of the file's type
    const attributes = { class: "bare", href: image.url, download: name };
    return make("a", { ...attributes, "aria-label": label, title: label }, icon("save"));
}

function openPicture(job, image, at) {
    const facts = make("p", { class: "note", text: factsOf(job) });
    const again = button(t("Draw it again"), () => {
        find("view").close();
        fillIn(job);
    });
    const picture = make("img", { src: image.url, alt: job.prompt, width: image.width, height: image.height });
    const acts = make("div", { class: "answers" }, saveLink(job, image, at), again);
    find("viewed").replaceChildren(picture, make("p", { dir: "auto", text: job.prompt }), facts, acts);
    find("view").showModal();
}

function pictureButtons(job) {
    return job.images.map((image, at) => {
        const label = t("Look at picture {number}: {prompt}", { number: at + 1, prompt: job.prompt });
        const picture = make("img", { src: image.thumbnail_url || image.url, alt: "", loading: "lazy" });
        const open = make("button", { type: "button", "aria-label": label }, picture);
        open.onclick = () => openPicture(job, image, at);
        return open;
    });
}

// The progress of a job, in words.
function progress(job) {
    if (job.status === "queued") return job.position ? t("Waiting: {count} before it", { count: job.position }) : t("Waiting …");
    const seconds = Math.max(0, Math.round((Date.now() - new Date(job.created_at)) / 1000));
    return t("Drawing … {seconds} s", { seconds });
}

const STATES = { cancelled: t("Cancelled. Nothing was charged."), failed: t("It could not be drawn. Nothing was charged.") };

function stateOf(job) {
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

const factsOf = (job) => [job.model, inCredits(job.credits), job.size.replace("x", " × "), moment(job.created_at)].join(" · ");

function figureOf(job) {
    const isWaiting = WAITING.has(job.status);
    const top = job.images.length ? make("div", { class: "shots" }, ...pictureButtons(job)) : stateOf(job);
    const acts = [...job.images.map((image, at) => saveLink(job, image, at)), iconButton("again", t("Draw it again"), () => fillIn(job))];
    if (job.status !== "running") acts.push(iconButton("bin", isWaiting ? t("Cancel") : t("Delete"), () => remove(job)));
    return make(
        "figure",
        { "data-job": job.id, class: isWaiting ? "drawing" : job.status },
        top,
        make("figcaption", {}, make("p", { dir: "auto", text: job.prompt, title: job.prompt }), make("div", { class: "note" }, factsOf(job), " · ", requestId(job.request_id))),
        make("div", { class: "acts" }, ...acts),
    );
}

const shownFigure = (id) => document.querySelector(`[data-job="${id}"]`);

async function remove(job) {
    if (!WAITING.has(job.status) && !(await openDialog("delete-dialog"))) return;
    await ask(`api/v1/images/${job.id}`, { method: "DELETE" });
    if (WAITING.has(job.status)) return showBalance(); // `showProgress` shows that it was cancelled
    shownFigure(job.id).remove();
    find("empty").hidden = find("jobs").children.length > 0;
}

// Put a job's prompt and settings back into the form.
function fillIn(job) {
    find("prompt").value = job.prompt;
    find("size").value = job.size;
    find("number").value = String(job.n);
    showPrice();
    find("prompt").focus();
    scrollTo({ top: 0 });
}

// Ask for a job until it is over, and show it each time. The pauses grow, because pictures take from seconds to minutes.
async function showProgress(id) {
    for (let pause = 500; shownFigure(id); pause = Math.min(1.3 * pause, 4000)) {
        const job = await ask(`api/v1/images/${id}`);
        shownFigure(id)?.replaceWith(figureOf(job));
        if (!WAITING.has(job.status)) {
            announce(job.images.length ? t("The picture is there.") : STATES[job.status]);
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
    find("jobs").prepend(figureOf(job));
    announce(t("The picture is being drawn."));
    showProgress(job.id).catch(showError);
});

sendOnEnter(find("prompt"));

function showPrice() {
    find("price").textContent = picturePrice(Number(find("number").value));
}

for (const id of ["model", "number"]) find(id).addEventListener("change", showPrice);

function show(rows) {
    for (const job of rows) {
        find("jobs").append(figureOf(job));
        if (WAITING.has(job.status)) showProgress(job.id).catch(showError);
    }
    find("empty").hidden = find("jobs").children.length > 0;
}

Promise.all([fillModels("image").then(showPrice), showBalance(), showPages("api/v1/images", show)]).catch(showError);
