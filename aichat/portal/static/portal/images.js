import { ask, idempotencyKey } from "./api.js";
import { complain, credits, fillModels, find, make, moment, onSubmit, paged, showBalance } from "./page.js";

const WAITING = new Set(["queued", "running"]);

function shown(job) {
    const pictures = job.images.map((image) =>
        make(
            "a",
            { href: image.url, download: "picture.png" },
            make("img", { src: image.thumbnail_url || image.url, alt: job.prompt, loading: "lazy" }),
        ),
    );
    const state = job.error ? job.error.message : WAITING.has(job.status) ? `${job.status} …` : job.status;
    const facts = job.status === "succeeded" ? `${job.model} · ${credits(job.credits)} credits` : state;
    return make(
        "figure",
        { "data-job": job.id },
        ...pictures,
        make("figcaption", { text: job.prompt }),
        make("p", { class: "note", text: `${facts} · ${moment(job.created_at)}` }),
    );
}

// Ask for a job until it is over; slower and slower, because pictures take from seconds to minutes.
async function follow(id, place) {
    for (let pause = 500; ; pause = Math.min(1.5 * pause, 5000)) {
        const job = await ask(`api/v1/images/${id}`);
        const now = shown(job);
        place.replaceWith(now);
        place = now;
        if (!WAITING.has(job.status)) return showBalance();
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
    const place = shown(job);
    find("jobs").prepend(place);
    follow(job.id, place).catch(complain);
});

function show(rows) {
    for (const job of rows) {
        const place = shown(job);
        find("jobs").append(place);
        if (WAITING.has(job.status)) follow(job.id, place).catch(complain);
    }
    find("empty").hidden = find("jobs").children.length > 0;
}

Promise.all([fillModels("image"), showBalance(), paged("api/v1/images", show)]).catch(complain);
