package io.lectern.emit;

/** What a reader did. The order is that of the numbers in the protocol. */
public enum Kind {
    /** Opened the content. */
    OPEN,
    /** Kept reading: a heartbeat, with the dwell since the event before. */
    READ,
    /** Reached the end. */
    FINISH,
    /** Kept it for later. */
    SAVE,
    /** Passed it on. */
    SHARE,
    /** Was shown the content's headline, where others are listed with it. */
    IMPRESSION,
    /** Followed it. */
    CLICK
}
