//! The rival on Node: the same relay with `ws`, as one would write it there.

use std::path::{Path, PathBuf};

use crate::bench::websocket::script;

/// Messages stay the bytes that `ws` brings: a text that is made a string and bytes again for each
/// receiver takes longer.
const RELAY: &str = r#"
    const { createServer } = require('http');
    const { WebSocketServer } = require('ws');
    const dbs = new Map();

    function pass(peers, from, data) {
        if (data.length > 2 && data.toString('latin1', 0, 3) === 'to:') {
            const end = data.indexOf(';');
            if (end < 0) return;
            const to = data.toString('utf8', 3, end);
            data = data.subarray(end + 1);
            if (to !== '' && to !== 'all') {
                peers.get(to)?.send(data, { binary: false });
                return;
            }
        }
        tell(peers, from, data);
    }

    function tell(peers, from, data) {
        for (const [id, peer] of peers) {
            if (id !== from) peer.send(data, { binary: false });
        }
    }

    function read(url) {
        const { pathname, searchParams } = new URL(url, 'http://relay');
        const [, db, action] = pathname.split('/');
        return { db, action, id: searchParams.get('id') };
    }

    const server = createServer((request, response) => {
        const { db, action, id } = read(request.url);
        const peers = dbs.get(db);
        if (request.method !== 'POST' || action !== 'send' || !peers?.has(id)) {
            response.writeHead(404).end();
            return;
        }
        const parts = [];
        request.on('data', (part) => parts.push(part));
        request.on('end', () => {
            pass(peers, id, Buffer.concat(parts));
            response.end('ok');
        });
    });

    const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
    server.on('upgrade', (request, socket, head) => {
        const { db, action, id } = read(request.url);
        if (action !== 'connect' || !id) {
            socket.destroy();
            return;
        }
        sockets.handleUpgrade(request, socket, head, (peer) => {
            if (!dbs.has(db)) dbs.set(db, new Map());
            const peers = dbs.get(db);
            peer.send('welcome:{"maxPayload":16384}');
            peers.set(id, peer);
            tell(peers, id, Buffer.from(`connect:${id}`));
            peer.on('error', () => {});
            peer.on('message', (data, isBinary) => {
                if (isBinary) return;
                if (data.length === 4 && data.toString('latin1') === 'ping') peer.send('pong');
                else pass(peers, id, data);
            });
            peer.on('close', () => {
                peers.delete(id);
                tell(peers, id, Buffer.from(`disconnect:${id}`));
            });
        });
    });
    server.listen(Number(process.argv[2]), '127.0.0.1', 1024);"#;

/// The program and its arguments, with `ws` from `folder`.
pub(crate) fn command(folder: &Path, port: u16) -> (PathBuf, Vec<String>) {
    script(RELAY, "relay", folder, port)
}
