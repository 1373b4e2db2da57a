//! The counters in Prometheus' text format.

use std::fmt::Write;

use relay::{Counters, Flow, Gone, Kind};

use websocket::Waits;

use super::{Relay, tls::Tls};

/// The type of that format.
pub(super) const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// So many databases have figures of their own.
const DBS: usize = 50;

/// The page, as it grows.
struct Page(String);

impl Relay {
    pub(super) fn metrics(&self) -> String {
        let mut page = Page(String::new());
        let counters = self.hub().counters.clone();
        self.write_state(&mut page);
        page.flows("accepted", "sent by peers", &counters.accepted);
        page.flows("delivered", "sent to peers", &counters.delivered);
        write_ends(&mut page, &counters);
        page.kind("relay_refused_total", "counter", "requests that were refused, by status");
        for (status, count) in self.0.control.counters().refused {
            page.line("relay_refused_total", &format!("status=\"{status}\""), count);
        }
        self.write_larges(&mut page, &counters);
        self.write_dbs(&mut page);
        page.0
    }

    fn write_state(&self, page: &mut Page) {
        let hub = self.hub();
        let traffic = self.0.control.counters();
        let peers = hub.dbs().flat_map(relay::Db::peers);
        let largest = peers.map(|it| it.mailbox.waiting_bytes()).max().unwrap_or_default();
        page.one("relay_peers", "gauge", "peers", hub.peers());
        page.one("relay_dbs", "gauge", "databases in which somebody is", hub.dbs().count());
        page.one("relay_connections", "gauge", "connections", traffic.connections);
        let queued = self.waiting_bytes(&hub);
        page.one("relay_queue_bytes", "gauge", "bytes that wait for all peers", queued);
        page.one("relay_queue_largest_bytes", "gauge", "bytes that wait for one peer", largest);
        page.one("relay_wire_bytes_in_total", "counter", "bytes read", traffic.bytes_in);
        page.one("relay_wire_bytes_out_total", "counter", "bytes written", traffic.bytes_out);
        let handshakes = self.0.tls.as_ref().map_or(0, Tls::handshakes);
        page.one("relay_tls_handshakes_total", "counter", "TLS handshakes", handshakes);
        page.waits(&traffic.waits);
    }

    fn write_larges(&self, page: &mut Page, counters: &Counters) {
        let (waiting, memory, disk) = self.0.larges.waiting();
        page.one("relay_large_waiting", "gauge", "messages that wait to be fetched", waiting);
        page.one("relay_large_memory_bytes", "gauge", "their bytes in memory", memory);
        page.one("relay_large_disk_bytes", "gauge", "their bytes in files", disk);
        page.one("relay_large_kept_total", "counter", "messages kept", counters.large_kept);
        let spilled = counters.large_spilled;
        page.one("relay_large_spilled_total", "counter", "of those, written to files", spilled);
        let expired = counters.large_expired;
        page.one("relay_large_expired_total", "counter", "of those, never fetched by all", expired);
    }

    fn write_dbs(&self, page: &mut Page) {
        let hub = self.hub();
        page.kind("relay_db_peers", "gauge", "peers of the databases with most messages");
        for (name, db) in hub.largest(DBS) {
            page.line("relay_db_peers", &label("db", name), db.peers().len());
        }
        page.kind("relay_db_messages_total", "counter", "messages of those databases");
        for (name, db) in hub.largest(DBS) {
            page.line("relay_db_messages_total", &label("db", name), db.messages());
        }
    }
}

fn write_ends(page: &mut Page, counters: &Counters) {
    page.kind("relay_dropped_total", "counter", "messages that nobody gets, by why");
    let Counters { unknown, malformed, binary, .. } = *counters;
    for (why, count) in [("unknown", unknown), ("malformed", malformed), ("binary", binary)] {
        page.line("relay_dropped_total", &label("reason", why), count);
    }
    page.kind("relay_gone_total", "counter", "peers that went, by why");
    let Gone { close, reset, slow, oversize, replaced, idle, kicked, drain } = counters.gone;
    for (why, count) in [
        ("close", close),
        ("reset", reset),
        ("slow", slow),
        ("oversize", oversize),
        ("replaced", replaced),
        ("idle", idle),
        ("kicked", kicked),
        ("drain", drain),
    ] {
        page.line("relay_gone_total", &label("reason", why), count);
    }
}

impl Page {
    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.kind(name, kind, help);
        self.line(name, "", value);
    }

    fn flows(&mut self, what: &str, help: &str, flows: &[Flow; 4]) {
        for (unit, of) in
            [("messages", (|it| it.messages) as fn(&Flow) -> u64), ("bytes", |it| it.bytes)]
        {
            let name = format!("relay_{what}_{unit}_total");
            self.kind(&name, "counter", &format!("{unit} {help}, by kind"));
            for (kind, flow) in Kind::ALL.iter().zip(flows) {
                self.line(&name, &label("kind", kind.word()), of(flow));
            }
        }
    }

    fn waits(&mut self, waits: &Waits) {
        let name = "relay_routing_seconds";
        self.kind(name, "histogram", "from a message's routing to the first of its bytes written");
        let bounds = Waits::BOUNDS.map(|it| (it as f64 / 1e6).to_string());
        let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
        for (bound, count) in bounds.zip(waits.within) {
            self.line(&format!("{name}_bucket"), &label("le", bound), count);
        }
        self.line(&format!("{name}_sum"), "", waits.sum.as_secs_f64());
        self.line(&format!("{name}_count"), "", waits.within[Waits::BOUNDS.len()]);
    }

    fn kind(&mut self, name: &str, kind: &str, help: &str) {
        // A string takes everything.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

/// A label, with what its value must escape.
fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}
