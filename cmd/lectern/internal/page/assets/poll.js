// What the daemon is asked. While the page is not seen it asks nothing.

const answerMax = 8000; // milliseconds

/** ask gets a document. Its words are for people where there is none. */
export async function ask(path, signal) {
  const response = await fetch(path, { cache: 'no-cache', signal: AbortSignal.any([signal, AbortSignal.timeout(answerMax)].filter(Boolean)) });
  if (!response.ok) {
    const error = new Error((await response.text()).trim().slice(0, 300) || response.statusText);
    error.status = response.status;
    throw error;
  }
  return response.json();
}

/**
 * poll asks for a document again and again, the next time so many milliseconds after an
 * answer, until signal ends it. path may be a function, for what is asked each time.
 */
export function poll(path, every, signal, answered, failed) {
  let timer = 0, asking = false;
  const turn = async () => {
    if (asking || document.hidden || signal.aborted) return;
    asking = true;
    clearTimeout(timer);
    try {
      const answer = await ask(typeof path === 'function' ? path() : path, signal);
      if (!signal.aborted) answered(answer);
    } catch (error) {
      if (!signal.aborted) failed(error);
    }
    asking = false;
    if (!signal.aborted) timer = setTimeout(turn, every);
  };
  document.addEventListener('visibilitychange', turn, { signal });
  signal.addEventListener('abort', () => clearTimeout(timer));
  turn();
  return turn; // asks at once
}
