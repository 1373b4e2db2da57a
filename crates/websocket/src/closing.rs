use std::{future::poll_fn, io, sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{Decoder, End, Found, Frame, io::Io, shared::Shared, turn::Turn, wire::Wire};

/// How long the last bytes are given to arrive before the connection is dropped.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// The end of a WebSocket: the close leaves behind what was sent, the peer's is waited for if it
/// has not come, then the connection ends.
pub(crate) async fn close(mut wire: Box<Wire>) {
    let Some(ending) = wire.outbox.ending() else { return };
    let is_over = |end: &End| matches!(end, End::Silent | End::Lost);
    if is_over(&ending.end) || wire.end.as_ref().is_some_and(is_over) {
        return;
    }
    let shared = Arc::clone(&wire.shared);
    // Many may leave at once.
    shared.lane.enter().await;
    // What the peer said is repeated, but for the words.
    wire.outbox.close(Frame::close(ending.end.code(), &ending.reason));
    if matches!(timeout(shared.limits().closing, tell(&mut wire)).await, Ok(Ok(()))) {
        drop(timeout(LINGER, end_stream(&mut wire.io, &shared)).await);
    }
}

/// Ends our direction and reads on until the peer's ends: to close with unread bytes would destroy
/// what is still on its way.
pub(crate) async fn end_stream(io: &mut Io, shared: &Shared) -> io::Result<()> {
    poll_fn(|cx| io.poll_shutdown(cx)).await?;
    let mut turn = Turn::sprint();
    while poll_fn(|cx| io.poll_read(cx, turn.most_read(), |_| {})).await? > 0 {
        rest(&mut turn, shared).await;
    }
    Ok(())
}

async fn tell(wire: &mut Wire) -> io::Result<()> {
    // Both may have closed at the same time.
    let has_heard = matches!(wire.end, Some(End::ByPeer(_) | End::Broken(_) | End::Crowded));
    if has_heard {
        // What it holds is of no use any more, and much if it was closed for that.
        wire.decoder = Decoder::default();
    }
    poll_fn(|cx| wire.outbox.poll_write(&mut wire.io, cx)).await?;
    let mut turn = Turn::sprint();
    while !has_heard && !has_closed(wire) {
        let Wire { io, decoder, .. } = wire;
        let most = turn.most_read();
        if poll_fn(|cx| io.poll_read(cx, most, |bytes| decoder.feed(bytes))).await? == 0 {
            break;
        }
        rest(&mut turn, &wire.shared).await;
    }
    Ok(())
}

/// Whether the peer has closed too, or sends what can't be understood; all else is thrown away.
fn has_closed(wire: &mut Wire) -> bool {
    while let Some(next) = wire.decoder.next() {
        if matches!(next, Ok(Found::Close) | Err(_)) {
            return true;
        }
    }
    false
}

/// Lets others have their turn.
async fn rest(turn: &mut Turn, shared: &Shared) {
    turn.count();
    if turn.is_over() {
        shared.lane.enter().await;
        *turn = Turn::full();
    }
}
