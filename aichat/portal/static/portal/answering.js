// One answer on its way: asks the server and writes what comes.

import { ApiError, ask, send } from "./api.js";
import { events } from "./stream.js";
import { t } from "./text.js";

// Ask, and write into `answer`; the ID of the stored answer, once the server named it, and what ended it early.
export async function answerTo(body, running, answer, { begun, isAtEnd, toEnd }) {
    const options = { method: "POST", body, signal: running.signal, headers: { "Cache-Control": "no-cache" } };
    const response = await send("api/v1/chat", options);
    const id = response.headers.get("X-Message-ID");
    begun(response.headers.get("X-Conversation-ID"), id);
    running.stop = () => stop(id, running);
    try {
        for await (const [name, data] of events(response)) {
            if (name === "error") return { id: answer.text ? id : null, error: new ApiError(0, data.error) };
            if (name === "completed") return { id };
            const follow = isAtEnd();
            answer.item.classList.remove("waiting");
            if (data.reasoning) answer.think(data.reasoning);
            if (data.content) answer.write(data.content);
            if (follow) toEnd();
        }
    } catch (error) {
        return { id, error: error.name === "AbortError" ? error : broken() };
    }
    return { id, error: broken() };
}

// Ask the server to end the answer, so that what is shown is what is paid; leave it when the server does not hear.
async function stop(id, running) {
    setTimeout(() => running.abort(), 5000);
    await ask("api/v1/chat/stop", { method: "POST", body: { message_id: id } });
}

const broken = () => new Error(t("The connection broke. What had arrived is paid and kept."));
