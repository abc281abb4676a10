// Asks the server for one answer, and writes the answer while it arrives.

import { ApiError, ask, send } from "./api.js";
import { events } from "./stream.js";
import { t } from "./text.js";

// Ask, and write into `answer`. Returns the ID under which the server stores the answer, if it named one, and the error that
// ended the answer early, if any.
export async function answerTo(body, running, answer, { onBegin, isAtEnd, toEnd }) {
    const options = { method: "POST", body, signal: running.signal, headers: { "Cache-Control": "no-cache" } };
    const response = await send("api/v1/chat", options);
    const id = response.headers.get("X-Message-ID");
    onBegin(response.headers.get("X-Conversation-ID"), id);
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

// Ask the server to end the answer, so that a person pays what they see. If the server does not react, end the request here.
async function stop(id, running) {
    setTimeout(() => running.abort(), 5000);
    await ask("api/v1/chat/stop", { method: "POST", body: { message_id: id } });
}

const broken = () => new Error(t("The connection broke. What had arrived is paid and kept."));
