/// What became of the events so far. At every instant
///
/// `added = sent + acked + buffered + queue + socket + closed + refused + unsure`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events that `add` was given and found good.
    pub added: u64,
    /// UDP: in datagrams that the kernel took.
    pub sent: u64,
    /// TCP: that the collector has made durable.
    pub acked: u64,
    /// That are kept here, sent or not.
    pub buffered: u64,
    /// Dropped since there was no room for them here; numbered, so that the
    /// collector's books show them as lost.
    pub queue: u64,
    /// UDP: dropped since the kernel did not take their datagram; numbered.
    pub socket: u64,
    /// That came after `close`, or that `close` gave up.
    pub closed: u64,
    /// TCP: in frames that the collector refused.
    pub refused: u64,
    /// TCP: sent under a source that ended before they were acknowledged. Nobody
    /// knows whether they were counted; they are not sent again.
    pub unsure: u64,

    /// Frames that were numbered, beats included.
    pub frames: u64,
    /// Events in datagrams to which the host answered that nobody listens, part of
    /// `sent`. There may have been more: hosts limit how often they answer.
    pub unreachable: u64,
    /// Sockets or connections after the first.
    pub renewals: u64,
}
