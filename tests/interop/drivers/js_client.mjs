// A matrix-js-sdk client with Rust crypto, driven line by line: one JSON request a line on standard input, one JSON answer
// a line. Runs in the peer's own environment (MATRIX_JS_SDK names its node_modules folder).
import { createRequire } from "node:module";
import readline from "node:readline";

for (const name of ["log", "info", "debug", "warn", "error", "trace"]) console[name] = () => {};
const require = createRequire(process.env.MATRIX_JS_SDK + "/");
const sdk = await import(require.resolve("matrix-js-sdk"));
const { CryptoEvent, VerificationPhase, VerifierEvent, VerificationRequestEvent, decodeRecoveryKey } = await import(
  require.resolve("matrix-js-sdk/lib/crypto-api/index.js")
);
const { logger } = await import(require.resolve("matrix-js-sdk/lib/logger.js"));
logger.disableAll?.();

let client;
let recoveryKey = null;
const within = (promise, timeout_s, what) =>
  Promise.race([
    promise,
    new Promise((_, reject) => setTimeout(() => reject(new Error(`${what} not within ${timeout_s} s`)), timeout_s * 1000)),
  ]);

function timelineEvents(room) {
  return client.getRoom(room)?.getLiveTimeline().getEvents() ?? [];
}

async function until(find, timeout_s, what) {
  const begun = Date.now();
  while (Date.now() - begun < timeout_s * 1000) {
    const found = await find();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${what} not within ${timeout_s} s`);
}

function runVerifier(verifier) {
  verifier.on(VerifierEvent.ShowSas, (sas) => sas.confirm());
  return verifier.verify();
}

function follow(request) {
  const step = async () => {
    if (request.phase === VerificationPhase.Requested && !request.initiatedByMe && !request.accepting) await request.accept();
    if (request.phase === VerificationPhase.Started && request.verifier && !request.running) {
      request.running = true;
      runVerifier(request.verifier).catch(() => {});
    }
  };
  request.on(VerificationRequestEvent.Change, step);
  step();
}

const actions = {
  async login({ base, user, password }) {
    const loginClient = sdk.createClient({ baseUrl: base });
    const session = await loginClient.loginRequest({
      type: "m.login.password",
      identifier: { type: "m.id.user", user },
      password,
      initial_device_display_name: "js",
    });
    client = sdk.createClient({
      baseUrl: base,
      userId: session.user_id,
      deviceId: session.device_id,
      accessToken: session.access_token,
      cryptoCallbacks: {
        getSecretStorageKey: async ({ keys }) => (recoveryKey ? [Object.keys(keys)[0], recoveryKey] : null),
      },
    });
    await client.initRustCrypto({ useIndexedDB: false });
    client.on(CryptoEvent.VerificationRequestReceived, follow);
    const ready = new Promise((resolve) => client.once("sync", resolve));
    await client.startClient({ initialSyncLimit: 50, lazyLoadMembers: true });
    await within(ready, 30, "first sync");
    return { user: session.user_id, device: session.device_id, token: session.access_token };
  },
  async create_room({ encrypted, invite, version }) {
    const initial_state = encrypted
      ? [{ type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }]
      : [];
    const { room_id } = await client.createRoom({ invite, initial_state, ...(version ? { room_version: version } : {}), preset: "private_chat" });
    return room_id;
  },
  async join({ room }) {
    return (await client.joinRoom(room)).roomId;
  },
  async wait_for_room({ room, membership = "join", timeout_s = 20 }) {
    await until(() => client.getRoom(room)?.getMyMembership() === membership, timeout_s, `${membership} of room`);
    return true;
  },
  async wait_for_member({ room, user, timeout_s = 20 }) {
    await until(() => client.getRoom(room)?.getMember(user)?.membership === "join", timeout_s, "member");
    return true;
  },
  async send({ room, content, kind = "m.room.message" }) {
    const known = client.getRoom(room);
    if (known?.hasEncryptionStateEvent?.()) await client.getCrypto().prepareToEncrypt(known);
    return (await client.sendEvent(room, kind, content)).event_id;
  },
  async wait_for({ room, body, timeout_s = 20 }) {
    const event = await until(
      () => timelineEvents(room).find((e) => !e.isDecryptionFailure() && e.getContent().body === body),
      timeout_s,
      "message",
    );
    return {
      room,
      event: event.getId(),
      sender: event.getSender(),
      type: event.getType(),
      content: event.getContent(),
      encrypted: event.isEncrypted(),
    };
  },
  async wait_for_type({ room, kind, timeout_s = 20 }) {
    const event = await until(() => timelineEvents(room).find((e) => e.getType() === kind), timeout_s, kind);
    return { event: event.getId(), content: event.getContent(), relation: event.getRelation() };
  },
  async wait_for_redacted({ room, event, timeout_s = 20 }) {
    await until(() => timelineEvents(room).find((e) => e.getId() === event && e.isRedacted()), timeout_s, "redaction");
    return true;
  },
  async send_file({ room, text }) {
    const { content_uri } = await client.uploadContent(text, { type: "text/plain", name: "note.txt" });
    return (await client.sendEvent(room, "m.room.message", { msgtype: "m.file", body: "note.txt", url: content_uri })).event_id;
  },
  async read_file({ content }) {
    const url = client.mxcUrlToHttp(content.url, undefined, undefined, undefined, false, true, true);
    const answer = await fetch(url, { headers: { Authorization: `Bearer ${client.getAccessToken()}` } });
    if (!answer.ok) throw new Error(`media: ${answer.status} ${await answer.text()}`);
    return await answer.text();
  },
  async bootstrap_cross_signing({ password }) {
    await client.getCrypto().bootstrapCrossSigning({
      authUploadDeviceSigningKeys: async (send) => {
        try {
          return await send(null);
        } catch (error) {
          return await send({
            type: "m.login.password",
            identifier: { type: "m.id.user", user: client.getUserId() },
            password,
            session: error.data?.session,
          });
        }
      },
    });
    return await client.getCrypto().isCrossSigningReady();
  },
  async verify_own_other_device({ timeout_s = 40 }) {
    const crypto = client.getCrypto();
    await crypto.getUserDeviceInfo([client.getUserId()], true);
    const request = await crypto.requestOwnUserVerification();
    await until(() => request.phase === VerificationPhase.Ready, timeout_s, "verification ready");
    const verifier = await request.startVerification("m.sas.v1");
    await within(runVerifier(verifier), timeout_s, "verification");
    return true;
  },
  async device_is_cross_signed({ device, timeout_s = 20 }) {
    const crypto = client.getCrypto();
    await until(
      async () => {
        await crypto.getUserDeviceInfo([client.getUserId()], true);
        return (await crypto.getDeviceVerificationStatus(client.getUserId(), device))?.signedByOwner;
      },
      timeout_s,
      "cross-signature",
    );
    return true;
  },
  async reset_key_backup() {
    await client.getCrypto().resetKeyBackup();
    return await until(() => client.getCrypto().getActiveSessionBackupVersion(), 20, "key backup");
  },
  async set_up_recovery({ password }) {
    await actions.bootstrap_cross_signing({ password });
    const made = await client.getCrypto().createRecoveryKeyFromPassphrase();
    recoveryKey = made.privateKey;
    await client.getCrypto().bootstrapSecretStorage({
      createSecretStorageKey: async () => made,
      setupNewSecretStorage: true,
      setupNewKeyBackup: true,
    });
    await until(() => client.getCrypto().getActiveSessionBackupVersion(), 20, "key backup");
    return made.encodedPrivateKey;
  },
  async recover({ key }) {
    recoveryKey = decodeRecoveryKey(key);
    await client.getCrypto().loadSessionBackupPrivateKeyFromSecretStorage();
    return await client.getCrypto().restoreKeyBackup();
  },
  async read_history({ room, body, timeout_s = 20 }) {
    await client.scrollback(client.getRoom(room), 50);
    return await actions.wait_for({ room, body, timeout_s });
  },
  async account_data({ kind, room }) {
    return room ? (client.getRoom(room)?.getAccountData(kind)?.getContent() ?? null) : client.getAccountDataFromServer(kind);
  },
  async close() {
    client?.stopClient();
    return true;
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const answer = { id: request.id };
  try {
    answer.result = (await actions[request.do](request.with)) ?? null;
  } catch (error) {
    answer.error = `${error.name}: ${error.message}`;
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
process.exit(0);
