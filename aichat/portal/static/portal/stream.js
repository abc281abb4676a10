// The events of an answer's stream (https://html.spec.whatwg.org/multipage/server-sent-events.html), as [name, data].

export async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        const parts = (rest + value).split("\n\n");
        rest = parts.pop();
        for (const part of parts) {
            const name = part.match(/^event: (.*)$/m)?.[1];
            const data = part.match(/^data: (.*)$/m)?.[1];
            if (name && data) yield [name, JSON.parse(data)];
        }
    }
}
