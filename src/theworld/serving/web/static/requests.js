// Requests to the server: JSON, uploads with their progress, and the stream of events of an answer.

const UNREACHABLE = "The server cannot be reached. Is it still running?";

export async function send(path, body, signal) {
  let response;
  try {
    response = await fetch(path, body === undefined ? { signal } : {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal,
    });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error(UNREACHABLE);
  }
  if (response.ok) return response;
  throw refusal(response.status, await response.json().catch(() => null));
}

function refusal(status, body) {
  return new Error(body?.sentence ?? `The server answered ${status}.`);
}

// Send a body of many megabytes; fetch cannot tell how far it is.
export function upload(path, body, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("content-type", "application/json");
    request.responseType = "json";
    request.upload.addEventListener("progress", ({ loaded, total }) => onProgress(loaded / total));
    request.addEventListener("error", () => reject(new Error(UNREACHABLE)));
    request.addEventListener("load", () => (request.status === 200 ? resolve(request.response)
      : reject(refusal(request.status, request.response))));
    request.send(JSON.stringify(body));
  });
}

export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part.slice("data: ".length));
  }
}
