// A page's usual client: it splits each piece that arrives into lines and parses them, as if no line
// were ever cut. usage: stream.mjs ORIGIN REPOSITORY
const [origin, repository] = process.argv.slice(2);
const form = new FormData();
form.append('repo_url', repository);
const response = await fetch(`${origin}/api/build/stream`, { method: 'POST', body: form });
const said = { status: response.status, type: response.headers.get('content-type'), events: 0, broken: 0 };
const reader = response.body.getReader();
const decoder = new TextDecoder();
for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    for (const line of decoder.decode(value).split('\n')) {
        if (!line.startsWith('data: ')) continue;
        try {
            const event = JSON.parse(line.slice(6));
            said.events += 1;
            if (event.type === 'complete') said.result = event.result;
        } catch {
            said.broken += 1;
        }
    }
}
console.log(JSON.stringify(said));
