// Runs the cases that all clients share against the browser's module.

// `load(name)`: a file of the module. `files`: cases by the file's name. The cases that do not hold, in words.
export async function run(load, files) {
  const failures = [];
  for (const [name, cases] of Object.entries(files)) {
    const check = await RUNNERS[name](load);
    for (const one of cases) {
      try {
        for (const [found, wanted, what = ""] of check(one)) {
          const [is, ought] = [text(found), text(wanted)];
          if (is !== ought) failures.push(`${name}: ${one.name} ${what}\n  is    ${is}\n  ought ${ought}`);
        }
      } catch (error) {
        failures.push(`${name}: ${one.name}: ${error.stack}`);
      }
    }
  }
  return failures;
}

// As JSON with names in order, so that it can be compared.
function text(value) {
  return JSON.stringify(value, (_, part) =>
    part && typeof part === "object" && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part === undefined
        ? null
        : part,
  );
}

const RUNNERS = {
  async sse(load) {
    const { SseParser } = await load("sse");
    return ({ chunks, events, last_event_id, retry_ms }) => {
      const written = chunks.map((hex) => (hex.match(/../g) ?? []).map((byte) => parseInt(byte, 16)));
      const whole = written.flat();
      return [written, [whole], whole.map((byte) => [byte])].map((cut) => {
        const parser = new SseParser();
        const found = cut.flatMap((bytes) => parser.feed(Uint8Array.from(bytes)));
        const is = [found, parser.lastEventId, parser.retryMs];
        return [is, [events, last_event_id, retry_ms], `in ${cut.length} pieces`];
      });
    };
  },

  async frames(load) {
    const { Tracker } = await load("tracker");
    const { ProtocolError } = await load("position");
    return ({ position, snapshot, steps, items, positions, error }) => {
      const tracker = new Tracker(position, snapshot);
      const found = { items: [], positions: [] };
      for (const [at, step] of steps.entries()) {
        try {
          if (step.connect) tracker.connecting();
          else found.items.push(...tracker.take(step.frame).map(itemOf));
        } catch (raised) {
          if (!error || at < steps.length - 1 || !(raised instanceof ProtocolError)) throw raised;
          return [];
        }
        found.positions.push(tracker.position);
      }
      if (error) return [["taken", "refused"]];
      return [[found, { items, positions }]];
    };
  },

  async mirror(load) {
    const { inOrder, MirrorState } = await load("mirror");
    const { Changes } = await load("changes");
    return (one) => {
      const mirror = new MirrorState(one.kinds);
      const changes = new Changes();
      for (const [at, item] of one.items.entries()) {
        for (const change of mirror.take(mirrored(item))) changes.add(change);
        if (at === 0) changes.take();
      }
      const found = [];
      const maps = { tasks: mirror.tasks, sessions: mirror.sessions, provider_sessions: mirror.providerSessions };
      maps.threads = new Map([...mirror.threads.values()].map((thread) => [thread.id, thread]));
      maps.totals = mirror.totals;
      for (const [name, map] of Object.entries(maps)) {
        const wanted = one[name] ?? {};
        found.push([parts(Object.fromEntries(map), wanted), wanted, name]);
      }
      const listed = {};
      for (const of of mirror.messages.values()) {
        for (const { thread_id, seq } of inOrder(of)) (listed[thread_id] ??= []).push(seq);
      }
      const wanted = Object.fromEntries(Object.entries(one.messages).filter(([, seqs]) => seqs.length > 0));
      found.push([listed, wanted, "messages"]);
      const told = changes.take().map(({ kind, id, before, after }) => [
        kind,
        id,
        after === null ? "removed" : before === null ? "added" : "changed",
      ]);
      found.push([told.map(String).sort(), one.changes.map(String).sort(), "changes"]);
      return found;
    };
  },

  async pace(load) {
    const { Pace, isStale, jittered } = await load("pace");
    return (one) => {
      if (one.stale !== undefined) return [[isStale(one), one.stale]];
      if (one.interval !== undefined) {
        const interval = one.pace === null ? null : rounded(jittered(one.pace, one.jitter));
        return [[interval, one.interval === null ? null : rounded(one.interval)]];
      }
      const pace = new Pace(one.filter);
      return [[one.steps.map(({ statuses, changed }) => pace.next(statuses, changed)), one.paces]];
    };
  },

  async backoff(load) {
    const { Backoff } = await load("backoff");
    return ({ base, cap, steps, waits }) => {
      const backoff = new Backoff({ base, cap });
      const found = steps.map(({ jitter, asked, reset }) => {
        if (reset) backoff.reset();
        return backoff.next(asked, jitter);
      });
      return [[found.map(rounded), waits.map(rounded)]];
    };
  },

  async ladder(load) {
    const { Ladder } = await load("ladder");
    return ({ steps, use }) => {
      const ladder = new Ladder();
      const found = steps.map((step) => {
        if (step.failed) ladder.failed(step.failed, step.why, step.at, step.project);
        else if (step.worked) ladder.worked(step.worked, step.at);
        else if (step.push) ladder.push(step.push, step.project);
        return ladder.use(step.at, step.project);
      });
      return [[found, use]];
    };
  },

  async polls(load) {
    const { Polls } = await load("polls");
    return ({ answers, frames }) => {
      const polls = new Polls();
      return [[answers.map(({ status, body, position }) => polls.frames(status, body, position)), frames]];
    };
  },
};

function itemOf(item) {
  if (item.event) return { event: { type: item.event.type, position: item.event.position } };
  if (item.delta) {
    const { message_id, index, text: piece } = item.delta.data;
    return { delta: { message_id, index, text: piece } };
  }
  if (!item.snapshot) return item;
  const { resources, position, tooLarge } = item.snapshot;
  return { snapshot: { resources: resources.map(({ kind, data }) => [kind, data.id]), position, too_large: tooLarge } };
}

function mirrored({ snapshot, event }) {
  if (event) return { event };
  const { resources = [], position, too_large = false, read = [] } = snapshot;
  return { snapshot: { resources, position, tooLarge: too_large, read } };
}

// Of each that is there, the fields that are asked about.
function parts(found, wanted) {
  const of = (id, data) => Object.fromEntries(Object.keys(wanted[id] ?? {}).map((name) => [name, data[name]]));
  return Object.fromEntries(Object.entries(found).map(([id, data]) => [id, of(id, data)]));
}

function rounded(seconds) {
  return Math.round(seconds * 1e6) / 1e6;
}
