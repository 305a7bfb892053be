package io.lectern.emit;

/** What describe says of a content. The order is that of the numbers in the protocol, from 1 on. */
public enum Attribute {
    /** What people call it. */
    TITLE,
    /** The part of the site that it stands in. */
    SECTION,
    /** Who wrote it. */
    AUTHOR,
    /** When, in Unix milliseconds. */
    PUBLISHED,
    /** How many it has. */
    WORDS
}
