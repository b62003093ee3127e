//! Walks over all flows, which lie all over memory: some are looked at ahead together, so that waiting for one is waiting for all of them.

use std::hint::black_box;

use arrayvec::ArrayVec;

use crate::model::Conversation;
use crate::model::FlowRecord;

/// As many as a processor waits for at a time, with some lines of memory each.
const TOGETHER: usize = 16;
/// Fewer conversations are not worth a thread: one costs about as much to start as so many to judge.
pub const LEAST_SHARE: usize = 2048;

/// Does something with each flow of these conversations and with the place of its conversation among them, in their order.
pub fn each_flow<'a>(conversations: &[&'a Conversation], mut what: impl FnMut(usize, &'a FlowRecord)) {
    let mut next: ArrayVec<(usize, &FlowRecord), TOGETHER> = ArrayVec::new();
    let mut pass = |next: &mut ArrayVec<(usize, &'a FlowRecord), TOGETHER>| {
        black_box(next.iter().fold(0, |seen, (_, flow)| seen ^ touch(flow)));
        next.drain(..).for_each(|(at, flow)| what(at, flow));
    };
    for (at, conversation) in conversations.iter().enumerate() {
        for flow in conversation.attempts() {
            if next.is_full() {
                pass(&mut next);
            }
            next.push((at, flow));
        }
    }
    pass(&mut next);
}

/// Conversations in their order, the flows of those that come next looked at before them.
pub fn ahead<'s, 'a>(
    conversations: &'s [&'a Conversation],
) -> impl Iterator<Item = &'a Conversation> + use<'s, 'a> {
    conversations.chunks(TOGETHER).flat_map(|next| {
        let counts = next.iter().fold(0, |seen, one| seen ^ one.packets ^ one.protocols.len() as u64);
        let flows = next.iter().flat_map(|one| one.attempts()).take(TOGETHER);
        let proved = |flow: &FlowRecord| u64::from(flow.classification.protocol.is_some());
        black_box(flows.fold(counts, |seen, flow| seen ^ touch(flow) ^ proved(flow)));
        next.iter().copied()
    })
}

/// Reads from the parts of a flow that every judge of it reads.
fn touch(flow: &FlowRecord) -> u64 {
    let (client, server) = (&flow.from_client, &flow.from_server);
    flow.outcome as u64
        ^ client.packets
        ^ client.payload_acknowledged
        ^ u64::from(client.retransmissions)
        ^ server.packets
        ^ server.payload_acknowledged
        ^ u64::from(server.retransmissions)
        ^ u64::from(flow.vlans.first().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::flow;
    use crate::audit::testing::observed;
    use crate::model::Outcome;
    use crate::model::Transport;

    #[test]
    fn each_flow_comes_once_and_in_order() {
        let flows = (0..2 * TOGETHER as u16 + 3).map(|port| flow(Transport::Tcp, port, Outcome::Established));
        let capture = observed(flows.collect(), 1_000);
        let mut walked = Vec::new();
        let conversations: Vec<_> = capture.conversations.values().map(AsRef::as_ref).collect();
        each_flow(&conversations, |at, flow| walked.push((conversations[at].key.port, flow.server.port)));
        let ports = capture.conversations.keys().map(|key| (key.port, key.port));
        assert_eq!(walked, ports.collect::<Vec<_>>());
    }
}
